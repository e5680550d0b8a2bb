// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// SignToken makes a ServiceAccount token with any claims, signed with the API server's own key: one that the server would
// never give out, such as one that has expired. The server's own tokens come from the TokenRequest API.
func (s *Server) SignToken(claims map[string]any) (string, error) {
	return SignToken(s.authority.tokens, claims)
}

// SignToken makes a token that says it is of the API server's, signed with a key that need not be.
func SignToken(key *ecdsa.PrivateKey, claims map[string]any) (string, error) {
	// The server finds the key by this name, which it makes of the key in this way.
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return "", fmt.Errorf("name the key of a token: %w", err)
	}
	id := sha256.Sum256(public)
	header, err := part(map[string]string{"alg": "ES256", "kid": base64.RawURLEncoding.EncodeToString(id[:])})
	if err != nil {
		return "", err
	}
	payload, err := part(claims)
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256([]byte(header + "." + payload))
	r, t, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	// RFC 7518, section 3.4: both numbers in 32 bytes each.
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	t.FillBytes(signature[32:])
	return header + "." + payload + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// part is a value as one of the parts of a token.
func part(value any) (string, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("encode a token: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(text), nil
}
