// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"encoding/binary"
	"unsafe"
)

// postgres reads the frontend/backend protocol of PostgreSQL, version 3: queries, bound parameters, rows, copied data.
type postgres struct {
	f    *flow
	half [2]postgresHalf
	// asked says that the client asked for TLS or encryption, which one byte answers.
	asked bool
}

type postgresHalf struct {
	// started says that the message without a type, which opens a session, is over.
	started bool
	// in says that a message is being read, of which left bytes are to come.
	in   bool
	kind byte
	left int64
	step postgresStep
	// count is how many fields are to come, number the one at hand; value is what is left of it, -1 before its length.
	count, number int
	value         int64
	m             *message
	out           consumer
}

type postgresStep uint8

const (
	pgSkip postgresStep = iota
	pgPortal
	pgStatement
	pgName
	pgText
	pgFormats
	pgCount
	pgValues
	pgCopy
)

const (
	postgresCost = int(unsafe.Sizeof(postgres{}))
	pgSizeMax    = 1 << 30
)

func newPostgres(f *flow) parser {
	if !f.in.reserve(postgresCost, f) {
		return f.refused()
	}
	return &postgres{f: f}
}

// feed implements parser.
func (p *postgres) feed(d Dir, data []byte) int {
	h := &p.half[d]
	if h.in {
		n := p.content(d, data[:min(int64(len(data)), h.left)])
		if h.left -= int64(n); h.left == 0 {
			p.messageEnd(d)
		}
		return n
	}
	if d != p.f.client() && p.asked {
		return p.answer(data[0])
	}
	if d == p.f.client() && !h.started && data[0] == 0 {
		return p.start(data)
	}
	if len(data) < 5 {
		return 0
	}
	size := int64(binary.BigEndian.Uint32(data[1:]))
	if size < 4 || size > pgSizeMax {
		p.f.in.stats.Malformed++
		p.f.lose(d, ReasonEncrypted)
		return len(data)
	}
	h.started, h.in, h.kind, h.left = true, true, data[0], size-4
	p.begin(d)
	if h.left == 0 {
		p.messageEnd(d)
	}
	return 5
}

// start takes a message that opens a session: a length, a version, and what it asks for.
func (p *postgres) start(data []byte) int {
	if len(data) < 8 {
		return 0
	}
	h := &p.half[p.f.client()]
	size, code := int64(binary.BigEndian.Uint32(data)), binary.BigEndian.Uint32(data[4:])
	if size < 8 {
		p.f.in.stats.Malformed++
		size = 8
	}
	if p.asked = code == 1234<<16|5679 || code == 1234<<16|5680; !p.asked {
		h.started = true
	}
	h.step, h.kind, h.left, h.in = pgSkip, 0, size-8, size > 8
	return 8
}

// answer takes the byte that answers a request for TLS.
func (p *postgres) answer(c byte) int {
	p.asked = false
	if c == 'S' || c == 'G' {
		f := p.f
		p.close()
		f.app, f.parser = Unknown, nil
		f.in.again(f, f.client())
	}
	return 1
}

// overflow implements parser: nothing that is waited for is as long as a buffer.
func (p *postgres) overflow(_ Dir, data []byte) int { return len(data) }

// begin looks at the type of a message.
func (p *postgres) begin(d Dir) {
	h := &p.half[d]
	h.step, h.count, h.number, h.value = pgSkip, 0, 0, -1
	if d == p.f.client() {
		switch h.kind {
		case 'Q':
			h.step = pgText
		case 'P':
			h.step = pgName
		case 'B':
			h.step = pgPortal
		case 'd':
			h.step = pgCopy
		}
	} else {
		switch h.kind {
		case 'D':
			h.step = pgCount
		case 'd':
			h.step = pgCopy
		}
	}
	if h.step != pgSkip && h.m == nil {
		h.m = p.f.begin(d, Postgres)
	}
	if h.step != pgCopy && h.out != nil {
		p.endValue(d, true)
	}
}

// content takes bytes of a message and returns how many it has dealt with.
func (p *postgres) content(d Dir, b []byte) int {
	h := &p.half[d]
	if h.m == nil {
		return len(b)
	}
	switch h.step {
	case pgPortal, pgStatement, pgName:
		i := bytes.IndexByte(b, 0)
		if i < 0 {
			return len(b)
		}
		h.step = h.step.after()
		return i + 1
	case pgText:
		i := bytes.IndexByte(b, 0)
		if i < 0 {
			p.bytes(d, Query, b)
			return len(b)
		}
		p.bytes(d, Query, b[:i])
		p.endValue(d, true)
		h.step = pgSkip
		return i + 1
	case pgCopy:
		p.bytes(d, p.part(d, Body), b)
		return len(b)
	case pgFormats, pgCount:
		return p.counts(h, b)
	case pgValues:
		return p.values(d, b)
	}
	return len(b)
}

// after is what follows a name.
func (s postgresStep) after() postgresStep {
	switch s {
	case pgPortal:
		return pgStatement
	case pgStatement:
		return pgFormats
	}
	return pgText
}

// counts takes the number of a message's formats, which are skipped as one value, or of its values.
func (p *postgres) counts(h *postgresHalf, b []byte) int {
	if h.step == pgFormats && h.value > 0 {
		n := min(h.value, int64(len(b)))
		if h.value -= n; h.value == 0 {
			h.step, h.value = pgCount, -1
		}
		return int(n)
	}
	if len(b) < 2 {
		return p.short(h, b)
	}
	n := int(binary.BigEndian.Uint16(b))
	switch {
	case h.step == pgCount:
		h.step, h.count, h.value = pgValues, n, -1
	case n == 0:
		h.step = pgCount
	default:
		h.value = 2 * int64(n)
	}
	return 2
}

// short waits for more of a field, unless the message ends before.
func (p *postgres) short(h *postgresHalf, b []byte) int {
	if h.left > int64(len(b)) {
		return 0
	}
	p.f.in.stats.Malformed++
	return len(b)
}

// values takes bytes of parameters or columns: each a length, -1 for null, and that many bytes.
func (p *postgres) values(d Dir, b []byte) int {
	h := &p.half[d]
	if h.number >= h.count {
		return len(b)
	}
	if h.value < 0 {
		if len(b) < 4 {
			return p.short(h, b)
		}
		h.value = int64(int32(binary.BigEndian.Uint32(b)))
		if h.value <= 0 {
			h.value = -1
			h.number++
		}
		return 4
	}
	n := int(min(h.value, int64(len(b))))
	p.bytes(d, p.part(d, Parameter), b[:n])
	if h.value -= int64(n); h.value == 0 {
		p.endValue(d, true)
		h.value = -1
		h.number++
	}
	return n
}

// part is what a value is: the client's, or a row's.
func (p *postgres) part(d Dir, client Part) Part {
	if d == p.f.client() {
		return client
	}
	return Row
}

// bytes takes bytes of a text.
func (p *postgres) bytes(d Dir, part Part, b []byte) {
	h := &p.half[d]
	if len(b) == 0 || h.m == nil {
		return
	}
	if h.out == nil {
		t := h.m.open(part, nil, modeBody)
		if t == nil {
			return
		}
		h.out = t
	}
	if b = h.m.take(b); len(b) > 0 {
		h.out.write(b)
	}
}

func (p *postgres) endValue(d Dir, whole bool) {
	if h := &p.half[d]; h.out != nil {
		h.out.close(whole)
		h.out = nil
	}
}

// messageEnd closes a query; rows and copied data go on until what ends them.
func (p *postgres) messageEnd(d Dir) {
	h := &p.half[d]
	h.in = false
	if h.kind == 'd' || h.kind == 'D' && d != p.f.client() {
		if h.kind == 'D' {
			p.endValue(d, true)
		}
		return
	}
	p.end(d, true)
}

func (p *postgres) end(d Dir, whole bool) {
	h := &p.half[d]
	p.endValue(d, whole)
	if h.m != nil {
		h.m.end()
		h.m = nil
	}
}

// gap implements parser: within a message the rest of it is skipped, else the framing is lost.
func (p *postgres) gap(d Dir, waiting []byte, n int) {
	h := &p.half[d]
	lost := int64(len(waiting) + max(n, 0))
	p.f.in.stats.Resynced++
	p.end(d, false)
	if h.in && n >= 0 && lost <= h.left {
		h.step = pgSkip
		if h.left -= lost; h.left == 0 {
			p.messageEnd(d)
		}
		return
	}
	f := p.f
	p.close()
	f.app, f.parser = Unknown, newPlain(f)
}

// close implements parser.
func (p *postgres) close() {
	p.end(Out, false)
	p.end(In, false)
	p.f.in.release(postgresCost)
}
