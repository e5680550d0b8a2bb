// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

// joinToken is a join token as docs/enrolment.md describes it.
type joinToken struct {
	text string
	// pin is SHA-256 of the SubjectPublicKeyInfo of the collector's authority.
	pin [sha256.Size]byte
}

// maxToken is the largest file of a token, in bytes.
const maxToken = 4096

// readToken reads the token that a file holds, with or without white space around it. The error is ErrToken and tells
// nothing of the token.
func readToken(path string) (joinToken, error) {
	file, err := os.Open(path)
	if err != nil {
		return joinToken{}, fmt.Errorf("%w: read it: %w", ErrToken, err)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxToken))
	_ = file.Close() // opened for reading: there is nothing to lose
	if err != nil {
		return joinToken{}, fmt.Errorf("%w: read it: %w", ErrToken, err)
	}
	t, err := parseToken(strings.TrimSpace(string(text)))
	if err != nil {
		return joinToken{}, fmt.Errorf("%w: %s: %w", ErrToken, path, err)
	}
	return t, nil
}

func parseToken(text string) (joinToken, error) {
	if text == "" {
		return joinToken{}, fmt.Errorf("the file is empty; holdfast-collector token create prints a token")
	}
	parts := strings.Split(text, "_")
	if parts[0] == "hfa" {
		return joinToken{}, fmt.Errorf("this is an API token; holdfast-collector token create without --role prints a join token")
	}
	if parts[0] != "hfj" || len(parts) != 4 || parts[1] == "" || parts[2] == "" {
		return joinToken{}, fmt.Errorf("this is no join token; one begins with hfj_ and has four parts")
	}
	t := joinToken{text: text}
	if n, err := hex.Decode(t.pin[:], []byte(parts[3][:min(len(parts[3]), 2*len(t.pin))])); err != nil || n != len(t.pin) || len(parts[3]) != 2*n {
		return joinToken{}, fmt.Errorf("the fingerprint at its end is not of %d hexadecimal digits: the token was cut off or changed", 2*len(t.pin))
	}
	return t, nil
}

// checkNode says whether a name can be a node's.
func checkNode(name string) error {
	ok, err := regexp.MatchString(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$`, name)
	if err != nil || !ok {
		return fmt.Errorf("node name %.80q is not 1 to 253 of [A-Za-z0-9._-] with a letter or digit at either end", name)
	}
	return nil
}
