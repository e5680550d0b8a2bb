// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	certFile = "ca.pem"
	keyFile  = "ca.key"

	certBlock = "CERTIFICATE"
	keyBlock  = "PRIVATE KEY"
)

// loadOrCreate returns what is in dir, and creates what is missing. The key is written first: a certificate can be made
// again for a key, and the pin in tokens is that of the key.
func loadOrCreate(dir string, now time.Time) (_ *x509.Certificate, _ crypto.Signer, certPEM []byte, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, nil, fmt.Errorf("create the authority's directory: %w", err)
	}
	unlock, err := lock(filepath.Join(dir, "ca.lock"))
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	certPath, keyPath := filepath.Join(dir, certFile), filepath.Join(dir, keyFile)
	key, err := loadKey(keyPath)
	if errors.Is(err, os.ErrNotExist) {
		if _, lone := os.Stat(certPath); lone == nil {
			return nil, nil, nil, fmt.Errorf("%s is there but its key %s is missing: restore it, or move the certificate away, start again and enrol every agent anew", certPath, keyPath)
		}
		key, err = createKey(keyPath)
	}
	if err != nil {
		return nil, nil, nil, err
	}
	certPEM, err = os.ReadFile(certPath)
	if errors.Is(err, os.ErrNotExist) {
		certPEM, err = createCertificate(certPath, key, now)
	}
	if err != nil {
		return nil, nil, nil, fmt.Errorf("read the authority's certificate: %w", err)
	}
	cert, err := parseCertificate(certPEM, key)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%s: %w", certPath, err)
	}
	return cert, key, certPEM, nil
}

// lock takes a lock file and returns what gives it back.
func lock(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the authority's files: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock the authority's files: %w", err), f.Close())
	}
	return f.Close, nil
}

func loadKey(path string) (crypto.Signer, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the authority's key: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the authority's key: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others (mode %04o): chmod 600 it, and if others may have read it, make a new authority", path, mode)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != keyBlock {
		return nil, fmt.Errorf("%s holds no PEM %s", path, keyBlock)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", path, err)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("the key in %s cannot sign", path)
	}
	return key, nil
}

func createKey(path string) (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate the authority's key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the authority's key: %w", err)
	}
	return key, writeFile(path, pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}), 0o600)
}

func createCertificate(path string, key crypto.Signer, now time.Time) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		// Two authorities must not look alike in a trust store.
		Subject:               pkix.Name{CommonName: "Holdfast CA " + hex.EncodeToString(serial.Bytes()[:4])},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caTTL),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign the authority's certificate: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: certBlock, Bytes: der})
	return text, writeFile(path, text, 0o644)
}

// parseCertificate reads the authority's certificate and checks that it is one, and of this key.
func parseCertificate(text []byte, key crypto.Signer) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != certBlock {
		return nil, fmt.Errorf("holds no PEM %s", certBlock)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse the certificate: %w", err)
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(cert.PublicKey) {
		return nil, errors.New("the certificate is not of the key beside it")
	}
	if !cert.IsCA {
		return nil, errors.New("the certificate is not an authority's")
	}
	return cert, nil
}

// writeFile writes a file so that it is there whole or not at all, whatever ends the process.
func writeFile(path string, data []byte, mode os.FileMode) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
