// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"bytes"
	"hash/crc32"
)

func secretChecks() map[string]check {
	return map[string]check{
		"random": random, "crc32-base62": crcBase62, "aws-key-id": awsKeyID, "aws-secret": awsSecret, "hex-random": hexRandom,
		"jwt": plainJWT, "kubernetes-jwt": kubernetesJWT, "pem": pem, "password": password, "basic-auth": basicAuth,
		"uuid": randomUUID, "azure-key": azureKey,
	}
}

// varied is the number of different bytes of a value.
func varied(v []byte) int {
	var seen [256]bool
	n := 0
	for _, b := range v {
		if !seen[b] {
			seen[b] = true
			n++
		}
	}
	return n
}

// placeholder reports whether a value is one of a manual: words such as EXAMPLE, or one byte again and again.
func placeholder(v []byte) bool {
	run := 1
	for i := 1; i < len(v); i++ {
		if run++; v[i] != v[i-1] {
			run = 1
		}
		if run >= 6 {
			return true
		}
	}
	for i := range v {
		for _, word := range [...]string{"example", "placeholder", "changeme", "your", "123456789", "abcdefgh", "redacted"} {
			if len(v)-i >= len(word) && lower(v[i]) == word[0] && foldPrefix(v[i:], word) {
				return true
			}
		}
	}
	return false
}

func foldPrefix(v []byte, word string) bool {
	for i := range len(word) {
		if lower(v[i]) != word[i] {
			return false
		}
	}
	return true
}

// random reports whether a token looks drawn at random: neither few different bytes nor a placeholder.
func random(v []byte) bool { return varied(v) >= min(10, len(v)/3+1) && !placeholder(v) }

// hexRandom is random for hexadecimal, which has sixteen digits.
func hexRandom(v []byte) bool { return varied(v) >= 7 && !placeholder(v) }

// base62 are the digits of GitHub's checksum.
func base62(n int) byte {
	return "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[n]
}

// crcBase62 checks tokens that end in the CRC32 of what follows their prefix, in six digits of base 62, as those of
// GitHub and npm do.
func crcBase62(v []byte) bool {
	body := v[bytes.IndexByte(v, '_')+1:]
	if len(body) < 12 {
		return false
	}
	n := len(body) - 6
	sum := int(crc32.ChecksumIEEE(body[:n]))
	for i := 5; i >= 0; i-- {
		if body[n+i] != base62(sum%62) {
			return false
		}
		sum /= 62
	}
	return true
}

// awsKeyID leaves the identifiers of the manual out.
func awsKeyID(v []byte) bool { return len(v) == 20 && varied(v[4:]) >= 7 && !placeholder(v) }

// awsSecret asks for the variety of 40 random digits of base 64: capitals, small letters and digits.
func awsSecret(v []byte) bool {
	var up, low, dig int
	for _, b := range v {
		switch {
		case isUpper(b):
			up++
		case isLower(b):
			low++
		case isDigit(b):
			dig++
		}
	}
	return len(v) == 40 && up >= 3 && low >= 3 && dig >= 1 && varied(v) >= 16 && !placeholder(v)
}

// azureKey asks for the variety of base 64 of 64 bytes.
func azureKey(v []byte) bool {
	return varied(v) >= 24 && !placeholder(v)
}

// randomUUID checks that a UUID is of version 4 or varied enough to be a secret.
func randomUUID(v []byte) bool { return len(v) == 36 && varied(v) >= 8 && v[14] != '0' }

// decode appends the bytes of base 64, of either alphabet, up to the first byte that is none or to dst's capacity.
func decode(dst, text []byte) []byte {
	var word uint32
	n := 0
	for _, b := range text {
		var d byte
		switch {
		case isUpper(b):
			d = b - 'A'
		case isLower(b):
			d = b - 'a' + 26
		case isDigit(b):
			d = b - '0' + 52
		case b == '+' || b == '-':
			d = 62
		case b == '/' || b == '_':
			d = 63
		default:
			return dst
		}
		word = word<<6 | uint32(d)
		if n += 6; n >= 8 {
			n -= 8
			if len(dst) == cap(dst) {
				return dst
			}
			dst = append(dst, byte(word>>n))
		}
	}
	return dst
}

// header reports whether a token's first part is the JSON header of a JWT.
func header(v []byte) bool {
	var buf [192]byte
	h := decode(buf[:0], v[:max(0, bytes.IndexByte(v, '.'))])
	return len(h) > 8 && h[0] == '{' && bytes.Contains(h, []byte(`"alg"`))
}

// kubernetes reports whether the claims of a token are those of a service account.
func kubernetes(v []byte) bool {
	_, rest, _ := bytes.Cut(v, []byte("."))
	var buf [1024]byte
	claims := decode(buf[:0], rest)
	return bytes.Contains(claims, []byte(`kubernetes.io`)) || bytes.Contains(claims, []byte(`system:serviceaccount:`))
}

func plainJWT(v []byte) bool { return header(v) && !kubernetes(v) }

func kubernetesJWT(v []byte) bool { return header(v) && kubernetes(v) }

// pem checks that a line of base 64 stands behind the header of a private key: a header in a manual, or in the source of
// what reads keys, is none.
func pem(v []byte) bool {
	const dashes = 5
	i := bytes.Index(v[min(dashes, len(v)):], []byte("-----"))
	if i < 0 {
		return false
	}
	body, run := v[i+2*dashes:], 0
	for k, b := range body {
		if run++; !isAlnum(b) && b != '+' && b != '/' && b != '=' {
			run = 0
		}
		if run == 40 {
			line := body[k+1-run : k+1]
			return varied(line) >= 12 && !placeholder(line)
		}
	}
	return false
}

// password reports whether the password of a URL or of a connection string is one: not a variable, nor a placeholder.
func password(v []byte) bool {
	var p []byte
	if _, rest, ok := bytes.Cut(v, []byte("://")); ok {
		_, p, _ = bytes.Cut(rest[:max(0, bytes.LastIndexByte(rest, '@'))], []byte(":"))
	} else {
		_, p, _ = bytes.Cut(v[bytes.LastIndexByte(v, ';')+1:], []byte("="))
	}
	if len(p) < 4 || varied(p) < 3 || placeholder(p) {
		return false
	}
	if bytes.IndexByte([]byte("$<{[(%*"), p[0]) >= 0 {
		return false
	}
	var low [16]byte
	if len(p) > len(low) {
		return true
	}
	for i, b := range p {
		low[i] = lower(b)
	}
	switch string(low[:len(p)]) {
	case "password", "passwd", "pass", "secret", "xxxx", "test", "null", "none", "undefined", "token", "hidden":
		return false
	}
	return true
}

// basicAuth checks that what follows "Basic " is base 64 of a user, a colon and a password.
func basicAuth(v []byte) bool {
	i := bytes.LastIndexAny(v, " \t")
	var buf [256]byte
	text := decode(buf[:0], v[i+1:])
	colon := bytes.IndexByte(text, ':')
	if colon < 1 || len(text)-colon < 5 {
		return false
	}
	for _, b := range text {
		if b < ' ' || b > '~' {
			return false
		}
	}
	return true
}
