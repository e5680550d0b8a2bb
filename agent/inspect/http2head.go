// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"unsafe"

	"golang.org/x/net/http2/hpack"
)

// bytesOf views a string that stays as it is while the bytes are read.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// openBlock begins a header block.
func (p *http2) openBlock(d Dir, stream uint32, end, push bool) {
	h := &p.half[d]
	if h.open {
		p.f.in.stats.Malformed++
		p.closeBlock(d)
	}
	h.open, h.block, h.end, h.push, h.cut, h.size, h.raw = true, stream, end, push, false, 0, 0
}

// fragment takes bytes of a header block. Decoding goes on past the bound, since the table must be followed, but without
// keeping what comes of it.
func (p *http2) fragment(d Dir, b []byte) {
	h, in := &p.half[d], p.f.in
	h.raw += len(b)
	if !h.open || h.broken || h.cut {
		in.stats.HeaderBytesCut += uint64(len(b))
	}
	if !h.open || h.broken {
		return
	}
	// Each byte may be a field, and its share of a string that is kept until it is whole.
	most := min(2*h.raw, 4*in.cfg.HeaderBytes) + 2*min(h.raw, http2Fields)*http2FieldCost
	if more := most - h.charge; more > 0 {
		if !in.reserve(more, p.f) {
			p.broken(d)
			return
		}
		h.charge += more
	}
	if _, err := h.dec.Write(b); err != nil {
		p.broken(d)
	}
}

// broken gives up the header compression of a direction.
func (p *http2) broken(d Dir) {
	h := &p.half[d]
	h.broken = true
	p.f.in.stats.HeaderTables++
	var c Context
	p.f.context(&c, d)
	p.f.opaque(&c, ReasonHeaders)
}

// field takes a decoded field.
func (p *http2) field(h *http2Half, hf hpack.HeaderField) {
	h.size += len(hf.Name) + len(hf.Value) + http2StringOverhead
	if h.size > p.f.in.cfg.HeaderBytes || len(h.fields) >= http2Fields {
		p.f.in.stats.HeaderBytesCut += uint64(len(hf.Name) + len(hf.Value) + http2StringOverhead)
		h.cut = true
		h.dec.SetEmitEnabled(false)
		return
	}
	h.fields = append(h.fields, hf)
}

// closeBlock gives a header block to its message.
func (p *http2) closeBlock(d Dir) {
	h := &p.half[d]
	if !h.open {
		return
	}
	h.open = false
	if !h.broken && h.dec.Close() != nil {
		p.broken(d)
	}
	if s := p.stream(h.block); s != nil && !h.push {
		p.headers(d, s, h.fields)
	}
	if s := p.streams[h.block]; s != nil && s.m[d] != nil && h.cut {
		s.m[d].opaque(ReasonHeaders)
	}
	if h.dec.SetEmitEnabled(true); cap(h.fields) > http2FieldsKept {
		h.fields = nil
	}
	clear(h.fields)
	h.fields = h.fields[:0]
	if h.end {
		p.streamEnd(d, h.block, true)
	}
}

// headers opens a message with its header fields, or gives its trailers.
func (p *http2) headers(d Dir, s *http2Stream, fields []hpack.HeaderField) {
	if s.done[d] {
		return
	}
	m := s.m[d]
	if m != nil && m.ctx.Status/100 == 1 {
		// The header before was interim.
		s.body[d].close(true)
		m.end()
		m = nil
	}
	if m != nil {
		p.fields(m, &s.body[d], fields)
		return
	}
	if m = p.f.newMessage(d, HTTP2); m == nil {
		s.done[d] = true
		return
	}
	s.m[d] = m
	b := &s.body[d]
	b.reset(m)
	var target string
	if d != p.f.client() && s.m[1-d] != nil {
		m.requestOf(s.m[1-d])
	}
	for _, hf := range fields {
		switch hf.Name {
		case ":method":
			m.setMethod(bytesOf(hf.Value))
		case ":path":
			target = hf.Value
			m.setPath(bytesOf(target))
		case ":authority", "host":
			m.setHost(bytesOf(hf.Value))
		case ":status":
			n, _ := number(bytesOf(hf.Value), 10)
			m.ctx.Status = int(n)
		case "content-type":
			if b.header(fieldContentType, bytesOf(hf.Value)); b.hint.kind == hintGRPC {
				m.ctx.Protocol = GRPC
			}
		}
	}
	m.start()
	if target != "" {
		m.url(bytesOf(target))
	}
	p.fields(m, b, fields)
}

// fields gives the fields that are no pseudo-header.
func (p *http2) fields(m *message, b *body, fields []hpack.HeaderField) {
	for _, hf := range fields {
		if hf.Name != "" && hf.Name[0] == ':' {
			continue
		}
		name := bytesOf(hf.Name)
		id := fieldOf(name)
		if id == fieldHost {
			id = fieldOther
		}
		m.header(b, id, name, bytesOf(hf.Value))
	}
}
