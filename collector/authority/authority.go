// SPDX-License-Identifier: Apache-2.0

// Package authority is the collector's own certificate authority and the keeper of its tokens: it makes join tokens for
// agents and API tokens for people, signs the certificates of nodes and of the collector itself, and says who it is that
// holds a certificate or a token. Of Kubernetes it knows nothing but that an Attester vouches for ServiceAccount tokens.
// docs/enrolment.md describes the formats. It listens to nothing and starts no goroutine; all methods may be called
// concurrently.
package authority

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"regexp"
	"sync"
	"time"

	"github.com/holdfast-project/holdfast/collector/store"
)

// ServerName is the DNS name that every certificate of a collector carries, so that an agent can verify it whatever
// address it dials.
const ServerName = "collector.holdfast.internal"

// Errors that callers branch on. They come wrapped with the reason, which may be told to the client.
var (
	// ErrToken says that a token is unknown, wrong, spent, expired or revoked.
	ErrToken = errors.New("token refused")
	// ErrDenied says that the token or certificate is good, but not for this.
	ErrDenied = errors.New("denied")
	// ErrRequest says that the request itself is malformed.
	ErrRequest = errors.New("malformed request")
)

// Store is what the authority keeps of store.Store.
type Store interface {
	store.Tokens
	RevokeNode(ctx context.Context, name string, at time.Time) error
	Revocations(ctx context.Context) (map[string]time.Time, error)
	AllowNode(ctx context.Context, name string, at time.Time) error
	Allowances(ctx context.Context) (map[string]time.Time, error)
}

// Config says where the authority keeps its key.
type Config struct {
	// Dir holds ca.pem and ca.key. They are created when they are missing.
	Dir   string
	Store Store
	// Attester says who holds a ServiceAccount token; nil means that none is taken.
	Attester Attester
	// LeafTTL is how long certificates are good; 0 means 24 hours.
	LeafTTL time.Duration
	// Names are further DNS names and IP addresses of the collector, for clients that verify the address they dial.
	Names []string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Authority signs and recognises.
type Authority struct {
	store    Store
	attester Attester
	now      func() time.Time
	ttl      time.Duration
	names    []string
	cert     *x509.Certificate
	pem      []byte
	key      crypto.Signer
	pin      string

	mu     sync.Mutex
	server *serverCertificate
}

// Lifetimes. Certificates begin in the past, for clocks are not all alike.
const (
	caTTL    = 10 * 365 * 24 * time.Hour
	leafTTL  = 24 * time.Hour
	backdate = 5 * time.Minute
)

// Open loads the authority, and creates it when Dir has none. Processes that create it at once agree on one.
func Open(cfg Config) (*Authority, error) {
	a := &Authority{store: cfg.Store, attester: cfg.Attester, now: cfg.Now, ttl: cfg.LeafTTL, names: cfg.Names}
	if a.now == nil {
		a.now = time.Now
	}
	if a.ttl == 0 {
		a.ttl = leafTTL
	}
	var err error
	if a.cert, a.key, a.pem, err = loadOrCreate(cfg.Dir, a.now()); err != nil {
		return nil, err
	}
	if !a.now().Before(a.cert.NotAfter) {
		return nil, fmt.Errorf("the certificate of the authority in %s expired on %s: move ca.pem and ca.key away, start again and enrol every agent anew",
			cfg.Dir, a.cert.NotAfter.Format(time.DateOnly))
	}
	a.pin = Pin(a.cert)
	return a, nil
}

// Pin is what a join token says of the authority: lower-case hexadecimal SHA-256 of the certificate's
// SubjectPublicKeyInfo.
func Pin(ca *x509.Certificate) string {
	sum := sha256.Sum256(ca.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// PEM is the authority's certificate.
func (a *Authority) PEM() []byte { return a.pem }

// Roots is the authority's certificate as a pool to verify with.
func (a *Authority) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Issued is a signed certificate.
type Issued struct {
	// Chain is the leaf and the authority's certificate, Roots the authority's certificate; all DER.
	Chain, Roots [][]byte
	NotAfter     time.Time
}

// Enrol checks a join token and signs a PKCS #10 request for the node it names. It takes one use of the token, and only
// when everything else is right. Errors are ErrToken, ErrDenied, ErrRequest or the store's.
func (a *Authority) Enrol(ctx context.Context, token, node string, csr []byte) (Issued, error) {
	t, err := a.verify(ctx, token, joinPrefix)
	if err != nil {
		return Issued{}, err
	}
	if t.Role != store.RoleJoin || t.Uses == 0 {
		return Issued{}, Refuse(CauseSpent, "join token %s: no uses left: %w", t.ID, ErrToken)
	}
	key, err := parseRequest(node, csr)
	if err != nil {
		return Issued{}, err
	}
	if t.Node != "" && t.Node != node {
		return Issued{}, Refuse(CauseOtherNode, "join token %s is for another node than %q: %w", t.ID, node, ErrDenied)
	}
	revoked, err := a.store.Revocations(ctx)
	if err != nil {
		return Issued{}, err
	}
	if at, ok := revoked[node]; ok && (t.Node != node || !t.Created.After(at)) {
		return Issued{}, Refuse(CauseNodeRevoked, "node %q was revoked at %s and needs a join token of its own (token create --node %s): %w",
			node, at.Format(time.RFC3339), node, ErrDenied)
	}
	if err := a.store.SpendToken(ctx, t.ID, a.now()); errors.Is(err, store.ErrSpent) {
		return Issued{}, Refuse(CauseSpent, "join token %s: no uses left: %w", t.ID, ErrToken)
	} else if err != nil {
		return Issued{}, err
	}
	return a.signNode(node, key)
}

// Renew signs a PKCS #10 request of a fresh key for a node that is known by its certificate. Errors are ErrRequest or the
// store's.
func (a *Authority) Renew(node string, csr []byte) (Issued, error) {
	key, err := parseRequest(node, csr)
	if err != nil {
		return Issued{}, err
	}
	return a.signNode(node, key)
}

// Node says which node holds a certificate that the authority signed. Errors are ErrDenied or the store's.
func (a *Authority) Node(ctx context.Context, cert *x509.Certificate) (string, error) {
	node, err := nodeOf(cert)
	if err != nil {
		return "", err
	}
	revoked, err := a.store.Revocations(ctx)
	if err != nil {
		return "", err
	}
	if at, ok := revoked[node]; ok && Void(IssuedAt(cert), at) {
		return "", Refuse(CauseNodeRevoked, "node %q was revoked at %s: %w", node, at.Format(time.RFC3339), ErrDenied)
	}
	return node, nil
}

// IssuedAt is when a certificate of the authority was signed, to the second.
func IssuedAt(cert *x509.Certificate) time.Time { return cert.NotBefore.Add(backdate) }

// Void says whether a certificate that was signed at a moment is void for a node that was revoked at another.
func Void(issued, revoked time.Time) bool { return !issued.After(revoked) }

// Revoke voids every certificate of a node that was issued so far.
func (a *Authority) Revoke(ctx context.Context, node string) error {
	if err := CheckNodeName(node); err != nil {
		return err
	}
	return a.store.RevokeNode(ctx, node, a.now())
}

var nodeName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$`)

// CheckNodeName says whether a name can be a node's: 1 to 253 letters, digits, dots, dashes and underscores, with a letter
// or digit at either end. The error is ErrRequest.
func CheckNodeName(name string) error {
	if !nodeName.MatchString(name) {
		return fmt.Errorf("node name %.80q is not 1 to 253 of [A-Za-z0-9._-] with a letter or digit at either end: %w", name, ErrRequest)
	}
	return nil
}

// nodePath is the path of the URI that names a node; the whole is spiffe://holdfast/node/NAME.
const nodePath = "/node/"

func nodeURI(node string) *url.URL {
	return &url.URL{Scheme: "spiffe", Host: "holdfast", Path: nodePath + node}
}

// nodeOf reads the node from a certificate.
func nodeOf(cert *x509.Certificate) (string, error) {
	if len(cert.URIs) != 1 {
		return "", Refuse(CauseCertificate, "the certificate names %d URIs instead of one node: %w", len(cert.URIs), ErrDenied)
	}
	u := cert.URIs[0]
	if len(u.Path) <= len(nodePath) {
		return "", Refuse(CauseCertificate, "the certificate is of no node: %w", ErrDenied)
	}
	node := u.Path[len(nodePath):]
	if CheckNodeName(node) != nil || u.String() != nodeURI(node).String() {
		return "", Refuse(CauseCertificate, "the certificate is of no node: %w", ErrDenied)
	}
	return node, nil
}

// maxRequest is the longest PKCS #10 request that is looked at, in bytes.
const maxRequest = 16 << 10

// parseRequest checks a PKCS #10 request and returns its key. Names in it have no effect, but a common name that is not
// the node's is a mistake that must not pass unnoticed.
func parseRequest(node string, der []byte) (crypto.PublicKey, error) {
	if err := CheckNodeName(node); err != nil {
		return nil, err
	}
	if len(der) > maxRequest {
		return nil, fmt.Errorf("the certificate request has %d bytes, more than %d: %w", len(der), maxRequest, ErrRequest)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("parse the certificate request: %w: %w", err, ErrRequest)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("signature of the certificate request: %w: %w", err, ErrRequest)
	}
	if cn := csr.Subject.CommonName; cn != "" && cn != node {
		return nil, fmt.Errorf("the certificate request is for %.80q, not for %q: %w", cn, node, ErrRequest)
	}
	switch key := csr.PublicKey.(type) {
	case ed25519.PublicKey:
		return key, nil
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() || key.Curve == elliptic.P384() {
			return key, nil
		}
	}
	return nil, fmt.Errorf("the key of the certificate request is neither ECDSA P-256 or P-384 nor Ed25519: %w", ErrRequest)
}

func (a *Authority) signNode(node string, key crypto.PublicKey) (Issued, error) {
	return a.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: commonName(node)},
		URIs:        []*url.URL{nodeURI(node)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, key)
}

// commonName is a name cut to the 64 characters that X.509 allows.
func commonName(name string) string { return name[:min(len(name), 64)] }

// sign completes a template and signs it.
func (a *Authority) sign(template *x509.Certificate, key crypto.PublicKey) (Issued, error) {
	serial, err := newSerial()
	if err != nil {
		return Issued{}, err
	}
	now := a.now()
	template.SerialNumber = serial
	template.NotBefore, template.NotAfter = now.Add(-backdate), now.Add(a.ttl)
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key, a.key)
	if err != nil {
		return Issued{}, fmt.Errorf("sign a certificate for %s: %w", template.Subject.CommonName, err)
	}
	return Issued{Chain: [][]byte{der, a.cert.Raw}, Roots: [][]byte{a.cert.Raw}, NotAfter: template.NotAfter}, nil
}

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	return serial.Add(serial, big.NewInt(1)), nil
}

// splitNames sorts names into DNS names and addresses.
func splitNames(names []string) (dns []string, ips []net.IP) {
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			ips = append(ips, ip)
		} else if name != "" {
			dns = append(dns, name)
		}
	}
	return dns, ips
}
