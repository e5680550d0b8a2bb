// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"unicode/utf8"
)

// content is what a text turned out to be.
type content uint8

const (
	isText content = iota
	isCompressed
	isEncoded
	isJSON
	isForm
	isMultipart
)

// sniffed is what the first bytes of a text say.
type sniffed struct {
	kind  content
	layer Layer
	// skip is how many bytes stand before what is encoded.
	skip int
	// deeper says that undoing it is a layer; weak that it may be chance.
	deeper, weak bool
}

const (
	base64Min = 12
	hexMin    = 16
)

// sniff looks at the first bytes of a text.
func (t *text) sniff(head []byte, final bool) sniffed {
	if t.mode == modeBody {
		switch t.hint.kind {
		case hintForm:
			return sniffed{kind: isForm}
		case hintMultipart:
			return sniffed{kind: isMultipart}
		}
		if l, ok := compression(head); ok {
			return sniffed{kind: isCompressed, layer: l, deeper: true}
		}
		body := bytes.TrimLeft(head, " \t\r\n\xef\xbb\xbf")
		if len(body) > 0 && (body[0] == '{' || body[0] == '[' || t.hint.kind == hintJSON && body[0] == '"') {
			return sniffed{kind: isJSON}
		}
	}
	return sniffValue(head, final, t.mode)
}

// sniffValue finds base64, hexadecimal and URL encoding, and data: URLs.
func sniffValue(head []byte, final bool, md mode) sniffed {
	if n := dataURL(head); n > 0 {
		return sniffed{kind: isEncoded, layer: LayerBase64, skip: n, deeper: true}
	}
	if n := basicAuth(head); n > 0 {
		return sniffed{kind: isEncoded, layer: LayerBase64, skip: n, deeper: true, weak: true}
	}
	if hexadecimal(head, final) {
		return sniffed{kind: isEncoded, layer: LayerHex, deeper: true, weak: true}
	}
	if base64Text(head, final) {
		return sniffed{kind: isEncoded, layer: LayerBase64, deeper: true, weak: true}
	}
	if md == modeValue && percent(head) {
		return sniffed{kind: isEncoded, layer: LayerURL, deeper: true, weak: true}
	}
	return sniffed{}
}

// encodedValue is a quick look whether a value needs more than being given as it is.
func encodedValue(v []byte) bool {
	return sniffValue(v, true, modeValue).kind != isText
}

// compression recognises compressed bytes by their first ones (RFC 1952, 8878, 1950). Raw deflate and brotli have none.
func compression(head []byte) (Layer, bool) {
	switch {
	case len(head) < 4:
	case head[0] == 0x1f && head[1] == 0x8b && head[2] == 8 && head[3]&0xe0 == 0:
		return LayerGzip, true
	case string(head[:4]) == "\x28\xb5\x2f\xfd":
		return LayerZstd, true
	case head[0] == 0x78 && (head[1] == 0x01 || head[1] == 0x5e || head[1] == 0x9c || head[1] == 0xda):
		return LayerDeflate, true
	}
	return 0, false
}

// dataURL is the length of what stands before the base64 of a data: URL (RFC 2397), or 0.
func dataURL(head []byte) int {
	if len(head) == 0 || head[0]|0x20 != 'd' || prefixFold(head, "data:") != yes {
		return 0
	}
	i := bytes.IndexByte(head, ',')
	if i < 0 || !bytes.HasSuffix(head[:i], []byte(";base64")) {
		return 0
	}
	return i + 1
}

// basicAuth is the length of the scheme before credentials in base64 (RFC 7617), or 0.
func basicAuth(head []byte) int {
	if len(head) > 6 && head[0]|0x20 == 'b' && prefixFold(head, "Basic ") == yes {
		return 6
	}
	return 0
}

// classes of bytes.
const (
	isHexDigit = 1 << iota
	isBase64Std
	isBase64URL
	isSpace
)

// byteClasses says what alphabets a byte belongs to.
var byteClasses = func() (t [256]uint8) {
	for c := range 256 {
		switch {
		case c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F':
			t[c] = isHexDigit | isBase64Std | isBase64URL
		case c >= 'g' && c <= 'z' || c >= 'G' && c <= 'Z':
			t[c] = isBase64Std | isBase64URL
		case c == '+' || c == '/':
			t[c] = isBase64Std
		case c == '-' || c == '_':
			t[c] = isBase64URL
		case c == '\r' || c == '\n':
			t[c] = isHexDigit | isBase64Std | isBase64URL | isSpace
		}
	}
	return t
}()

// hexadecimal says whether all of it is hexadecimal digits, line ends apart.
func hexadecimal(head []byte, final bool) bool {
	if len(head) < hexMin {
		return false
	}
	digits := 0
	for _, c := range head {
		k := byteClasses[c]
		if k&isHexDigit == 0 {
			return false
		}
		if k&isSpace == 0 {
			digits++
		}
	}
	return digits >= hexMin && (!final || digits%2 == 0)
}

// base64Text says whether all of it is of one base64 alphabet, padding at the end and line ends apart.
func base64Text(head []byte, final bool) bool {
	if len(head) < base64Min {
		return false
	}
	body := head
	for final && len(body) > 0 && (body[len(body)-1] == '=' || byteClasses[body[len(body)-1]]&isSpace != 0) {
		body = body[:len(body)-1]
	}
	all := uint8(isBase64Std | isBase64URL)
	digits := 0
	for i, c := range body {
		k := byteClasses[c]
		if k == 0 && c == '=' && !final && i >= base64Min {
			break
		}
		if all &= k; all == 0 {
			return false
		}
		if k&isSpace == 0 {
			digits++
		}
	}
	return digits >= base64Min-2 && (!final || digits%4 != 1)
}

// percent says whether there is a byte in URL encoding.
func percent(head []byte) bool {
	for {
		i := bytes.IndexByte(head, '%')
		if i < 0 || i+2 >= len(head) {
			return false
		}
		if byteClasses[head[i+1]]&byteClasses[head[i+2]]&isHexDigit != 0 {
			return true
		}
		head = head[i+1:]
	}
}

// readable says whether bytes look like text: UTF-8 without control characters.
func readable(head []byte, final bool) bool {
	for len(head) > 0 {
		if c := head[0]; c < utf8.RuneSelf {
			if c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0x7f {
				return false
			}
			head = head[1:]
			continue
		}
		r, n := utf8.DecodeRune(head)
		if r == utf8.RuneError && n <= 1 {
			return !final && !utf8.FullRune(head)
		}
		head = head[n:]
	}
	return true
}
