// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/net/http2/hpack"
)

// http2 reads HTTP/2 (RFC 9113) of both directions, and gRPC within it.
type http2 struct {
	f       *flow
	half    [2]http2Half
	streams map[uint32]*http2Stream
	// oldest and newest are the ends of the list of streams, which is in the order in which they began.
	oldest, newest *http2Stream
}

// http2Half is one direction.
type http2Half struct {
	// preface is how many bytes of the client's preface are to come.
	preface int
	frame   frame
	dec     *hpack.Decoder
	// fields is the header block being read, of the stream block; size is its bytes decoded, raw as they came,
	// charge what the largest block so far is charged for, since the decoder keeps its buffer; table what the dynamic
	// table is charged for.
	fields    []hpack.HeaderField
	block     uint32
	open, end bool
	push      bool
	// cut says that not all of the block is kept.
	cut           bool
	size, raw     int
	charge, table int
	// broken says that header compression could not be followed.
	broken bool
}

// frame is the frame being read; left bytes of it are to come, the last pad of them padding.
type frame struct {
	in     bool
	kind   byte
	flags  byte
	stream uint32
	left   int
	pad    int
	// begun says that what stands before the content was read.
	begun bool
}

// http2Stream is a request and its response.
type http2Stream struct {
	id         uint32
	prev, next *http2Stream
	m          [2]*message
	body       [2]body
	done       [2]bool
}

// Frames and their flags (RFC 9113, 6).
const (
	frameData         = 0
	frameHeaders      = 1
	frameReset        = 3
	frameSettings     = 4
	framePush         = 5
	frameContinuation = 9

	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20

	frameHeadSize       = 9
	settingTableSize    = 1
	http2Streams        = 128
	http2Fields         = 512
	http2TableMax       = 64 << 10
	http2Table          = 4 << 10
	http2Cost           = int(unsafe.Sizeof(http2{})) + 2*int(unsafe.Sizeof(hpack.Decoder{})) + 2*http2Table
	http2StreamCost     = int(unsafe.Sizeof(http2Stream{})) + int(unsafe.Sizeof(grpcFrames{})) + 64
	http2FieldCost      = int(unsafe.Sizeof(hpack.HeaderField{}))
	http2FieldsKept     = 64
	http2StringOverhead = 32
)

func newHTTP2(f *flow, preface bool) parser {
	if !f.in.reserve(http2Cost, f) {
		return f.refused()
	}
	p := &http2{f: f, streams: make(map[uint32]*http2Stream)}
	for d := range p.half {
		h := &p.half[d]
		h.table = http2Table
		h.dec = hpack.NewDecoder(http2Table, func(hf hpack.HeaderField) { p.field(h, hf) })
		h.dec.SetMaxStringLength(f.in.cfg.HeaderBytes)
	}
	if preface {
		p.half[f.client()].preface = len(http2Preface)
	}
	return p
}

// upgraded makes a request of HTTP/1 the first stream (RFC 7540, 3.2).
func (p *http2) upgraded(request *message) {
	s := p.stream(1)
	if s == nil {
		request.release()
		return
	}
	d := p.f.client()
	s.m[d], s.done[d] = request, true
}

// feed implements parser.
func (p *http2) feed(d Dir, data []byte) int {
	h := &p.half[d]
	switch {
	case h.preface > 0:
		n := min(h.preface, len(data))
		h.preface -= n
		return n
	case !h.frame.in:
		if len(data) < frameHeadSize {
			return 0
		}
		h.frame = frame{
			in: true, kind: data[3], flags: data[4], stream: binary.BigEndian.Uint32(data[5:]) & 0x7fffffff,
			left: int(data[0])<<16 | int(data[1])<<8 | int(data[2]),
		}
		if h.frame.left == 0 {
			p.frameEnd(d)
		}
		return frameHeadSize
	}
	n := p.content(d, data[:min(len(data), h.frame.left)])
	if h.frame.left -= n; h.frame.left == 0 {
		p.frameEnd(d)
	}
	return n
}

// overflow implements parser: nothing that is waited for is as long as a buffer.
func (p *http2) overflow(_ Dir, data []byte) int { return len(data) }

// content takes bytes of a frame.
func (p *http2) content(d Dir, data []byte) int {
	h := &p.half[d]
	fr := &h.frame
	if !fr.begun {
		n, ok := p.begin(d, data)
		if !ok || n > 0 {
			return n
		}
	}
	if fr.left <= fr.pad {
		return len(data)
	}
	content := data[:min(len(data), fr.left-fr.pad)]
	switch fr.kind {
	case frameData:
		p.data(d, content)
	case frameHeaders, frameContinuation, framePush:
		p.fragment(d, content)
	case frameSettings:
		if len(content) < 6 {
			if fr.left < 6 {
				return len(data)
			}
			return 0
		}
		p.setting(d, content[:6])
		return 6
	}
	return len(content)
}

// begin reads what stands before a frame's content: the length of padding, a priority, a promised stream. ok is false
// when more bytes are needed.
func (p *http2) begin(d Dir, data []byte) (n int, ok bool) {
	h := &p.half[d]
	fr := &h.frame
	padded := (fr.kind == frameData || fr.kind == frameHeaders || fr.kind == framePush) && fr.flags&flagPadded != 0
	if padded {
		n++
	}
	at := n
	switch {
	case fr.kind == frameHeaders && fr.flags&flagPriority != 0:
		n += 5
	case fr.kind == framePush:
		n += 4
	}
	short := n > fr.left
	if n = min(n, fr.left); len(data) < n {
		return 0, false
	}
	if short {
		p.f.in.stats.Malformed++
	}
	fr.begun = true
	if n > 0 && padded {
		fr.pad = min(int(data[0]), fr.left-n)
	}
	switch fr.kind {
	case frameHeaders:
		p.openBlock(d, fr.stream, fr.flags&flagEndStream != 0, false)
	case framePush:
		if n >= at+4 {
			p.openBlock(d, binary.BigEndian.Uint32(data[at:])&0x7fffffff, false, true)
		}
	}
	return n, true
}

// frameEnd does what a whole frame asks for.
func (p *http2) frameEnd(d Dir) {
	h := &p.half[d]
	fr := h.frame
	h.frame = frame{}
	switch fr.kind {
	case frameData:
		if fr.flags&flagEndStream != 0 {
			p.streamEnd(d, fr.stream, true)
		}
	case frameHeaders, frameContinuation, framePush:
		if !fr.begun && fr.kind == frameHeaders {
			p.openBlock(d, fr.stream, fr.flags&flagEndStream != 0, false)
		}
		if fr.flags&flagEndHeaders != 0 {
			p.closeBlock(d)
		}
	case frameReset:
		p.streamEnd(Out, fr.stream, false)
		p.streamEnd(In, fr.stream, false)
		p.forget(fr.stream)
	}
}

// setting takes a parameter: how large a table the other side may use.
func (p *http2) setting(d Dir, b []byte) {
	if p.half[d].frame.flags&flagAck != 0 || binary.BigEndian.Uint16(b) != settingTableSize {
		return
	}
	o := &p.half[1-d]
	size := int(min(binary.BigEndian.Uint32(b[2:]), http2TableMax))
	if size > o.table {
		if !p.f.in.reserve(size-o.table, p.f) {
			return
		}
		o.table = size
	}
	o.dec.SetAllowedMaxDynamicTableSize(uint32(size))
}

// data takes bytes of a stream's body.
func (p *http2) data(d Dir, b []byte) {
	id := p.half[d].frame.stream
	s := p.stream(id)
	if s == nil || s.done[d] {
		p.f.in.stats.SkippedBytes += uint64(len(b))
		return
	}
	if s.m[d] == nil {
		// The header was not understood or not seen.
		if s.m[d] = p.f.begin(d, HTTP2); s.m[d] == nil {
			s.done[d] = true
			return
		}
		s.body[d].reset(s.m[d])
	}
	s.body[d].write(b)
}

// stream is the stream of a number, made if need be; nil when there is no memory for it. Beyond the bound the oldest
// stream makes room.
func (p *http2) stream(id uint32) *http2Stream {
	if s := p.streams[id]; s != nil {
		return s
	}
	if len(p.streams) >= http2Streams {
		p.f.in.stats.Streams++
		p.forget(p.oldest.id)
	}
	if !p.f.in.reserve(http2StreamCost, p.f) {
		p.f.in.stats.Refused++
		return nil
	}
	s := &http2Stream{id: id, prev: p.newest}
	if p.newest != nil {
		p.newest.next = s
	} else {
		p.oldest = s
	}
	p.newest, p.streams[id] = s, s
	return s
}

// streamEnd closes the message of one direction.
func (p *http2) streamEnd(d Dir, id uint32, whole bool) {
	s := p.streams[id]
	if s == nil || s.done[d] {
		return
	}
	s.done[d] = true
	if s.m[d] != nil {
		s.body[d].close(whole)
		s.m[d].stop()
	}
	if s.done[1-d] {
		p.forget(id)
	}
}

// forget closes a stream and gives back what it has.
func (p *http2) forget(id uint32) {
	s := p.streams[id]
	if s == nil {
		return
	}
	delete(p.streams, id)
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		p.oldest = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		p.newest = s.prev
	}
	for d, m := range s.m {
		if m != nil {
			s.body[d].close(false)
			m.end()
		}
	}
	p.f.in.release(http2StreamCost)
}

// gap implements parser: a body goes on without the missing bytes, all else loses the framing, and then the rest is
// given as it stands.
func (p *http2) gap(d Dir, waiting []byte, n int) {
	h := &p.half[d]
	fr := &h.frame
	if fr.in && fr.begun && fr.kind == frameData && len(waiting) == 0 && n >= 0 && n <= fr.left-fr.pad {
		if s := p.streams[fr.stream]; s != nil {
			s.body[d].gap()
		}
		if fr.left -= n; fr.left == 0 {
			p.frameEnd(d)
		}
		return
	}
	f := p.f
	f.in.stats.Resynced++
	f.in.stats.HeaderTables++
	var c Context
	f.context(&c, d)
	f.opaque(&c, ReasonHeaders)
	p.close()
	f.app, f.parser = Unknown, newPlain(f)
}

// close implements parser.
func (p *http2) close() {
	for id := range p.streams {
		p.forget(id)
	}
	for d := range p.half {
		h := &p.half[d]
		if h.open && h.cut {
			var c Context
			p.f.context(&c, Dir(d))
			p.f.opaque(&c, ReasonHeaders)
		}
		p.f.in.release(h.charge + h.table - http2Table)
		h.charge, h.table = 0, http2Table
	}
	p.f.in.release(http2Cost)
}
