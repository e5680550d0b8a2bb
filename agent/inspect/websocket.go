// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"encoding/binary"
	"unsafe"
)

// websocket reads frames of WebSocket (RFC 6455), with permessage-deflate (RFC 7692).
type websocket struct {
	f *flow
	// request is what the connection was asked for with.
	request *message
	deflate bool
	half    [2]websocketHalf
}

type websocketHalf struct {
	// in says that a frame's content is being read: left bytes, masked with key from at on.
	in, final, control, masked bool
	left                       uint64
	key                        [4]byte
	at                         int
	// m is the message at hand, of one or more frames; out its text.
	m          *message
	out        consumer
	compressed bool
	// inflate decompresses all messages of a direction, since its window goes on; through is where what it gives goes.
	inflate *inflater
	through relay
}

// relay hands on to what changes from message to message.
type relay struct{ to consumer }

func (r *relay) write(p []byte) {
	if r.to != nil {
		r.to.write(p)
	}
}
func (r *relay) close(bool) {}

const (
	websocketCost = int(unsafe.Sizeof(websocket{}))
	// controlMax is the longest content of a control frame (RFC 6455, 5.5).
	controlMax = 125
)

func newWebSocket(f *flow, request *message, deflate bool) parser {
	if !f.in.reserve(websocketCost, f) {
		if request != nil {
			request.release()
		}
		return f.refused()
	}
	return &websocket{f: f, request: request, deflate: deflate}
}

// feed implements parser.
func (p *websocket) feed(d Dir, data []byte) int {
	h := &p.half[d]
	if !h.in {
		return p.head(d, data)
	}
	if h.control && h.left <= controlMax && uint64(len(data)) < h.left {
		return 0
	}
	n := int(min(h.left, uint64(len(data))))
	p.content(d, data[:n])
	if h.left -= uint64(n); h.left == 0 {
		p.frameEnd(d)
	}
	return n
}

// head reads the head of a frame (RFC 6455, 5.2).
func (p *websocket) head(d Dir, data []byte) int {
	h := &p.half[d]
	if len(data) < 2 {
		return 0
	}
	n, size := 2, uint64(data[1]&0x7f)
	switch size {
	case 126:
		n = 4
	case 127:
		n = 10
	}
	masked := data[1]&0x80 != 0
	if masked {
		n += 4
	}
	if len(data) < n {
		return 0
	}
	switch size {
	case 126:
		size = uint64(binary.BigEndian.Uint16(data[2:]))
	case 127:
		size = binary.BigEndian.Uint64(data[2:])
	}
	if masked {
		copy(h.key[:], data[n-4:n])
	}
	op := data[0] & 15
	h.in, h.final, h.control, h.masked, h.left, h.at = true, data[0]&0x80 != 0, op >= 8, masked, size, 0
	if !h.control && op != 0 {
		p.messageEnd(d, false)
		h.compressed = data[0]&0x40 != 0 && p.deflate
	}
	if h.left == 0 {
		p.frameEnd(d)
	}
	return n
}

// overflow implements parser: nothing that is waited for is as long as a buffer.
func (p *websocket) overflow(_ Dir, data []byte) int { return len(data) }

// content takes bytes of a frame.
func (p *websocket) content(d Dir, data []byte) {
	h := &p.half[d]
	if h.m == nil && !p.begin(d) {
		return
	}
	if !h.masked {
		p.plain(d, data)
		return
	}
	var buf [1024]byte
	for len(data) > 0 {
		n := min(len(buf), len(data))
		for i, c := range data[:n] {
			buf[i] = c ^ h.key[(h.at+i)&3]
		}
		h.at = (h.at + n) & 3
		p.plain(d, buf[:n])
		data = data[n:]
	}
}

// plain takes unmasked bytes. Control frames, which may stand between a message's frames, are texts of their own.
func (p *websocket) plain(d Dir, data []byte) {
	h := &p.half[d]
	if h.control {
		h.m.value(Payload, nil, data)
		return
	}
	if data = h.m.take(data); len(data) == 0 || h.out == nil {
		return
	}
	if h.compressed && h.inflate != nil {
		h.inflate.m, h.through.to = h.m, h.out
		h.inflate.write(data)
		h.through.to = nil
		return
	}
	h.out.write(data)
}

// begin opens a message.
func (p *websocket) begin(d Dir) bool {
	h := &p.half[d]
	if h.m = p.f.newMessage(d, WebSocket); h.m == nil {
		return false
	}
	if p.request != nil {
		h.m.requestOf(p.request)
	}
	h.m.start()
	if h.control {
		return true
	}
	return p.open(d)
}

// open opens the text of a message.
func (p *websocket) open(d Dir) bool {
	h := &p.half[d]
	t := h.m.open(Body, nil, modeBody)
	if t == nil {
		return true
	}
	h.out = t
	if !h.compressed {
		return true
	}
	t.layer(LayerDeflate)
	if h.inflate == nil {
		h.inflate = p.f.in.newInflater(h.m, LayerDeflate, &h.through)
	}
	if h.inflate == nil || h.inflate.dead {
		h.m.opaque(ReasonEncoding)
		t.hide()
		return true
	}
	h.inflate.raw, h.inflate.m = true, h.m
	h.inflate.took, h.inflate.gave = 0, 0
	return true
}

func (p *websocket) frameEnd(d Dir) {
	h := &p.half[d]
	h.in = false
	switch {
	case h.control:
		if h.m != nil && h.out == nil {
			h.m.end()
			h.m = nil
		}
	case h.final:
		p.messageEnd(d, true)
	}
}

// messageEnd closes the message at hand.
func (p *websocket) messageEnd(d Dir, whole bool) {
	h := &p.half[d]
	if h.m == nil {
		return
	}
	if h.compressed && h.inflate != nil && h.out != nil && !h.inflate.dead {
		h.inflate.m, h.through.to = h.m, h.out
		h.inflate.write([]byte{0, 0, 0xff, 0xff})
		h.through.to = nil
	}
	if h.inflate != nil {
		h.inflate.m = nil
	}
	if h.out != nil {
		h.out.close(whole)
	}
	h.m.end()
	h.m, h.out = nil, nil
}

// gap implements parser: within a frame the next one is found by its length; the window of a decompressor is lost.
func (p *websocket) gap(d Dir, waiting []byte, n int) {
	h := &p.half[d]
	if !h.in || len(waiting) > 0 || n < 0 || uint64(n) > h.left {
		p.f.in.stats.Resynced++
		f := p.f
		p.close()
		f.app, f.parser = Unknown, newPlain(f)
		return
	}
	if h.inflate != nil {
		h.inflate.dead = true
	}
	if h.out != nil {
		h.out.close(false)
		h.out = nil
	}
	h.at = (h.at + n) & 3
	if h.left -= uint64(n); h.left == 0 {
		p.frameEnd(d)
	}
}

// close implements parser.
func (p *websocket) close() {
	for d := range p.half {
		h := &p.half[d]
		p.messageEnd(Dir(d), false)
		if h.inflate != nil {
			h.inflate.dead = true
			h.inflate.close(false)
			h.inflate = nil
		}
	}
	if p.request != nil {
		p.request.release()
	}
	p.f.in.release(websocketCost)
}
