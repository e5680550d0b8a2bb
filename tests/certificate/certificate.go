// SPDX-License-Identifier: Apache-2.0

// Package certificate makes certificates for servers in tests whose clients check none. It has no clock: they are good at all times,
// as that of a virtual machine may be any.
package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// SelfSigned makes a certificate for names, of no authority, and its key, both as PEM.
func SelfSigned(names ...string) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("write a key: %w", err)
	}
	self := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0)}
	signed, err := x509.CreateCertificate(rand.Reader, self, self, private.Public(), private)
	if err != nil {
		return nil, nil, fmt.Errorf("sign a certificate: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
