// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/holdfast-project/holdfast/agent/replace"
)

// The identity's file holds PEM blocks: the key, the chain with the leaf first, the roots. Roots carry a header to tell
// them from the chain.
const (
	identityFile = "node.pem"
	keyBlock     = "PRIVATE KEY"
	certBlock    = "CERTIFICATE"
	useHeader    = "Use"
	useRoot      = "root"
)

// maxIdentity is the largest identity that is read, in bytes.
const maxIdentity = 1 << 20

// loadIdentity reads the identity in a directory. The error is fs.ErrNotExist if there is none, else it names the file and
// what is wrong with it.
func loadIdentity(dir string) (*identity, error) {
	path := filepath.Join(dir, identityFile)
	text, err := readPrivate(path)
	if err != nil {
		return nil, fmt.Errorf("read the node's identity: %w", err)
	}
	id, err := decodeIdentity(text)
	if err != nil {
		return nil, fmt.Errorf("read the node's identity: %s: %w", path, err)
	}
	return id, nil
}

// readPrivate reads a file that nobody else may have access to.
func readPrivate(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // opened for reading: there is nothing to lose
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: others have access to it (mode %#o), so the key in it may be known: remove it and enrol again", path, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(file, maxIdentity+1))
	if err == nil && len(text) > maxIdentity {
		err = fmt.Errorf("%s: larger than %d bytes", path, maxIdentity)
	}
	return text, err
}

func decodeIdentity(text []byte) (*identity, error) {
	var key *ecdsa.PrivateKey
	var chain, roots [][]byte
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		switch {
		case block.Type == keyBlock:
			parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("key: %w", err)
			}
			key, _ = parsed.(*ecdsa.PrivateKey)
		case block.Type == certBlock && block.Headers[useHeader] == useRoot:
			roots = append(roots, block.Bytes)
		case block.Type == certBlock:
			chain = append(chain, block.Bytes)
		}
	}
	if key == nil {
		return nil, errors.New("it holds no ECDSA key")
	}
	parsedChain, err := parseCertificates(chain)
	if err != nil {
		return nil, fmt.Errorf("chain: %w", err)
	}
	parsedRoots, err := parseCertificates(roots)
	if err != nil {
		return nil, fmt.Errorf("roots: %w", err)
	}
	return newIdentity(key, parsedChain, parsedRoots)
}

func (id *identity) encode() ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(id.certificate.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("encode the key: %w", err)
	}
	blocks := []*pem.Block{{Type: keyBlock, Bytes: key}}
	for _, der := range id.certificate.Certificate {
		blocks = append(blocks, &pem.Block{Type: certBlock, Bytes: der})
	}
	for _, root := range id.roots {
		blocks = append(blocks, &pem.Block{Type: certBlock, Headers: map[string]string{useHeader: useRoot}, Bytes: root.Raw})
	}
	var text bytes.Buffer
	for _, block := range blocks {
		if err := pem.Encode(&text, block); err != nil {
			return nil, fmt.Errorf("encode the identity: %w", err)
		}
	}
	return text.Bytes(), nil
}

// save keeps the identity in a directory, in place of the one that is there. After a crash the file is the old or the new
// one, whole.
func (id *identity) save(dir string) error {
	text, err := id.encode()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keep the node's identity: %w", err)
	}
	if err := replace.File(filepath.Join(dir, identityFile), text); err != nil {
		return fmt.Errorf("keep the node's identity: %w", err)
	}
	return nil
}
