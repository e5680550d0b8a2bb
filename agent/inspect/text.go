// SPDX-License-Identifier: Apache-2.0

package inspect

import "unsafe"

// mode is how far a text is looked into.
type mode uint8

const (
	// modeRaw texts are given as they are.
	modeRaw mode = iota
	// modeValue texts may be encoded: base64, hexadecimal, URL, a data: URL.
	modeValue
	// modeBody texts may be compressed or structured, too.
	modeBody
)

// sniffMax is how many bytes decide what a text is.
const sniffMax = 64

// consumer takes the bytes of something in order; close ends it, with whole false when some are missing.
type consumer interface {
	write(p []byte)
	close(whole bool)
}

// text is one text on its way to the sink, and to what decodes it.
type text struct {
	m      *message
	ctx    Context
	layers [layersMax]Layer
	name   [nameMax]byte
	mode   mode
	hint   hint
	depth  int
	// head is the first bytes, until they are decided upon.
	head    [sniffMax]byte
	n       int
	decided bool
	// shown says that the sink gets it; tentative that it does only if it looks like text, since it was decoded from
	// what merely looked encoded.
	shown, tentative bool
	inner            consumer
}

const textCost = int(unsafe.Sizeof(text{}))

// open makes a text of a message, or nil when there is no memory for it.
func (m *message) open(part Part, name []byte, md mode) *text {
	t := m.f.in.newText(m)
	if t == nil {
		return nil
	}
	t.ctx = m.ctx
	t.ctx.Part, t.ctx.TextID, t.mode = part, m.f.in.texts, md
	t.ctx.Name = append(t.name[:0], name[:min(len(name), nameMax)]...)
	t.decided = md == modeRaw
	return t
}

func (in *Inspector) newText(m *message) *text {
	if !in.reserve(textCost, m.f) {
		m.opaque(ReasonMemory)
		return nil
	}
	t := in.freeTexts.get()
	t.m, t.hint, t.depth, t.n, t.decided, t.shown, t.tentative, t.inner = m, hint{}, 0, 0, false, true, false, nil
	in.texts++
	return t
}

// under makes a text that is decoded from this one, or nil when there is no memory for it.
func (t *text) under(md mode) *text {
	c := t.m.f.in.newText(t.m)
	if c == nil {
		return nil
	}
	c.ctx = t.ctx
	c.ctx.TextID, c.ctx.State, c.mode, c.depth = t.m.f.in.texts, nil, md, t.depth
	c.ctx.Layers = append(c.layers[:0], t.ctx.Layers...)
	c.ctx.Name = append(c.name[:0], t.ctx.Name...)
	return c
}

// layer adds a layer to what was undone.
func (t *text) layer(l Layer) {
	if len(t.ctx.Layers) < layersMax {
		t.layers[len(t.ctx.Layers)] = l
		t.ctx.Layers = t.layers[:len(t.ctx.Layers)+1]
	}
	if l != LayerChunked && l != LayerLabels {
		t.depth++
	}
}

func (t *text) rename(name []byte) {
	t.ctx.Name = append(t.name[:0], name[:min(len(name), nameMax)]...)
}

// whole writes all of a text and closes it.
func (t *text) whole(data []byte) {
	if !t.decided {
		t.decide(data, true)
	}
	if t.shown {
		t.give(data, true)
		t.shown = false
	}
	if t.inner != nil {
		t.inner.write(data)
	}
	t.close(true)
}

// write implements consumer.
func (t *text) write(p []byte) {
	if !t.decided {
		if t.n == 0 && len(p) >= sniffMax {
			t.decide(p[:sniffMax], false)
		} else {
			k := copy(t.head[t.n:], p)
			t.n += k
			p = p[k:]
			if t.n < sniffMax {
				return
			}
			t.decide(t.head[:], false)
			t.emit(t.head[:])
		}
	}
	t.emit(p)
}

func (t *text) emit(p []byte) {
	if len(p) == 0 {
		return
	}
	if t.shown {
		t.give(p, false)
	}
	if t.inner != nil {
		t.inner.write(p)
	}
}

func (t *text) give(p []byte, last bool) {
	in := t.m.f.in
	t.m.sync(&t.ctx)
	in.stats.TextBytes += uint64(len(p))
	if last {
		in.stats.Texts++
	}
	in.sink.Text(&t.ctx, p, last)
}

// close implements consumer.
func (t *text) close(whole bool) {
	if !t.decided {
		head := t.head[:t.n]
		t.decide(head, true)
		if t.shown {
			t.give(head, true)
			t.shown = false
		}
		if t.inner != nil {
			t.inner.write(head)
		}
	}
	if t.shown {
		t.give(nil, true)
	}
	if t.inner != nil {
		t.inner.close(whole)
	}
	in := t.m.f.in
	t.inner, t.m = nil, nil
	t.ctx = Context{}
	in.release(textCost)
	in.freeTexts.put(t)
}

// decide finds out from the first bytes, or with final from all, what decodes the text further.
func (t *text) decide(head []byte, final bool) {
	t.decided = true
	s := t.sniff(head, final)
	if t.tentative && s.kind != isCompressed && !readable(head, final) {
		t.shown = false
		return
	}
	if s.kind == isText {
		return
	}
	if s.deeper && t.depth >= t.m.f.in.cfg.Depth {
		t.m.f.in.stats.Depths++
		t.m.opaque(ReasonDepth)
		return
	}
	t.inner = t.decoder(s)
	if s.kind == isCompressed || s.kind == isMultipart {
		t.shown = false
	}
}

// decoder makes what takes a text apart; nil when there is no memory for it.
func (t *text) decoder(s sniffed) consumer {
	in := t.m.f.in
	switch s.kind {
	case isCompressed:
		child := t.under(modeBody)
		if child == nil {
			return nil
		}
		child.hint = t.hint
		child.layer(s.layer)
		if x := in.newInflater(t.m, s.layer, child); x != nil {
			return x
		}
		child.abandon()
	case isEncoded:
		if x := in.newEncoded(t, s.layer, s.skip, s.weak); x != nil {
			return x
		}
	case isJSON:
		if x := in.newJSON(t); x != nil {
			return x
		}
	case isForm:
		if x := in.newForm(t); x != nil {
			return x
		}
	case isMultipart:
		if x := in.newMultipart(t, t.hint.boundary); x != nil {
			return x
		}
	}
	return nil
}

// abandon gives back a text of which nothing was written.
func (t *text) abandon() {
	t.decided, t.shown = true, false
	t.close(false)
}

// decoded is under with a layer; tentative for what only looks encoded.
func (t *text) decoded(l Layer, md mode, tentative bool) *text {
	c := t.under(md)
	if c == nil {
		return nil
	}
	c.layer(l)
	c.tentative = tentative
	return c
}
