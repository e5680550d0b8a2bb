// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"time"
)

// serverCertificate is the collector's own, kept in memory alone.
type serverCertificate struct {
	tls   *tls.Certificate
	renew time.Time
}

// ServerTLS is the configuration of a listener of the collector: TLS 1.3 with a certificate of the authority, which is
// made anew before it runs out. Client certificates are verified when they are given.
func (a *Authority) ServerTLS() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return a.serverCertificate() },
		ClientCAs:      a.Roots(),
		ClientAuth:     tls.VerifyClientCertIfGiven,
		// A resumed session would carry a certificate past its end.
		SessionTicketsDisabled: true,
	}
}

// serverCertificate returns the collector's certificate, a new one when two thirds of its time are over.
func (a *Authority) serverCertificate() (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.server != nil && a.now().Before(a.server.renew) {
		return a.server.tls, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate the collector's key: %w", err)
	}
	dns, ips := splitNames(append([]string{ServerName, "localhost", "127.0.0.1", "::1"}, a.names...))
	issued, err := a.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: ServerName},
		DNSNames:    dns,
		IPAddresses: ips,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, key.Public())
	if err != nil {
		return nil, err
	}
	a.server = &serverCertificate{
		tls:   &tls.Certificate{Certificate: issued.Chain, PrivateKey: key},
		renew: a.now().Add(a.ttl * 2 / 3),
	}
	return a.server.tls, nil
}
