// SPDX-License-Identifier: Apache-2.0

package waf

import "bytes"

// form says how a text may be encoded.
type form uint8

const (
	percent form = 1 << iota // %41, %u0041, overlong UTF-8
	plus                     // a plus sign is a space
	escapes                  // JSON's backslash escapes
	wide                     // full-width forms stand for ASCII: paths, where servers map them
)

// odd says what was strange in how a text was encoded.
type odd uint8

const (
	overlong odd = 1 << iota // a character in more bytes than it needs
	twice                    // a second layer of percent encoding that hid a dot, a slash or a backslash
	hidden                   // dots or slashes that were percent-encoded at all
)

// normalise returns the text as a server would see it, in text itself if nothing is encoded, else in the filter's
// scratch, where it stays until the next call for the same slot.
func (f *Filter) normalise(slot int, text []byte, how form) ([]byte, odd) {
	var strange odd
	s := &f.scratch[slot]
	if how&escapes != 0 && bytes.IndexByte(text, '\\') >= 0 {
		s[0] = unescape(s[0][:0], text)
		text = s[0]
	}
	if how&percent != 0 {
		if bytes.IndexByte(text, '%') >= 0 || how&plus != 0 && bytes.IndexByte(text, '+') >= 0 {
			text, strange = f.decodeTwice(s, text, how)
		}
	}
	if how&(percent|wide) != 0 && hasLong(text, how) {
		var o odd
		s[2], o = shorten(s[2][:0], text, how)
		text = s[2]
		strange |= o
	}
	return text, strange
}

func (f *Filter) decodeTwice(s *[3][]byte, text []byte, how form) ([]byte, odd) {
	var first, second odd
	s[1], first = decode(s[1][:0], text, how&plus != 0)
	text = s[1]
	if bytes.IndexByte(text, '%') < 0 {
		return text, first
	}
	s[2], second = decode(s[2][:0], text, false)
	if second&hidden != 0 {
		second |= twice
	}
	// Slot 2 is what shorten writes to, so that its input must be elsewhere.
	s[1] = append(s[1][:0], s[2]...)
	return s[1], first | second
}

// decode undoes one layer of percent encoding. What is no encoding stays.
func decode(dst, src []byte, spaces bool) ([]byte, odd) {
	var strange odd
	for i := 0; i < len(src); i++ {
		c := src[i]
		switch {
		case c == '+' && spaces:
			c = ' '
		case c == '%' && i+2 < len(src) && hex(src[i+1]) >= 0 && hex(src[i+2]) >= 0:
			c = byte(hex(src[i+1])<<4 | hex(src[i+2]))
			i += 2
			if c == '.' || c == '/' || c == '\\' {
				strange |= hidden
			}
		case c == '%' && i+5 < len(src) && src[i+1]|0x20 == 'u':
			if r := hex4(src[i+2:]); r >= 0 {
				dst = appendRune(dst, r)
				i += 5
				strange |= hidden
				continue
			}
		}
		dst = append(dst, c)
	}
	return dst, strange
}

// unescape undoes the escapes of a JSON string.
func unescape(dst, src []byte) []byte {
	for i := 0; i < len(src); i++ {
		c := src[i]
		if c != '\\' || i+1 == len(src) {
			dst = append(dst, c)
			continue
		}
		i++
		switch src[i] {
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case '"', '/', '\\':
			dst = append(dst, src[i])
		case 'u':
			if r := hex4(src[i+1:]); r >= 0 {
				dst = appendRune(dst, r)
				i += 4
				continue
			}
			dst = append(dst, '\\', 'u')
		default:
			dst = append(dst, '\\', src[i])
		}
	}
	return dst
}

// appendRune appends a character of the basic plane in UTF-8; halves of pairs become what three bytes make of them,
// since nothing here looks at characters beyond.
func appendRune(dst []byte, r int) []byte {
	switch {
	case r < 0x80:
		return append(dst, byte(r))
	case r < 0x800:
		return append(dst, byte(0xc0|r>>6), byte(0x80|r&0x3f))
	}
	return append(dst, byte(0xe0|r>>12), byte(0x80|r>>6&0x3f), byte(0x80|r&0x3f))
}

// hasLong reports whether shorten may have something to do.
func hasLong(text []byte, how form) bool {
	if bytes.IndexByte(text, 0xc0) >= 0 || bytes.IndexByte(text, 0xc1) >= 0 || bytes.IndexByte(text, 0xe0) >= 0 ||
		bytes.IndexByte(text, 0xf0) >= 0 {
		return true
	}
	return how&wide != 0 && (bytes.IndexByte(text, 0xef) >= 0 || bytes.IndexByte(text, 0xe2) >= 0)
}

// shorten writes characters that are encoded in more bytes than they need in one byte, and with wide the full-width
// forms and the other slashes that some servers take for ASCII.
func shorten(dst, src []byte, how form) ([]byte, odd) {
	var strange odd
	for i := 0; i < len(src); {
		c, n := long(src[i:])
		if n == 0 && how&wide != 0 {
			c, n = widened(src[i:])
		}
		if n == 0 {
			dst = append(dst, src[i])
			i++
			continue
		}
		strange |= overlong
		dst = append(dst, c)
		i += n
	}
	return dst, strange
}

// long is the ASCII character that an overlong sequence stands for, and the sequence's length, or 0.
func long(b []byte) (byte, int) {
	more := func(i int) bool { return i < len(b) && b[i]&0xc0 == 0x80 }
	switch {
	case b[0]&0xfe == 0xc0 && more(1):
		return b[0]&1<<6 | b[1]&0x3f, 2
	case b[0] == 0xe0 && more(1) && b[1] < 0x82 && more(2):
		return b[1]&1<<6 | b[2]&0x3f, 3
	case b[0] == 0xf0 && more(1) && b[1] == 0x80 && more(2) && b[2] < 0x82 && more(3):
		return b[2]&1<<6 | b[3]&0x3f, 4
	}
	return 0, 0
}

// widened is the ASCII character that a full-width form, a one dot leader or another slash is taken for.
func widened(b []byte) (byte, int) {
	if len(b) < 3 || b[1]&0xc0 != 0x80 || b[2]&0xc0 != 0x80 {
		return 0, 0
	}
	switch r := int(b[0]&0x0f)<<12 | int(b[1]&0x3f)<<6 | int(b[2]&0x3f); {
	case b[0]&0xf0 != 0xe0:
		return 0, 0
	case r >= 0xff01 && r <= 0xff5e:
		return byte(r - 0xff01 + '!'), 3
	case r == 0x2024:
		return '.', 3
	case r == 0x2044 || r == 0x2215:
		return '/', 3
	case r == 0x2216:
		return '\\', 3
	}
	return 0, 0
}

// hex is the value of a hexadecimal digit, or -1.
func hex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// hex4 is the value of four hexadecimal digits, or -1.
func hex4(b []byte) int {
	if len(b) < 4 {
		return -1
	}
	v := 0
	for _, c := range b[:4] {
		h := hex(c)
		if h < 0 {
			return -1
		}
		v = v<<4 | h
	}
	return v
}
