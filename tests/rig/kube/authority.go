// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// authority signs the certificates of one run, and holds the key of its ServiceAccount tokens.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	// tokenKey signs ServiceAccount tokens.
	tokenKey *ecdsa.PrivateKey

	caFile, serverCert, serverKey, adminCert, adminKey, tokenKeyFile string
}

// validity is how long certificates are good. They begin in the past, as clocks may be set back meanwhile.
const validity = 24 * time.Hour

// newAuthority makes an authority and writes what the API server and its clients need into a directory.
func newAuthority(dir string) (*authority, error) {
	a := &authority{
		caFile: filepath.Join(dir, "ca.pem"), serverCert: filepath.Join(dir, "server.pem"), serverKey: filepath.Join(dir, "server.key"),
		adminCert: filepath.Join(dir, "admin.pem"), adminKey: filepath.Join(dir, "admin.key"),
		tokenKeyFile: filepath.Join(dir, "tokens.key"),
	}
	var err error
	if a.key, err = newKey(); err != nil {
		return nil, err
	}
	if a.tokenKey, err = newKey(); err != nil {
		return nil, err
	}
	if a.cert, err = a.selfSign(); err != nil {
		return nil, err
	}
	server, serverKey, err := a.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		DNSNames:    []string{"localhost", "kubernetes.default.svc"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return nil, err
	}
	admin, adminKey, err := a.client("admin", []string{"system:masters"})
	if err != nil {
		return nil, err
	}
	tokenKey, err := encodeKey(a.tokenKey)
	if err != nil {
		return nil, err
	}
	for path, text := range map[string][]byte{
		a.caFile: encodeCertificate(a.cert.Raw), a.serverCert: server, a.serverKey: serverKey,
		a.adminCert: admin, a.adminKey: adminKey, a.tokenKeyFile: tokenKey,
	} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return nil, fmt.Errorf("keys of the API server: %w", err)
		}
	}
	return a, nil
}

func (a *authority) selfSign() (*x509.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test cluster"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(validity),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("sign the test cluster's authority: %w", err)
	}
	return x509.ParseCertificate(der)
}

// client gives a certificate and a key, PEM, of a user.
func (a *authority) client(name string, groups []string) (cert, key []byte, err error) {
	return a.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: name, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// sign completes a template and signs it, for a fresh key.
func (a *authority) sign(template *x509.Certificate) (cert, key []byte, err error) {
	private, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return nil, nil, fmt.Errorf("draw a serial number: %w", err)
	}
	template.NotBefore, template.NotAfter = a.cert.NotBefore, a.cert.NotAfter
	template.KeyUsage, template.BasicConstraintsValid = x509.KeyUsageDigitalSignature, true
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("sign a certificate for %s: %w", template.Subject.CommonName, err)
	}
	key, err = encodeKey(private)
	return encodeCertificate(der), key, err
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate a key: %w", err)
	}
	return key, nil
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// encodeKey is a key in the older form, which kube-apiserver takes for both uses.
func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}
