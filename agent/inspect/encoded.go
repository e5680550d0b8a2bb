// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"encoding/base64"
	"unsafe"
)

// encodedScanner decodes base64, hexadecimal, URL encoding or quoted-printable into a text below the one that
// it reads.
type encodedScanner struct {
	in    *Inspector
	m     *message
	layer Layer
	// skip is how many bytes come before what is encoded.
	skip int
	out  consumer
	// buf holds what is too short to be decoded yet; done says that the encoding ended.
	buf  [260]byte
	n    int
	done bool
	// to is what was decoded last.
	to [256]byte
	// plus makes '+' a space, as in forms.
	plus bool
}

const encodedCost = int(unsafe.Sizeof(encodedScanner{}))

// newEncoded makes a decoder of a text, or nil when there is no memory for it. Tentative ones are not shown unless they
// come out as text.
func (in *Inspector) newEncoded(t *text, l Layer, skip int, tentative bool) *encodedScanner {
	md := modeBody
	if l == LayerURL {
		md, tentative = modeValue, false
	}
	child := t.decoded(l, md, tentative)
	if child == nil {
		return nil
	}
	child.hint = t.hint
	if child.hint.kind == hintMultipart || child.hint.kind == hintForm {
		child.hint = hint{}
	}
	if x := in.newDecoding(t.m, l, child); x != nil {
		x.skip = skip
		return x
	}
	child.abandon()
	return nil
}

// newDecoding makes a decoder in front of a consumer, or nil when there is no memory for it.
func (in *Inspector) newDecoding(m *message, l Layer, out consumer) *encodedScanner {
	if !in.reserve(encodedCost, m.f) {
		m.opaque(ReasonMemory)
		return nil
	}
	x := in.freeEncoded.get()
	x.in, x.m, x.layer, x.skip, x.out, x.n, x.done, x.plus = in, m, l, 0, out, 0, false, false
	return x
}

// write implements consumer.
func (x *encodedScanner) write(p []byte) {
	if x.skip > 0 {
		k := min(x.skip, len(p))
		x.skip -= k
		p = p[k:]
	}
	if x.done || len(p) == 0 {
		return
	}
	switch x.layer {
	case LayerURL, LayerQuotedPrintable:
		x.escapes(p)
	default:
		x.digits(p)
	}
}

// digits collects digits of an alphabet until there are enough for a few groups.
func (x *encodedScanner) digits(p []byte) {
	for _, c := range p {
		switch {
		case c == '\r' || c == '\n':
			continue
		case c == '-':
			c = '+'
		case c == '_':
			c = '/'
		}
		if !x.digit(c) {
			x.flush(true)
			x.done = true
			return
		}
		x.buf[x.n] = c
		if x.n++; x.n == 256 {
			x.flush(false)
		}
	}
}

func (x *encodedScanner) digit(c byte) bool {
	if x.layer == LayerHex {
		return byteClasses[c]&isHexDigit != 0
	}
	return byteClasses[c]&isBase64Std != 0
}

// flush decodes whole groups of digits, with last also the rest.
func (x *encodedScanner) flush(last bool) {
	to := x.to[:]
	group := 4
	if x.layer == LayerHex {
		group = 2
	}
	n := x.n
	if !last || x.layer == LayerHex {
		n -= n % group
	}
	if x.layer == LayerBase64 && n%4 == 1 {
		n--
	}
	k := 0
	if x.layer == LayerHex {
		for ; k < n/2; k++ {
			to[k] = unhex(x.buf[2*k])<<4 | unhex(x.buf[2*k+1])
		}
	} else {
		k, _ = base64.RawStdEncoding.Decode(to, x.buf[:n])
	}
	x.n = copy(x.buf[:], x.buf[n:x.n])
	if k > 0 {
		x.out.write(to[:k])
	}
}

// unhex is the value of a hexadecimal digit.
func unhex(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	}
	return c - '0'
}

// escapes undoes %XX, or =XX and the soft line ends of quoted-printable (RFC 2045, 6.7). An escape that is none stands
// for itself.
func (x *encodedScanner) escapes(p []byte) {
	mark := byte('%')
	if x.layer == LayerQuotedPrintable {
		mark = '='
	}
	to := x.to[:]
	n := 0
	for _, c := range p {
		if n+4 > len(to) {
			x.out.write(to[:n])
			n = 0
		}
		switch {
		case x.n > 0:
			n += x.escape(to[n:], mark, c)
		case c == mark:
			x.buf[0], x.n = c, 1
		case c == '+' && x.plus:
			to[n] = ' '
			n++
		default:
			to[n] = c
			n++
		}
	}
	if n > 0 {
		x.out.write(to[:n])
	}
}

// escape takes a byte after the mark and returns how many bytes came of it.
func (x *encodedScanner) escape(to []byte, mark, c byte) int {
	if mark == '=' && (c == '\n' || c == '\r' && x.n == 1) {
		if c == '\n' {
			x.n = 0
		} else {
			x.buf[1], x.n = c, 2
		}
		return 0
	}
	if byteClasses[c]&isHexDigit != 0 && c != '\r' && c != '\n' && (x.n == 1 || x.buf[1] != '\r') {
		if x.n == 1 {
			x.buf[1], x.n = c, 2
			return 0
		}
		to[0] = unhex(x.buf[1])<<4 | unhex(c)
		x.n = 0
		return 1
	}
	n := copy(to, x.buf[:x.n])
	if x.n = 0; c == mark {
		x.buf[0], x.n = c, 1
		return n
	}
	if c == '+' && x.plus {
		c = ' '
	}
	to[n] = c
	return n + 1
}

// close implements consumer.
func (x *encodedScanner) close(whole bool) {
	if x.n > 0 {
		if x.layer == LayerURL || x.layer == LayerQuotedPrintable {
			x.out.write(x.buf[:x.n])
		} else if !x.done {
			x.flush(true)
		}
	}
	x.out.close(whole)
	in := x.in
	x.in, x.m, x.out = nil, nil, nil
	in.release(encodedCost)
	in.freeEncoded.put(x)
}
