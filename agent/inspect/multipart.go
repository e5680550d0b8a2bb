// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"unsafe"
)

// multipart splits a multipart body (RFC 2046, 5.1), or reads a mail, which is one part with a header. What stands
// before the first part and after the last is given too: nobody else looks there.
type multipart struct {
	t     *text
	state multipartState
	// delim is "\n--" and the boundary; nothing for a mail. matched of its bytes have been seen, after a CR with cr;
	// virtual says that the line end before the first delimiter is not there.
	delim       [boundaryMax + 3]byte
	delimN      int
	matched     int
	cr, virtual bool
	// line is the header line being read, of which the end was seen with ended; headN counts the header's bytes.
	line         [1024]byte
	lineN, headN int
	ended        bool
	last         [2]byte
	part         partHead
	out          consumer
	refused      bool
}

// partHead is what a part's header says.
type partHead struct {
	name, file   [nameMax]byte
	nameN, fileN int
	encoding     Layer
	encoded      bool
	hint         hint
	boundary     [boundaryMax]byte
}

type multipartState uint8

const (
	multipartBody multipartState = iota
	multipartDelimiter
	multipartHead
)

const (
	multipartCost = int(unsafe.Sizeof(multipart{}))
	partHeadMax   = 16 << 10
)

// newMultipart makes a reader below a text, for a mail without a boundary; nil when there is no memory for it.
func (in *Inspector) newMultipart(t *text, boundary []byte) *multipart {
	if !in.reserve(multipartCost, t.m.f) {
		t.m.opaque(ReasonMemory)
		return nil
	}
	x := in.freeParts.get()
	*x = multipart{t: t}
	if boundary == nil {
		x.state = multipartHead
		return x
	}
	x.delimN = copy(x.delim[:], "\n--") + copy(x.delim[3:], boundary)
	x.matched, x.virtual = 1, true
	return x
}

// write implements consumer.
func (x *multipart) write(p []byte) {
	for len(p) > 0 {
		switch x.state {
		case multipartBody:
			p = x.body(p)
		case multipartDelimiter:
			p = x.delimiter(p)
		case multipartHead:
			p = x.head(p)
		}
	}
}

// body takes the bytes of a part up to the delimiter after it.
func (x *multipart) body(p []byte) []byte {
	if x.delimN == 0 {
		x.emit(p)
		return nil
	}
	if x.matched == 0 {
		if x.cr && p[0] != '\n' {
			x.cr = false
			x.emit([]byte{'\r'})
		}
		if p = x.search(p); len(p) == 0 {
			return nil
		}
	}
	for len(p) > 0 && x.matched < x.delimN && p[0] == x.delim[x.matched] {
		x.matched++
		p = p[1:]
	}
	switch {
	case x.matched == x.delimN:
		x.matched, x.cr, x.virtual = 0, false, false
		x.endPart(true)
		x.state, x.lineN = multipartDelimiter, 0
	case len(p) > 0:
		x.flush()
	}
	return p
}

// search gives the bytes before what may be a delimiter, and returns what follows its beginning.
func (x *multipart) search(p []byte) []byte {
	i := bytes.Index(p, x.delim[:3])
	rest := []byte(nil)
	if i >= 0 {
		x.matched, rest = 3, p[i+3:]
	} else {
		for x.matched = 2; x.matched > 0 && !bytes.HasSuffix(p, x.delim[:x.matched]); x.matched-- {
		}
		i = len(p) - x.matched
	}
	if i == 0 {
		return rest
	}
	if x.cr {
		x.emit([]byte{'\r'})
	}
	if x.cr = p[i-1] == '\r'; x.cr {
		i--
	}
	x.emit(p[:i])
	return rest
}

// flush gives what had looked like a delimiter.
func (x *multipart) flush() {
	if x.cr {
		x.emit([]byte{'\r'})
	}
	held := x.delim[:x.matched]
	if x.virtual && len(held) > 0 {
		held = held[1:]
	}
	x.matched, x.cr, x.virtual = 0, false, false
	x.emit(held)
}

// delimiter takes the rest of the line of a delimiter; "--" ends the last part.
func (x *multipart) delimiter(p []byte) []byte {
	for i, c := range p {
		if c != '\n' {
			if x.lineN < len(x.last) {
				x.last[x.lineN] = c
			}
			x.lineN++
			continue
		}
		x.state, x.matched = multipartHead, 0
		if x.lineN >= 2 && string(x.last[:]) == "--" {
			x.state = multipartBody
		}
		x.lineN, x.headN, x.ended, x.part = 0, 0, false, partHead{}
		return p[i+1:]
	}
	return nil
}

// head takes the header of a part line by line; a line that begins with a space continues the one before.
func (x *multipart) head(p []byte) []byte {
	for len(p) > 0 {
		c := p[0]
		if x.ended {
			if c != ' ' && c != '\t' || x.lineN == 0 {
				x.header(x.line[:x.lineN])
				x.lineN = 0
			}
			x.ended = false
		}
		if x.headN++; x.headN > partHeadMax {
			x.t.m.f.in.stats.HeaderBytesCut += uint64(len(p))
			x.state = multipartBody
			return p
		}
		p = p[1:]
		switch {
		case c == '\n':
			if x.lineN > 0 && x.line[x.lineN-1] == '\r' {
				x.lineN--
			}
			if x.lineN == 0 {
				x.state = multipartBody
				// An empty part has its delimiter right here.
				x.matched, x.virtual = min(1, x.delimN), true
				return p
			}
			x.ended = true
		case x.lineN < len(x.line):
			x.line[x.lineN] = c
			x.lineN++
		}
	}
	return nil
}

// header takes a header line of a part.
func (x *multipart) header(line []byte) {
	key, value, ok := bytes.Cut(line, []byte(":"))
	if !ok {
		return
	}
	key, value = bytes.TrimSpace(key), bytes.TrimSpace(value)
	h := &x.part
	switch {
	case bytes.EqualFold(key, []byte("content-disposition")):
		_, params, _ := bytes.Cut(value, []byte(";"))
		h.nameN = copy(h.name[:], parameter(params, "name"))
		h.fileN = copy(h.file[:], parameter(params, "filename"))
	case bytes.EqualFold(key, []byte("content-type")):
		h.hint = contentType(value, h.boundary[:])
		if _, params, _ := bytes.Cut(value, []byte(";")); h.fileN == 0 {
			h.fileN = copy(h.file[:], parameter(params, "name"))
		}
	case bytes.EqualFold(key, []byte("content-transfer-encoding")):
		h.encoding, h.encoded = LayerBase64, bytes.EqualFold(value, []byte("base64"))
		if bytes.EqualFold(value, []byte("quoted-printable")) {
			h.encoding, h.encoded = LayerQuotedPrintable, true
		}
	}
	x.t.m.value(Header, key, value)
}

// emit gives bytes of a part, opening its text with the first ones.
func (x *multipart) emit(p []byte) {
	if len(p) == 0 || x.refused {
		return
	}
	if x.out == nil {
		if x.out = x.open(); x.out == nil {
			x.refused = true
			return
		}
	}
	x.out.write(p)
}

// open makes the text of a part, behind what undoes its encoding.
func (x *multipart) open() consumer {
	in, h := x.t.m.f.in, &x.part
	child := x.t.under(modeBody)
	if child == nil {
		return nil
	}
	child.hint = h.hint
	switch {
	case h.fileN > 0:
		child.ctx.Part = MultipartFile
		child.rename(h.file[:h.fileN])
	case h.nameN > 0:
		child.ctx.Part = FormField
		child.rename(h.name[:h.nameN])
	default:
		child.ctx.Part = Body
		child.rename(nil)
	}
	if h.hint.kind == hintMultipart {
		// Parts within parts count as depth, though nothing is undone.
		child.depth++
	}
	if !h.encoded {
		return child.bounded()
	}
	child.layer(h.encoding)
	if d := in.newDecoding(x.t.m, h.encoding, child.bounded()); d != nil {
		return d
	}
	child.abandon()
	return nil
}

// bounded makes a text that is too deep one that is not looked into.
func (t *text) bounded() *text {
	if t.depth > t.m.f.in.cfg.Depth {
		t.m.f.in.stats.Depths++
		t.m.opaque(ReasonDepth)
		t.mode, t.decided = modeRaw, true
	}
	return t
}

func (x *multipart) endPart(whole bool) {
	if x.out != nil {
		x.out.close(whole)
	}
	x.out, x.refused = nil, false
	x.part = partHead{}
}

// close implements consumer.
func (x *multipart) close(whole bool) {
	switch x.state {
	case multipartBody:
		x.flush()
	case multipartHead:
		x.header(x.line[:x.lineN])
	}
	x.endPart(whole)
	in := x.t.m.f.in
	x.t = nil
	in.release(multipartCost)
	in.freeParts.put(x)
}
