// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName is the longest part of a key, in bytes.
const maxName = 512

// String returns the key as namespace/Kind/name/container. The namespace is empty outside Kubernetes. A slash within a
// part, which only names outside Kubernetes have, is written %2F, and a percent sign %25.
func (k Key) String() string {
	return strings.Join([]string{
		escapePart(k.Namespace), escapePart(k.Kind), escapePart(k.Name), escapePart(k.Container),
	}, "/")
}

// escapePart takes no memory for a part that has nothing to escape, as all in Kubernetes are.
func escapePart(part string) string {
	return strings.ReplaceAll(strings.ReplaceAll(part, "%", "%25"), "/", "%2F")
}

// Compare orders keys by namespace, kind, name and container.
func (k Key) Compare(other Key) int {
	return cmp.Or(strings.Compare(k.Namespace, other.Namespace), strings.Compare(k.Kind, other.Kind),
		strings.Compare(k.Name, other.Name), strings.Compare(k.Container, other.Container))
}

// ParseKey reads what Key.String writes.
func ParseKey(text string) (Key, error) {
	parts := strings.Split(text, "/")
	if len(parts) != 4 {
		return Key{}, fmt.Errorf("%q: a profile is named namespace/Kind/name/container", text)
	}
	for i, part := range parts {
		plain, err := url.PathUnescape(part)
		if err != nil {
			return Key{}, fmt.Errorf("%q: %w", text, err)
		}
		parts[i] = plain
	}
	k := Key{Namespace: parts[0], Kind: parts[1], Name: parts[2], Container: parts[3]}
	if err := k.Validate(); err != nil {
		return Key{}, fmt.Errorf("%q: %w", text, err)
	}
	return k, nil
}

// Validate returns an error for a key that names nothing: only the namespace may be empty.
func (k Key) Validate() error {
	for _, part := range []struct{ name, text string }{
		{"namespace", k.Namespace}, {"kind", k.Kind}, {"name", k.Name}, {"container", k.Container},
	} {
		if part.text == "" && part.name != "namespace" {
			return fmt.Errorf("%s is missing", part.name)
		}
		if err := checkText(part.text, maxName); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// checkText returns an error for a text that is too long or not fit to be shown.
func checkText(text string, most int) error {
	if len(text) > most {
		return fmt.Errorf("longer than %d bytes", most)
	}
	if !utf8.ValidString(text) {
		return errors.New("not UTF-8")
	}
	for _, r := range text {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("holds the character %U, which does not print", r)
		}
	}
	return nil
}
