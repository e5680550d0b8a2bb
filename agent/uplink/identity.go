// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"time"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// nodePrefix is what the URI of a node's certificate begins with.
const nodePrefix = "spiffe://holdfast/node/"

// maxChain is how many certificates an identity may hold of a kind.
const maxChain = 16

// identity is who the node is to the collector. It never changes.
type identity struct {
	node string
	// certificate is the key and the chain, leaf first.
	certificate tls.Certificate
	leaf        *x509.Certificate
	roots       []*x509.Certificate
	pool        *x509.CertPool
	// renew is when a new certificate should be asked for.
	renew time.Time
}

// expired reports whether the certificate's time is over.
func (id *identity) expired(now time.Time) bool { return !now.Before(id.leaf.NotAfter) }

// certificateRequest makes a key and a PKCS #10 request for it.
func certificateRequest(node string) (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generate the node's key: %w", err)
	}
	template := &x509.CertificateRequest{}
	// X.509 allows 64 characters. The collector takes the name from the call.
	if len(node) <= 64 {
		template.Subject = pkix.Name{CommonName: node}
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, nil, fmt.Errorf("make the certificate request: %w", err)
	}
	return key, csr, nil
}

// issuedIdentity makes an identity of what the collector has issued for a key at a moment. It is checked as if it came
// from a stranger: an identity that does not work must not replace one that does.
func issuedIdentity(node string, key *ecdsa.PrivateKey, c *apiv1.Certificate, now time.Time) (*identity, error) {
	chain, err := parseCertificates(c.GetChain())
	if err != nil {
		return nil, fmt.Errorf("%w: certificate that the collector issued: %w", errBreach, err)
	}
	roots, err := parseCertificates(c.GetRoots())
	if err != nil {
		return nil, fmt.Errorf("%w: roots that the collector sent: %w", errBreach, err)
	}
	id, err := newIdentity(key, chain, roots)
	if err != nil {
		return nil, fmt.Errorf("%w: certificate that the collector issued: %w", errBreach, err)
	}
	if id.node != node {
		return nil, fmt.Errorf("%w: the collector issued a certificate for node %.80q to node %q", errBreach, id.node, node)
	}
	if now.Before(id.leaf.NotBefore) || id.expired(now) {
		return nil, clockError("the new", id.leaf, now)
	}
	id.renew = renewAt(now, id.leaf.NotAfter)
	return id, nil
}

// newIdentity puts an identity together and checks that its parts belong together, the time aside.
func newIdentity(key *ecdsa.PrivateKey, chain, roots []*x509.Certificate) (*identity, error) {
	if len(chain) == 0 || len(roots) == 0 {
		return nil, fmt.Errorf("%d certificates and %d roots: at least one of each is needed", len(chain), len(roots))
	}
	id := &identity{leaf: chain[0], roots: roots, pool: x509.NewCertPool()}
	if public, ok := id.leaf.PublicKey.(*ecdsa.PublicKey); !ok || !public.Equal(key.Public()) {
		return nil, errors.New("the certificate is not for the node's key")
	}
	for _, root := range roots {
		id.pool.AddCert(root)
	}
	options := x509.VerifyOptions{
		Roots: id.pool, Intermediates: x509.NewCertPool(), CurrentTime: id.leaf.NotBefore,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	// The time of signing is behind NotBefore, which lies in the past of the authority's own beginning when that is new.
	for _, root := range roots {
		if root.NotBefore.After(options.CurrentTime) {
			options.CurrentTime = root.NotBefore
		}
	}
	if _, err := id.leaf.Verify(options); err != nil {
		return nil, fmt.Errorf("verify the certificate: %w", err)
	}
	if len(id.leaf.URIs) != 1 || !strings.HasPrefix(id.leaf.URIs[0].String(), nodePrefix) {
		return nil, errors.New("the certificate is of no node")
	}
	id.node = strings.TrimPrefix(id.leaf.URIs[0].String(), nodePrefix)
	id.certificate = tls.Certificate{PrivateKey: key, Leaf: id.leaf}
	for _, c := range chain {
		id.certificate.Certificate = append(id.certificate.Certificate, c.Raw)
	}
	id.renew = renewAt(id.leaf.NotBefore, id.leaf.NotAfter)
	return id, nil
}

// renewAt is two thirds into a certificate's time, up to a tenth of that earlier, so that nodes that enrolled together do
// not renew together.
func renewAt(from, to time.Time) time.Time {
	span := to.Sub(from) * 2 / 3
	if span <= 0 {
		return from
	}
	return from.Add(span - time.Duration(mathrand.Int64N(int64(span)/10+1)))
}

func parseCertificates(list [][]byte) ([]*x509.Certificate, error) {
	if len(list) > maxChain {
		return nil, fmt.Errorf("%d certificates are more than %d", len(list), maxChain)
	}
	parsed := make([]*x509.Certificate, 0, len(list))
	for i, der := range list {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i+1, err)
		}
		parsed = append(parsed, c)
	}
	return parsed, nil
}

// pinned gives the authority among certificates whose key has the fingerprint, or nil.
func pinned(certificates []*x509.Certificate, pin [sha256.Size]byte) *x509.Certificate {
	for _, c := range certificates {
		if c.IsCA && sha256.Sum256(c.RawSubjectPublicKeyInfo) == pin {
			return c
		}
	}
	return nil
}
