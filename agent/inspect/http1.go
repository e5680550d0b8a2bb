// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"unsafe"
)

// http1 reads HTTP/1.0 and 1.1 (RFC 9112) the way a careless peer would: what a strict one refuses is counted and read on.
type http1 struct {
	f    *flow
	half [2]http1Half
	// queue is requests that wait for their response, oldest first.
	queue  [pipelineMax]*message
	queued int
}

// http1Half is one direction.
type http1Half struct {
	state   http1State
	request bool
	m       *message
	body    body
	// left is bytes of the body or chunk that are to come.
	left int64
	// seen is how many of the bytes that wait were looked at for the end of a line.
	seen int
	// head is bytes of header so far.
	head    int
	length  int64
	chunked bool
	// answered says that the response began before the request was over.
	answered bool
	upgrade  upgrade
	// url is the request's target, until the host is known.
	url []byte
	// websocketDeflate says that permessage-deflate was named.
	websocketDeflate bool
}

type upgrade uint8

const (
	upgradeNone upgrade = iota
	upgradeWebSocket
	upgradeH2C
	upgradeOther
)

type http1State uint8

const (
	http1Start http1State = iota
	http1Headers
	http1Length
	http1ChunkSize
	// http1ChunkRest is the rest of a chunk's extensions that are too long.
	http1ChunkRest
	http1ChunkData
	http1ChunkEnd
	http1Trailers
	http1UntilClose
	// http1Lost looks for the next message after a gap.
	http1Lost
	// http1Waiting is a client that asked for another protocol and waits for the answer.
	http1Waiting
)

const (
	pipelineMax = 16
	http1Cost   = int(unsafe.Sizeof(http1{}))
)

func newHTTP1(f *flow) parser {
	if !f.in.reserve(http1Cost, f) {
		return f.refused()
	}
	p := f.in.freeHTTP.get()
	*p = http1{f: f}
	p.half[f.client()].request = true
	return p
}

// refused is the parser of a flow for which there is no memory.
func (f *flow) refused() parser {
	f.in.stats.Refused++
	var c Context
	f.context(&c, f.client())
	f.opaque(&c, ReasonMemory)
	return skip{f}
}

// feed implements parser.
func (p *http1) feed(d Dir, data []byte) int {
	h := &p.half[d]
	switch h.state {
	case http1Length, http1ChunkData, http1UntilClose:
		return p.content(d, data)
	case http1ChunkRest:
		return p.chunkRest(d, data)
	case http1Waiting:
		return p.unanswered(d, data)
	}
	end := p.lineEnd(h, data)
	if end < 0 {
		return 0
	}
	h.seen = 0
	p.line(d, data[:end], end+1)
	return end + 1
}

// lineEnd finds the end of a line with those that continue it (RFC 9112, 5.2); -1 when more bytes are needed. What was
// looked at before is not again, so that a line that comes byte by byte is no more work than one that comes at once.
func (p *http1) lineEnd(h *http1Half, data []byte) int {
	h.seen = min(h.seen, len(data))
	for {
		p.f.in.stats.LineParts++
		k := bytes.IndexByte(data[h.seen:], '\n')
		if k < 0 {
			h.seen = len(data)
			return -1
		}
		end := h.seen + k
		switch {
		case h.state != http1Headers || blank(data[:end]):
			return end
		case end+1 == len(data):
			// The next line may continue this one.
			h.seen = end
			return -1
		case data[end+1] != ' ' && data[end+1] != '\t':
			return end
		}
		h.seen = end + 1
	}
}

func blank(line []byte) bool { return len(line) == 0 || len(line) == 1 && line[0] == '\r' }

// overflow implements parser: a line that does not fit is read as far as it goes, and what follows as more of it.
func (p *http1) overflow(d Dir, data []byte) int {
	h := &p.half[d]
	h.seen = 0
	switch h.state {
	case http1Waiting:
		h.state = http1Lost
	case http1ChunkSize:
		p.chunkSize(d, data)
		p.f.in.stats.HeaderBytesCut += uint64(len(data))
		if h.state != http1Lost {
			h.state = http1ChunkRest
		}
	case http1Lost:
		p.f.in.stats.SkippedBytes += uint64(len(data))
	case http1Headers, http1Start, http1Trailers:
		// A line that is continued again and again is taken as far as it is there, not line by line, which would cost
		// the square of its length.
		if i := bytes.LastIndexByte(data, '\n'); i >= 0 {
			p.line(d, data[:i], i+1)
			return i + 1
		}
		p.line(d, data, len(data))
	}
	return len(data)
}

// line takes a line; n is its length with its end.
func (p *http1) line(d Dir, line []byte, n int) {
	h := &p.half[d]
	line = bytes.TrimSuffix(line, []byte{'\r'})
	switch h.state {
	case http1Start, http1Lost:
		p.start(d, line)
	case http1Headers:
		h.head += n
		if len(line) == 0 {
			p.headEnd(d)
		} else {
			p.header(d, line)
		}
	case http1ChunkSize:
		p.chunkSize(d, line)
	case http1ChunkEnd:
		h.state = http1ChunkSize
	case http1Trailers:
		h.head += n
		if len(line) == 0 {
			p.messageEnd(d, true)
		} else {
			p.header(d, line)
		}
	}
}

// start takes a request or status line.
func (p *http1) start(d Dir, line []byte) {
	h := &p.half[d]
	if len(line) == 0 {
		return
	}
	known := prefix(line, "HTTP/1.") == yes
	if h.request {
		known = httpRequest(line) == yes
	}
	if h.state == http1Lost && (!known || h.request && !bytes.Contains(line, []byte(" HTTP/1."))) {
		p.f.in.stats.SkippedBytes += uint64(len(line))
		return
	}
	if !known {
		p.f.in.stats.Malformed++
	}
	h.state, h.head, h.length, h.chunked, h.answered, h.upgrade = http1Headers, 0, -1, false, false, upgradeNone
	h.websocketDeflate = false
	if h.request {
		p.requestLine(d, line, known)
	} else {
		p.statusLine(d, line)
	}
	h.body.reset(h.m)
}

func (p *http1) requestLine(d Dir, line []byte, known bool) {
	h := &p.half[d]
	if h.m = p.f.newMessage(d, HTTP1); h.m == nil {
		return
	}
	method, rest, _ := bytes.Cut(line, []byte(" "))
	target := rest
	if i := bytes.LastIndex(rest, []byte(" HTTP/")); i >= 0 {
		target = rest[:i]
	}
	target = bytes.Trim(target, " ")
	if known {
		h.m.setMethod(method)
		h.m.setPath(target)
	}
	h.m.start()
	if !known {
		h.m.value(RequestLine, nil, line)
		return
	}
	buf := p.f.in.bufs.get(len(target))
	if !p.f.in.reserve(cap(buf), p.f) {
		p.f.in.bufs.put(buf)
		h.m.url(target)
		return
	}
	h.url = append(buf, target...)
}

// giveURL gives the target, now that the host is known or never will be.
func (p *http1) giveURL(h *http1Half) {
	if h.url == nil {
		return
	}
	if h.m != nil {
		h.m.url(h.url)
	}
	p.f.in.release(cap(h.url))
	p.f.in.bufs.put(h.url)
	h.url = nil
}

// statusLine begins a response, to the oldest request that waits for one.
func (p *http1) statusLine(d Dir, line []byte) {
	h := &p.half[d]
	status := int64(0)
	if len(line) >= 12 {
		status, _ = number(line[9:12], 10)
	}
	interim := status >= 100 && status < 200 && status != 101
	h.m = nil
	switch {
	case interim || p.queued == 0:
		if h.m = p.f.newMessage(d, HTTP1); h.m == nil {
			return
		}
		if r := p.asked(d); r != nil {
			h.m.requestOf(r)
		}
		if q := &p.half[1-d]; !interim && q.m != nil {
			q.answered = true
		}
	default:
		h.m = p.queue[0]
		p.queued--
		copy(p.queue[:], p.queue[1:])
		p.queue[p.queued] = nil
		h.m.renew(d, HTTP1)
	}
	h.m.ctx.Status = int(status)
	h.m.start()
}

// asked is the request that a response without a waiting one belongs to: the one that is still being sent.
func (p *http1) asked(d Dir) *message {
	if p.queued > 0 {
		return p.queue[0]
	}
	return p.half[1-d].m
}

// header takes a header or trailer field.
func (p *http1) header(d Dir, line []byte) {
	h := &p.half[d]
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok {
		p.f.in.stats.Malformed++
		name, value = nil, line
	}
	name, value = bytes.TrimSpace(name), bytes.TrimSpace(value)
	id := fieldOf(name)
	if h.state == http1Headers {
		p.framing(d, id, value)
	}
	if h.m == nil {
		return
	}
	if h.head > p.f.in.cfg.HeaderBytes {
		p.f.in.stats.HeaderBytesCut += uint64(len(line))
		h.m.opaque(ReasonHeaders)
		if id == fieldContentType || id == fieldContentEncoding {
			h.body.header(id, value)
		}
		return
	}
	if id == fieldHost && h.request {
		h.m.setHost(value)
		p.giveURL(h)
	}
	if id == fieldHost && !h.request {
		id = fieldOther
	}
	h.m.header(&h.body, id, name, value)
}

// framing takes what a field says of where the body ends (RFC 9112, 6.3).
func (p *http1) framing(d Dir, id field, value []byte) {
	h := &p.half[d]
	switch id {
	case fieldContentLength:
		first, _, _ := bytes.Cut(value, []byte(","))
		n, ok := number(bytes.TrimSpace(first), 10)
		if !ok || h.length >= 0 && h.length != n {
			p.f.in.stats.Malformed++
		}
		if ok && h.length < 0 {
			h.length = n
		}
	case fieldTransferEncoding:
		var buf [layersMax]Layer
		encs, ok := encodings(value, buf[:0])
		if !ok {
			p.f.in.stats.Malformed++
		}
		for i := len(encs) - 1; i >= 0; i-- {
			if encs[i] == LayerChunked {
				h.chunked = true
			}
			if h.body.encN < depthMax {
				copy(h.body.encs[1:], h.body.encs[:h.body.encN])
				h.body.encs[0] = encs[i]
				h.body.encN++
			}
		}
	case fieldUpgrade:
		switch {
		case prefixFold(value, "websocket") == yes:
			h.upgrade = upgradeWebSocket
		case prefixFold(value, "h2c") == yes:
			h.upgrade = upgradeH2C
		}
	case fieldWebSocketExtensions:
		h.websocketDeflate = bytes.Contains(value, []byte("permessage-deflate"))
	}
}

// gap implements parser: a body of known length goes on without the missing bytes, all else looks for the next message.
func (p *http1) gap(d Dir, waiting []byte, n int) {
	h := &p.half[d]
	h.seen = 0
	if n >= 0 && len(waiting) == 0 {
		switch {
		case h.state == http1Length && int64(n) <= h.left, h.state == http1ChunkData && int64(n) < h.left:
			// What is decoded cannot go on across the gap, but the framing can.
			h.body.gap()
			h.left -= int64(n)
			if h.state == http1Length && h.left == 0 {
				p.messageEnd(d, false)
			}
			return
		case h.state == http1UntilClose:
			h.body.gap()
			return
		}
	}
	p.f.in.stats.Resynced++
	p.giveURL(h)
	if h.m != nil {
		p.messageEnd(d, false)
	}
	h.state = http1Lost
}

// close implements parser.
func (p *http1) close() {
	for d := range p.half {
		h := &p.half[d]
		p.giveURL(h)
		if h.m != nil {
			h.body.close(h.state == http1UntilClose)
			h.m.end()
		}
	}
	for _, m := range p.queue[:p.queued] {
		m.end()
	}
	in := p.f.in
	*p = http1{}
	in.release(http1Cost)
	in.freeHTTP.put(p)
}
