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

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// validity is how long certificates are good. They begin in the past, as clocks may be set back meanwhile.
const validity = 24 * time.Hour

// Authority signs the certificates of one cluster. Its files, which whoever reads them has to find, are in one directory:
// ca.pem and ca.key, its own; tokens.key, which the API server signs ServiceAccount tokens with; and what it is told to
// write. It is used by one goroutine.
type Authority struct {
	dir         string
	cert        *x509.Certificate
	key, tokens *ecdsa.PrivateKey
}

// NewAuthority makes an authority with new keys, which are written into a directory that exists.
func NewAuthority(dir string) (*Authority, error) {
	a := &Authority{dir: dir}
	var err error
	if a.key, err = a.newKey("ca.key"); err != nil {
		return nil, err
	}
	if a.tokens, err = a.newKey("tokens.key"); err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lab"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(validity),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("sign the cluster's authority: %w", err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("sign the cluster's authority: %w", err)
	}
	return a, a.write("ca.pem", "CERTIFICATE", der)
}

// File is the path of one of the authority's files.
func (a *Authority) File(name string) string { return filepath.Join(a.dir, name) }

// newKey generates a key and writes it.
func (a *Authority) newKey(name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate %s: %w", name, err)
	}
	// The older form, which every part takes for every use.
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", name, err)
	}
	return key, a.write(name, "EC PRIVATE KEY", der)
}

func (a *Authority) write(name, kind string, der []byte) error {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(a.File(name), text, 0o600); err != nil {
		return fmt.Errorf("keep a key or certificate: %w", err)
	}
	return nil
}

// Server writes name.pem and name.key, a certificate for what answers at the names and addresses.
func (a *Authority) Server(name string, hosts []string, addrs []net.IP) error {
	return a.sign(name, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: hosts, IPAddresses: addrs,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
}

// Client writes name.pem and name.key, a certificate of a user.
func (a *Authority) Client(name, user string, groups ...string) error {
	return a.sign(name, &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// sign completes a template and signs it, for a fresh key.
func (a *Authority) sign(name string, template *x509.Certificate) error {
	key, err := a.newKey(name + ".key")
	if err != nil {
		return err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return fmt.Errorf("draw a serial number: %w", err)
	}
	template.NotBefore, template.NotAfter = a.cert.NotBefore, a.cert.NotAfter
	template.KeyUsage, template.BasicConstraintsValid = x509.KeyUsageDigitalSignature, true
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return fmt.Errorf("sign the certificate %s: %w", name, err)
	}
	return a.write(name+".pem", "CERTIFICATE", der)
}

// Kubeconfig signs a certificate of a user as Client does, writes name.conf, by which the user reaches the API server at a
// URL, and returns its path.
func (a *Authority) Kubeconfig(server, name, user string, groups ...string) (string, error) {
	if err := a.Client(name, user, groups...); err != nil {
		return "", err
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["lab"] = &clientcmdapi.Cluster{Server: server, CertificateAuthority: a.File("ca.pem")}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificate: a.File(name + ".pem"), ClientKey: a.File(name + ".key")}
	config.Contexts["lab"] = &clientcmdapi.Context{Cluster: "lab", AuthInfo: name}
	config.CurrentContext = "lab"
	path := a.File(name + ".conf")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return "", fmt.Errorf("write the kubeconfig of %s: %w", user, err)
	}
	return path, nil
}
