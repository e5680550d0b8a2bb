// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// jsonScanner finds the strings of a JSON text, tolerant of all that is not JSON, and gives those that are encoded, or
// all of them. It keeps a string's first bytes until it knows.
type jsonScanner struct {
	t     *text
	state jsonState
	// head is the first bytes of a string without its escapes, or once it is long and was not worth a text, its
	// last ones; n how many of them, long that there were more.
	head [sniffMax]byte
	n    int
	long bool
	// key is the string that stood before the last colon.
	key  [nameMax]byte
	keyN int
	out  *text
	// hex is the digits of a \u escape so far; high the first half of a pair.
	hex, high rune
	digits    int
	escaped   bool
	// dropped says that there was no memory for the string's text.
	dropped bool
}

type jsonState uint8

const (
	jsonOutside jsonState = iota
	jsonAfterString
	jsonString
	jsonEscape
	jsonUnicode
)

const jsonCost = int(unsafe.Sizeof(jsonScanner{}))

func (in *Inspector) newJSON(t *text) *jsonScanner {
	if !in.reserve(jsonCost, t.m.f) {
		t.m.opaque(ReasonMemory)
		return nil
	}
	x := in.freeJSON.get()
	*x = jsonScanner{t: t}
	return x
}

// write implements consumer.
func (x *jsonScanner) write(p []byte) {
	for len(p) > 0 {
		switch x.state {
		case jsonOutside, jsonAfterString:
			p = x.outside(p)
		case jsonString:
			p = x.plain(p)
		case jsonEscape:
			x.escape(p[0])
			p = p[1:]
		case jsonUnicode:
			x.unicode(p[0])
			p = p[1:]
		}
	}
}

// outside looks for the next string, and for the colon that makes the last one a key.
func (x *jsonScanner) outside(p []byte) []byte {
	for x.state == jsonAfterString && len(p) > 0 {
		switch p[0] {
		case ' ', '\t', '\r', '\n':
			p = p[1:]
		case ':':
			x.keyN = copy(x.key[:], x.head[:x.n])
			x.state = jsonOutside
		default:
			x.state = jsonOutside
		}
	}
	i := bytes.IndexByte(p, '"')
	if i < 0 {
		return nil
	}
	x.state, x.n, x.long, x.escaped, x.dropped, x.high = jsonString, 0, false, false, false, 0
	return p[i+1:]
}

// plain takes the bytes of a string up to its end or an escape.
func (x *jsonScanner) plain(p []byte) []byte {
	run := p
	if i := bytes.IndexByte(run, '"'); i >= 0 {
		run = run[:i]
	}
	if i := bytes.IndexByte(run, '\\'); i >= 0 {
		run = run[:i]
	}
	if len(run) > 0 {
		x.flushHigh()
		x.add(run)
	}
	p = p[len(run):]
	if len(p) == 0 {
		return nil
	}
	if p[0] == '\\' {
		x.state = jsonEscape
	} else {
		x.endString(true)
	}
	return p[1:]
}

// add takes bytes of a string, without escapes.
func (x *jsonScanner) add(p []byte) {
	if x.out != nil {
		x.out.write(p)
		return
	}
	if x.dropped {
		return
	}
	if !x.long {
		k := copy(x.head[x.n:], p)
		x.n += k
		p = p[k:]
		if len(p) == 0 {
			return
		}
		x.long = true
		if x.worth(false) {
			x.begin()
			x.add(p)
			return
		}
	}
	if x.escaped {
		// What was before is in the raw text; the last of it comes along, for what stands across.
		x.begin()
		x.add(p)
		return
	}
	if len(p) >= sniffMax {
		copy(x.head[:], p[len(p)-sniffMax:])
	} else {
		copy(x.head[:], x.head[len(p):])
		copy(x.head[sniffMax-len(p):], p)
	}
}

// worth says whether the string that began with head is to be a text.
func (x *jsonScanner) worth(final bool) bool {
	return x.escaped || x.t.m.f.in.cfg.Values ||
		sniffValue(x.head[:x.n], final, modeValue).kind != isText
}

// begin opens a text for the string.
func (x *jsonScanner) begin() {
	if x.out = x.t.under(modeValue); x.out == nil {
		x.dropped = true
		return
	}
	x.out.ctx.Part = JSONString
	x.out.tentative = false
	x.out.rename(x.key[:x.keyN])
	if x.escaped {
		if x.out.depth >= x.t.m.f.in.cfg.Depth {
			x.t.m.opaque(ReasonDepth)
			x.t.m.f.in.stats.Depths++
		}
		x.out.layer(LayerJSON)
	}
	x.out.shown = x.escaped && x.out.depth <= x.t.m.f.in.cfg.Depth || x.t.m.f.in.cfg.Values
	x.out.write(x.head[:x.n])
}

func (x *jsonScanner) endString(whole bool) {
	x.flushHigh()
	if x.out == nil && !x.long && x.n > 0 && x.worth(true) {
		x.begin()
	}
	if x.out != nil {
		x.out.close(whole)
		x.out = nil
	}
	x.state = jsonAfterString
}

// escape takes the byte after a backslash (RFC 8259, 7).
func (x *jsonScanner) escape(c byte) {
	x.state = jsonString
	switch c {
	case 'u':
		x.state, x.hex, x.digits = jsonUnicode, 0, 0
		return
	case 'n':
		c = '\n'
	case 't':
		c = '\t'
	case 'r':
		c = '\r'
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	}
	x.flushHigh()
	x.one(c)
}

// unicode takes a digit of a \u escape.
func (x *jsonScanner) unicode(c byte) {
	if byteClasses[c]&isHexDigit == 0 || c == '\r' || c == '\n' {
		x.state = jsonString
		x.flushHigh()
		if c == '"' {
			x.endString(true)
		} else if c == '\\' {
			x.state = jsonEscape
		} else {
			x.one(c)
		}
		return
	}
	x.hex = x.hex<<4 | rune(unhex(c))
	if x.digits++; x.digits < 4 {
		return
	}
	x.state = jsonString
	r := x.hex
	if x.high != 0 {
		pair := utf16.DecodeRune(x.high, r)
		if x.high = 0; pair != utf8.RuneError {
			r = pair
		} else {
			x.rune(utf8.RuneError)
		}
	}
	if r >= 0xd800 && r < 0xdc00 {
		x.high = r
		return
	}
	x.rune(r)
}

// flushHigh gives the first half of a pair that has no second.
func (x *jsonScanner) flushHigh() {
	if x.high != 0 {
		x.high = 0
		x.rune(utf8.RuneError)
	}
}

func (x *jsonScanner) one(c byte) {
	b := [1]byte{c}
	x.escaped = true
	x.add(b[:])
}

func (x *jsonScanner) rune(r rune) {
	var b [utf8.UTFMax]byte
	x.escaped = true
	x.add(b[:utf8.EncodeRune(b[:], r)])
}

// close implements consumer.
func (x *jsonScanner) close(whole bool) {
	if x.state >= jsonString {
		x.endString(whole)
	}
	in := x.t.m.f.in
	x.t = nil
	in.release(jsonCost)
	in.freeJSON.put(x)
}
