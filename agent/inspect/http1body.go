// SPDX-License-Identifier: Apache-2.0

package inspect

import "bytes"

// headEnd finds out what body follows a header.
func (p *http1) headEnd(d Dir) {
	h := &p.half[d]
	p.giveURL(h)
	if h.chunked && h.length >= 0 {
		// Both is how requests are smuggled.
		p.f.in.stats.Malformed++
	}
	status := 0
	if h.m != nil {
		status = h.m.ctx.Status
	}
	switch {
	case !h.request && status == 101:
		p.switched(d)
	case !h.request && h.m != nil && string(h.m.method) == "CONNECT" && status/100 == 2:
		p.tunnel(d)
	case !h.request && (status/100 == 1 || status == 204 || status == 304 || h.m != nil && string(h.m.method) == "HEAD"):
		p.messageEnd(d, true)
	case h.chunked:
		h.state = http1ChunkSize
	case h.length > 0:
		h.state, h.left = http1Length, h.length
	case h.length == 0 || h.request:
		p.messageEnd(d, true)
	default:
		h.state = http1UntilClose
	}
}

// content takes bytes of a body.
func (p *http1) content(d Dir, data []byte) int {
	h := &p.half[d]
	if h.state == http1UntilClose {
		h.body.write(data)
		return len(data)
	}
	n := int(min(h.left, int64(len(data))))
	h.body.write(data[:n])
	if h.left -= int64(n); h.left > 0 {
		return n
	}
	if h.state == http1ChunkData {
		h.state = http1ChunkEnd
	} else {
		p.messageEnd(d, true)
	}
	return n
}

// chunkSize takes the line before a chunk (RFC 9112, 7.1).
func (p *http1) chunkSize(d Dir, line []byte) {
	h := &p.half[d]
	size, _, _ := bytes.Cut(line, []byte(";"))
	n, ok := number(bytes.TrimSpace(size), 16)
	switch {
	case !ok:
		p.f.in.stats.Malformed++
		p.f.in.stats.Resynced++
		p.messageEnd(d, false)
		h.state = http1Lost
	default:
		h.left = n
		p.chunkBegin(h)
	}
}

func (p *http1) chunkBegin(h *http1Half) {
	if h.state = http1ChunkData; h.left == 0 {
		h.state = http1Trailers
	}
}

// chunkRest skips extensions up to the end of their line.
func (p *http1) chunkRest(d Dir, data []byte) int {
	n := bytes.IndexByte(data, '\n') + 1
	if n > 0 {
		p.chunkBegin(&p.half[d])
	} else {
		n = len(data)
	}
	p.f.in.stats.HeaderBytesCut += uint64(n)
	return n
}

// messageEnd closes a message. A request then waits for its response.
func (p *http1) messageEnd(d Dir, whole bool) {
	h := &p.half[d]
	h.body.close(whole)
	m := h.m
	h.m, h.state = nil, http1Start
	if h.request && h.upgrade != upgradeNone && whole {
		h.state = http1Waiting
	}
	if h.request && m != nil && string(m.method) == "CONNECT" && whole {
		h.upgrade, h.state = upgradeOther, http1Waiting
	}
	if m == nil {
		return
	}
	if !h.request || h.answered {
		interim := m.ctx.Status/100 == 1
		m.end()
		if !h.request && !interim {
			p.resume(d)
		}
		return
	}
	m.stop()
	if p.queued == pipelineMax {
		p.queue[0].end()
		p.queued--
		copy(p.queue[:], p.queue[1:])
		p.f.in.stats.Malformed++
	}
	p.queue[p.queued] = m
	p.queued++
}

// resume lets a client go on that asked for another protocol and was not given it.
func (p *http1) resume(d Dir) {
	c := &p.half[1-d]
	if c.state == http1Waiting && p.queued == 0 {
		c.state = http1Start
		p.f.in.again(p.f, 1-d)
	}
}

// unanswered takes what a client says that asked for another protocol. Where answers are seen, it waits for them. Where nothing
// was ever heard of the server, since only the requests are looked at, what the client says next tells what it was answered.
func (p *http1) unanswered(d Dir, data []byte) int {
	f, h := p.f, &p.half[d]
	if f.half[1-d].heard {
		return 0
	}
	switch m := p.answeredBy(h.upgrade, data); {
	case m == maybe:
		return 0
	case m == no:
		h.state = http1Start
		return p.feed(d, data)
	case h.upgrade == upgradeOther:
		p.close()
		f.app, f.parser = Unknown, nil
	default:
		p.half[1-d].websocketDeflate = h.websocketDeflate
		p.hand(1 - d)
	}
	return f.in.feed(f, d, data)
}

// answeredBy says whether what a client says is of the protocol that it had asked for.
func (p *http1) answeredBy(u upgrade, data []byte) match {
	switch u {
	case upgradeWebSocket:
		return websocketFrame(data)
	case upgradeH2C:
		return prefix(data, http2Preface)
	}
	// Within a tunnel there may be anything, but a proxy that refuses it is asked once more.
	switch httpRequest(data) {
	case no:
		return yes
	case maybe:
		return maybe
	}
	if prefix(data, "CONNECT ") == yes {
		return no
	}
	return yes
}

// websocketFrame is the first frame of a client: masked, and of a message's begin or for control (RFC 6455, 5.2).
func websocketFrame(data []byte) match {
	if data[0]&0x30 != 0 {
		return no
	}
	switch data[0] & 15 {
	case 1, 2, 8, 9, 10:
	default:
		return no
	}
	if len(data) < 2 {
		return maybe
	}
	if data[1]&0x80 == 0 {
		return no
	}
	return yes
}

// switched hands the flow over to the protocol that both sides agreed on.
func (p *http1) switched(d Dir) {
	f := p.f
	p.hand(d)
	f.in.again(f, 1-d)
}

// hand gives the flow the parser of the protocol that the client asked for; d is the direction of the answer.
func (p *http1) hand(d Dir) {
	f, c, h := p.f, &p.half[1-d], &p.half[d]
	want := c.upgrade
	if h.upgrade != upgradeNone {
		want = h.upgrade
	}
	deflate := h.websocketDeflate
	of := h.m
	if of == nil && p.queued > 0 {
		of = p.queue[0]
	}
	var request *message
	if of != nil {
		request = f.newMessage(1-d, HTTP1)
		if request != nil {
			request.requestOf(of)
		}
	}
	p.close()
	f.parser = nil
	switch want {
	case upgradeWebSocket:
		f.app, f.parser = WebSocket, newWebSocket(f, request, deflate)
	case upgradeH2C:
		h2 := newHTTP2(f, true)
		f.app, f.parser = HTTP2, h2
		if x, ok := h2.(*http2); ok && request != nil {
			x.upgraded(request)
		} else if request != nil {
			request.release()
		}
	default:
		if request != nil {
			request.release()
		}
		f.app, f.parser = Unknown, newPlain(f)
	}
}

// tunnel begins anew within a connection made by CONNECT.
func (p *http1) tunnel(d Dir) {
	f := p.f
	p.close()
	f.app, f.parser = Unknown, nil
	f.in.again(f, 1-d)
}
