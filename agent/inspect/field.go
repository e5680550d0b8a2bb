// SPDX-License-Identifier: Apache-2.0

package inspect

import "bytes"

// field is a header field that means something to framing or decoding.
type field uint8

const (
	fieldOther field = iota
	fieldHost
	fieldCookie
	fieldContentLength
	fieldContentType
	fieldContentEncoding
	fieldTransferEncoding
	fieldGRPCEncoding
	fieldUpgrade
	fieldWebSocketExtensions
)

// fieldOf recognises a field's name, in any case.
func fieldOf(name []byte) field {
	want, id := "", fieldOther
	switch len(name) {
	case 4:
		want, id = "host", fieldHost
	case 6:
		want, id = "cookie", fieldCookie
	case 7:
		want, id = "upgrade", fieldUpgrade
	case 10:
		want, id = "set-cookie", fieldCookie
		if len(name) > 0 && name[0] == ':' {
			want, id = ":authority", fieldHost
		}
	case 12:
		want, id = "content-type", fieldContentType
	case 13:
		want, id = "grpc-encoding", fieldGRPCEncoding
	case 14:
		want, id = "content-length", fieldContentLength
	case 16:
		want, id = "content-encoding", fieldContentEncoding
	case 17:
		want, id = "transfer-encoding", fieldTransferEncoding
	case 24:
		want, id = "sec-websocket-extensions", fieldWebSocketExtensions
	}
	if id != fieldOther && bytes.EqualFold(name, []byte(want)) {
		return id
	}
	return fieldOther
}

// header gives a header field to the sink, as far as the header is within its bound, and to the body.
func (m *message) header(b *body, id field, name, value []byte) {
	switch id {
	case fieldHost:
		m.setHost(value)
	case fieldContentType, fieldContentEncoding, fieldGRPCEncoding:
		b.header(id, value)
	}
	part := Header
	if id == fieldCookie {
		part = Cookie
	}
	m.value(part, name, value)
}

// url gives a request's target, and its parameters one by one.
func (m *message) url(target []byte) {
	m.value(URL, nil, target)
	path, query, ok := bytes.Cut(target, []byte("?"))
	m.segments(path)
	if !ok || len(query) == 0 {
		return
	}
	t := m.open(FormField, nil, modeBody)
	if t == nil {
		return
	}
	t.hide()
	if x := m.f.in.newForm(t); x != nil {
		t.inner = x
		x.write(query)
	}
	t.close(true)
}

// number reads a decimal or hexadecimal number; ok is false for what is none, or too large.
func number(b []byte, base int64) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 15 {
		return 0, false
	}
	for _, c := range b {
		k := byteClasses[c]
		if k&isHexDigit == 0 || k&isSpace != 0 {
			return 0, false
		}
		v := int64(unhex(c))
		if v >= base {
			return 0, false
		}
		n = n*base + v
	}
	return n, true
}

// segmentsDecoded is how many parts of a path are decoded.
const segmentsDecoded = 16

// segments gives what parts of a path are an encoding of, if that is text.
func (m *message) segments(path []byte) {
	for n := 0; len(path) >= base64Min && n < segmentsDecoded; {
		var segment []byte
		segment, path, _ = bytes.Cut(path, []byte("/"))
		if !hexadecimal(segment, true) && !base64Text(segment, true) {
			continue
		}
		n++
		if t := m.open(URL, nil, modeValue); t != nil {
			t.decide(segment, true)
			t.shown = false
			if t.inner != nil {
				t.inner.write(segment)
			}
			t.close(true)
		}
	}
}
