// SPDX-License-Identifier: Apache-2.0

package inspect

// body is the content of an HTTP message or of one of gRPC on its way through its encodings.
type body struct {
	m    *message
	top  consumer
	grpc *grpcFrames
	// encs are the layers that the header names, outermost first.
	encs    [layersMax]Layer
	encN    int
	unknown bool
	// broken says that bytes are missing without which the rest cannot be decoded.
	broken bool
	// hint is what the header says of the content.
	hint     hint
	boundary [boundaryMax]byte
	// grpcEncoding is of the messages within.
	grpcEncoding Layer
	grpcEncoded  bool
}

// reset makes the body ready for another message.
func (b *body) reset(m *message) {
	b.m, b.top, b.grpc, b.encN, b.unknown, b.broken, b.hint, b.grpcEncoded = m, nil, nil, 0, false, false, hint{}, false
}

// header takes what a header field says of the body.
func (b *body) header(id field, value []byte) {
	switch id {
	case fieldContentType:
		b.hint = contentType(value, b.boundary[:])
	case fieldContentEncoding:
		encs, ok := encodings(value, b.encs[b.encN:b.encN:depthMax])
		b.encN += len(encs)
		b.unknown = b.unknown || !ok
	case fieldGRPCEncoding:
		var one [1]Layer
		encs, ok := encodings(value, one[:0:1])
		b.grpcEncoded = !ok || len(encs) > 0
		b.grpcEncoding = layers
		if len(encs) > 0 {
			b.grpcEncoding = encs[0]
		}
	}
}

// write takes bytes of the body.
func (b *body) write(p []byte) {
	if len(p) == 0 || b.m == nil {
		return
	}
	if b.broken {
		b.m.f.in.stats.SkippedBytes += uint64(len(p))
		return
	}
	if b.grpc == nil && b.top == nil && b.m.body == 0 {
		b.begin()
	}
	if b.grpc != nil {
		b.grpc.write(p)
		return
	}
	if p = b.m.take(p); b.top != nil {
		b.top.write(p)
	}
}

// begin opens the text of the body, behind its decompressors.
func (b *body) begin() {
	if b.hint.kind == hintGRPC {
		b.grpc = newGRPC(b)
		return
	}
	if b.unknown {
		b.m.opaque(ReasonEncoding)
		b.m.f.in.stats.BadEncodings++
		return
	}
	b.top = b.m.decoded(Body, b.encs[:b.encN], b.hint)
}

// decoded opens a text of the message behind decompressors, outermost first; nil when there is no memory for them.
func (m *message) decoded(part Part, encs []Layer, h hint) consumer {
	in := m.f.in
	t := m.open(part, nil, modeBody)
	if t == nil {
		return nil
	}
	t.hint = h
	for _, l := range encs {
		t.layer(l)
	}
	if t.depth > in.cfg.Depth {
		in.stats.Depths++
		m.opaque(ReasonDepth)
		t.abandon()
		return nil
	}
	top := consumer(t)
	for i := len(encs) - 1; i >= 0; i-- {
		if encs[i] == LayerChunked {
			continue
		}
		x := in.newInflater(m, encs[i], top)
		if x == nil {
			t.hide()
			top.close(false)
			return nil
		}
		top = x
	}
	return top
}

// hide keeps what follows from the sink.
func (t *text) hide() { t.decided, t.shown = true, false }

// gap goes on after missing bytes: with what follows as it stands, or not at all if it was compressed.
func (b *body) gap() {
	m := b.m
	if m == nil {
		return
	}
	b.close(false)
	b.m, b.broken = m, b.unknown || b.hint.kind == hintGRPC
	for _, l := range b.encs[:b.encN] {
		b.broken = b.broken || l != LayerChunked
	}
	if b.broken {
		return
	}
	m.body++ // It has begun.
	if t := m.open(Body, nil, modeRaw); t != nil {
		b.top = t
	}
}

// close ends the body.
func (b *body) close(whole bool) {
	if b.grpc != nil {
		b.grpc.close(whole)
	}
	if b.top != nil {
		b.top.close(whole)
	}
	b.top, b.grpc, b.m = nil, nil, nil
}
