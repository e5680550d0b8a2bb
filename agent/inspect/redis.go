// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"unsafe"
)

// redis reads the serialisation protocol of Redis, versions 2 and 3, and commands as plain lines.
type redis struct {
	f    *flow
	half [2]redisHalf
}

type redisHalf struct {
	m *message
	// open is how many elements are to come, of the arrays around; depth how many arrays there are.
	open  [redisDepth]int64
	depth int
	// first says that the next string is a command's name.
	first bool
	// bulk says that a string is being read, of which left bytes are to come, and its line end after that.
	bulk bool
	left int64
	out  *text
	lost bool
}

const (
	redisDepth = 8
	redisCost  = int(unsafe.Sizeof(redis{}))
)

func newRedis(f *flow) parser {
	if !f.in.reserve(redisCost, f) {
		return f.refused()
	}
	return &redis{f: f}
}

// feed implements parser.
func (p *redis) feed(d Dir, data []byte) int {
	h := &p.half[d]
	if h.bulk {
		return p.content(d, data)
	}
	i := bytes.IndexByte(data, '\n')
	if i < 0 {
		return 0
	}
	p.line(d, bytes.TrimSuffix(data[:i], []byte{'\r'}))
	return i + 1
}

// overflow implements parser: a line that does not fit.
func (p *redis) overflow(d Dir, data []byte) int {
	p.line(d, data)
	return len(data)
}

// line takes a line: the head of an element, or a simple one.
func (p *redis) line(d Dir, line []byte) {
	h := &p.half[d]
	if len(line) == 0 {
		return
	}
	if h.lost && line[0] != '*' {
		p.f.in.stats.SkippedBytes += uint64(len(line))
		return
	}
	h.lost = false
	n, ok := number(line[1:], 10)
	switch line[0] {
	case '*', '~', '>', '%', '|':
		if !ok && string(line[1:]) != "-1" {
			p.malformed(d)
			return
		}
		if line[0] == '%' || line[0] == '|' {
			n *= 2
		}
		p.array(d, n)
	case '$', '=', '!':
		switch {
		case ok:
			h.bulk, h.left = true, n
			p.begin(d)
		case string(line[1:]) == "-1":
			p.element(d)
		default:
			p.malformed(d)
		}
	case '+', '-', ':', ',', '#', '(', '_':
		p.simple(d, line[1:])
	default:
		if d == p.f.client() && h.depth == 0 {
			p.inline(d, line)
		} else {
			p.malformed(d)
		}
	}
}

func (p *redis) malformed(d Dir) {
	p.f.in.stats.Malformed++
	p.end(d, false)
	p.half[d].lost = true
}

// array begins an array; one that is too deep is read as if its elements stood alone.
func (p *redis) array(d Dir, n int64) {
	h := &p.half[d]
	p.begin(d)
	h.first = d == p.f.client() && h.depth == 0
	if n == 0 || h.depth == redisDepth {
		p.element(d)
		return
	}
	h.open[h.depth] = n
	h.depth++
}

// begin opens the message of an outermost element.
func (p *redis) begin(d Dir) {
	if h := &p.half[d]; h.m == nil {
		h.m = p.f.begin(d, Redis)
	}
}

// element counts an element that is over; the last one of the outermost array closes the message.
func (p *redis) element(d Dir) {
	h := &p.half[d]
	for h.depth > 0 {
		if h.open[h.depth-1]--; h.open[h.depth-1] > 0 {
			return
		}
		h.depth--
	}
	p.end(d, true)
}

// part is what strings of a direction are.
func (p *redis) part(d Dir) Part {
	if d == p.f.client() {
		return Command
	}
	return Row
}

// simple takes an element of one line.
func (p *redis) simple(d Dir, value []byte) {
	p.begin(d)
	if m := p.half[d].m; m != nil && len(value) > 2 {
		m.value(p.part(d), m.method, value)
	}
	p.element(d)
}

// inline takes a command as people type it.
func (p *redis) inline(d Dir, line []byte) {
	h := &p.half[d]
	p.begin(d)
	if h.m != nil {
		verb, _, _ := bytes.Cut(line, []byte(" "))
		h.m.setMethod(verb)
		h.m.value(Command, verb, line)
	}
	p.end(d, true)
}

// content takes bytes of a string and the line end after it.
func (p *redis) content(d Dir, data []byte) int {
	h := &p.half[d]
	if h.left > 0 {
		n := int(min(h.left, int64(len(data))))
		p.bytes(d, data[:n])
		h.left -= int64(n)
		return n
	}
	if data[0] == '\r' && len(data) < 2 {
		return 0
	}
	n := 0
	if data[0] == '\r' {
		n++
	}
	if data[n] == '\n' {
		n++
	}
	h.bulk = false
	if h.out != nil {
		h.out.close(true)
		h.out = nil
	}
	h.first = false
	p.element(d)
	if n == 0 {
		p.malformed(d)
		return 1
	}
	return n
}

// bytes takes bytes of a string. The first one of a command is its name.
func (p *redis) bytes(d Dir, b []byte) {
	h := &p.half[d]
	if h.m == nil {
		p.f.in.stats.SkippedBytes += uint64(len(b))
		return
	}
	if h.first {
		h.m.setMethod(append(h.m.method[:len(h.m.method):methodMax], b[:min(len(b), methodMax-len(h.m.method))]...))
		return
	}
	if b = h.m.take(b); len(b) == 0 {
		return
	}
	if h.out == nil {
		if h.out = h.m.open(p.part(d), h.m.method, modeBody); h.out == nil {
			return
		}
	}
	h.out.write(b)
}

func (p *redis) end(d Dir, whole bool) {
	h := &p.half[d]
	if h.out != nil {
		h.out.close(whole)
	}
	if h.m != nil {
		h.m.end()
	}
	*h = redisHalf{}
}

// gap implements parser: within a string the rest of it is known, else the next array is looked for.
func (p *redis) gap(d Dir, waiting []byte, n int) {
	h := &p.half[d]
	if h.bulk && len(waiting) == 0 && n >= 0 && int64(n) <= h.left {
		if h.left -= int64(n); h.out != nil {
			h.out.close(false)
			h.out = nil
		}
		return
	}
	p.f.in.stats.Resynced++
	p.end(d, false)
	h.lost = true
}

// close implements parser.
func (p *redis) close() {
	p.end(Out, false)
	p.end(In, false)
	p.f.in.release(redisCost)
}
