// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// credential is what gets the node an identity: a join token, or the ServiceAccount token of the agent's pod.
type credential struct {
	// kind is what it is, for people; text the token itself. Once says that it is good for one enrolment.
	kind, text string
	once       bool
	// refused is what it means that the collector does not take it.
	refused error
	// verify checks the collector's certificates, leaf first, before the token is sent. Among says whether the authority that
	// the credential comes with is among roots.
	verify func([]*x509.Certificate) error
	among  func(roots []*x509.Certificate) bool
}

// request asks for an identity.
func (c credential) request(node string, csr []byte) *apiv1.EnrolRequest {
	r := &apiv1.EnrolRequest{Node: node, Csr: csr}
	if c.once {
		r.JoinToken = c.text
	} else {
		r.ServiceAccountToken = c.text
	}
	return r
}

// enrols says whether the configuration has anything to enrol with.
func (c *Config) enrols() bool { return c.JoinTokenFile != "" || c.ServiceAccountTokenFile != "" }

// credential reads what the configuration has to enrol with. Tokens are read each time: the kubelet renews them, and people
// put new ones in place.
func (c *Config) credential() (credential, error) {
	if c.ServiceAccountTokenFile != "" {
		return accountCredential(c.ServiceAccountTokenFile, c.CollectorCAFile)
	}
	token, err := readToken(c.JoinTokenFile)
	if err != nil {
		return credential{}, err
	}
	return credential{
		kind: "join token", text: token.text, once: true, refused: ErrToken, verify: verifyPin(token.pin),
		among: func(roots []*x509.Certificate) bool { return pinned(roots, token.pin) != nil },
	}, nil
}

// accountCredential reads a ServiceAccount token and the certificates of the collector's authority. Both are mounted, and may
// come late; an error is no refusal.
func accountCredential(tokenFile, caFile string) (credential, error) {
	known, err := readAuthorities(caFile)
	if err != nil {
		return credential{}, fmt.Errorf("wait for the certificate of the collector's authority: %w", err)
	}
	token, err := readAccountToken(tokenFile)
	if err != nil {
		return credential{}, fmt.Errorf("wait for the ServiceAccount token: %w", err)
	}
	pool := x509.NewCertPool()
	for _, ca := range known {
		pool.AddCert(ca)
	}
	return credential{
		kind: "ServiceAccount token", text: token, refused: ErrAccount,
		verify: func(chain []*x509.Certificate) error {
			err := verifyPeer(chain, pool)
			if errors.Is(err, ErrAuthority) {
				err = fmt.Errorf("%w: compare the address with the collector whose authority is in %s", err, caFile)
			}
			return err
		},
		among: func(roots []*x509.Certificate) bool {
			return slices.ContainsFunc(roots, func(root *x509.Certificate) bool { return slices.ContainsFunc(known, root.Equal) })
		},
	}, nil
}

const (
	// maxAccountToken and maxAuthorities are the largest files of a ServiceAccount token and of certificates, in bytes.
	maxAccountToken = 16 << 10
	maxAuthorities  = 256 << 10
)

// accountToken is what a ServiceAccount token is written with.
var accountToken = regexp.MustCompile(`^[A-Za-z0-9._~+/=-]+$`)

// readAccountToken reads a token that the kubelet has put into a file. The error tells nothing of it.
func readAccountToken(path string) (string, error) {
	text, err := readBounded(path, maxAccountToken)
	if err != nil {
		return "", err
	}
	text = bytes.TrimSpace(text)
	if !accountToken.Match(text) {
		return "", fmt.Errorf("%s holds no token, but %d bytes of something else", path, len(text))
	}
	return string(text), nil
}

// readAuthorities reads the certificates of authorities that a file holds, PEM.
func readAuthorities(path string) ([]*x509.Certificate, error) {
	text, err := readBounded(path, maxAuthorities)
	if err != nil {
		return nil, err
	}
	var list [][]byte
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != certBlock {
			return nil, fmt.Errorf("%s holds a PEM %q, where certificates belong", path, block.Type)
		}
		list = append(list, block.Bytes)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s holds no PEM certificate", path)
	}
	authorities, err := parseCertificates(list)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for i, c := range authorities {
		if !c.IsCA {
			return nil, fmt.Errorf("%s: certificate %d is no authority's", path, i+1)
		}
	}
	return authorities, nil
}

// readBounded reads a file of at most so many bytes.
func readBounded(path string, most int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // opened for reading: there is nothing to lose
	text, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%s: larger than %d bytes", path, most)
	}
	return text, err
}
