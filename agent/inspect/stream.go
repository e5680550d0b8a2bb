// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"unsafe"
)

const (
	// segmentsMax bounds what waits in one direction of a flow in number, FlowBytes in bytes.
	segmentsMax  = 64
	segmentCost  = 2 * int(unsafe.Sizeof(segment{}))
	segmentsKept = 8
	gapUnknown   = 1 << 26
	sequenceSpan = 1 << 30
)

// segment is bytes that came before their turn; cut bytes after them were not captured.
type segment struct {
	seq  uint32
	data []byte
	cut  int
}

func (s *segment) end() uint32 { return s.seq + uint32(len(s.data)+s.cut) }

// before compares sequence numbers, which wrap around (RFC 9293, 3.4).
func before(a, b uint32) bool { return int32(a-b) < 0 }

// sequenced takes a piece with a TCP sequence number.
func (in *Inspector) sequenced(f *flow, p *Piece) {
	h := &f.half[p.Dir]
	data, cut := p.Data, max(p.Cut, 0)
	if !h.started {
		h.started, h.next = true, p.Sequence
	}
	ahead := int32(p.Sequence - h.next)
	switch {
	case ahead < -sequenceSpan || ahead > gapUnknown:
		// No window is that wide: the flow's numbers are other ones now.
		in.abandonGap(f, p.Dir)
		in.gap(f, p.Dir, -1)
		h.next = p.Sequence
	case ahead < 0:
		n := min(int(-ahead), len(data))
		in.stats.Repeated += uint64(n)
		data = data[n:]
		if n < int(-ahead) {
			cut = max(cut-(int(-ahead)-n), 0)
		}
	case ahead > 0:
		in.early(f, p.Dir, segment{p.Sequence, data, cut})
		return
	}
	if len(h.segs) > 0 && before(h.segs[0].seq, h.next+uint32(len(data)+cut)) {
		// Some of it came before, and that copy holds.
		in.insert(f, h, segment{h.next, data, cut})
	} else {
		in.advance(f, p.Dir, data, cut)
	}
	if len(h.segs) > 0 {
		in.drain(f, p.Dir)
	}
}

// advance delivers bytes whose turn it is.
func (in *Inspector) advance(f *flow, d Dir, data []byte, cut int) {
	h := &f.half[d]
	h.next += uint32(len(data) + cut)
	if len(data) > 0 {
		in.deliver(f, d, data)
	}
	if cut > 0 {
		in.gap(f, d, cut)
	}
}

// early keeps a segment for its turn. When the waiting ones are too many, the gap before them is given up.
func (in *Inspector) early(f *flow, d Dir, s segment) {
	h := &f.half[d]
	in.stats.OutOfOrder++
	if len(h.segs) == 0 {
		h.since = in.now
		in.gapped[f] = struct{}{}
	}
	if len(s.data) == 0 && s.cut == 0 {
		return
	}
	full := len(h.segs) >= segmentsMax || h.segBytes+len(s.data) > in.cfg.FlowBytes
	if !full {
		in.insert(f, h, s)
	}
	if full || in.now-h.since >= int64(in.cfg.GapWait) {
		in.skipGap(f, d)
		if full {
			again := Piece{Dir: d, Sequence: s.seq, Data: s.data, Cut: s.cut}
			in.stats.OutOfOrder--
			in.sequenced(f, &again)
		}
	}
	in.settleGap(f)
}

// insert puts a segment among the waiting ones. Of bytes that came twice the first copy is kept.
func (in *Inspector) insert(f *flow, h *half, s segment) {
	i := 0
	for ; i < len(h.segs); i++ {
		old := &h.segs[i]
		if !before(s.seq, old.end()) {
			continue
		}
		if !before(old.seq, s.end()) {
			break
		}
		if before(s.seq, old.seq) {
			n := min(int(old.seq-s.seq), len(s.data))
			front := segment{seq: s.seq, data: s.data[:n], cut: int(old.seq-s.seq) - n}
			if in.place(f, h, i, front) {
				i++
				old = &h.segs[i]
			}
			s = s.from(old.seq)
		}
		n := min(len(s.data), max(len(old.data)-int(s.seq-old.seq), 0))
		if n > 0 {
			at := int(s.seq - old.seq)
			in.stats.Repeated += uint64(n)
			if !bytes.Equal(old.data[at:at+n], s.data[:n]) {
				in.stats.Differing++
			}
		}
		if !before(old.end(), s.end()) {
			return
		}
		s = s.from(old.end())
	}
	in.place(f, h, i, s)
}

// from is what of a segment begins at a sequence number within it.
func (s segment) from(seq uint32) segment {
	n := int(seq - s.seq)
	have := min(n, len(s.data))
	return segment{seq: seq, data: s.data[have:], cut: s.cut - (n - have)}
}

// place copies a segment to its place, if there is memory.
func (in *Inspector) place(f *flow, h *half, i int, s segment) bool {
	if len(s.data) == 0 && s.cut == 0 || len(h.segs) > 2*segmentsMax {
		return false
	}
	buf := in.bufs.get(len(s.data))
	if !in.reserve(cap(buf)+segmentCost, f) {
		in.bufs.put(buf)
		in.stats.Refused++
		return false
	}
	s.data = append(buf, s.data...)
	h.segBytes += len(s.data)
	h.segs = append(h.segs, segment{})
	copy(h.segs[i+1:], h.segs[i:])
	h.segs[i] = s
	return true
}

func (in *Inspector) freeSegment(h *half, i int) {
	s := &h.segs[i]
	h.segBytes -= len(s.data)
	in.release(cap(s.data) + segmentCost)
	in.bufs.put(s.data)
	*s = segment{}
}

// drain delivers the waiting segments whose turn has come.
func (in *Inspector) drain(f *flow, d Dir) {
	h := &f.half[d]
	done := 0
	for done < len(h.segs) && !before(h.next, h.segs[done].seq) {
		s := h.segs[done]
		if before(h.next, s.end()) {
			s = s.from(h.next)
			in.advance(f, d, s.data, s.cut)
		} else {
			in.stats.Repeated += uint64(len(s.data))
		}
		in.freeSegment(h, done)
		done++
	}
	if done > 0 {
		n := copy(h.segs, h.segs[done:])
		clear(h.segs[n:])
		if h.segs = h.segs[:n]; n == 0 && cap(h.segs) > segmentsKept {
			h.segs = nil // It is charged for by what is in it.
		}
		h.since = in.now
	}
	in.settleGap(f)
}

// skipGap gives up the bytes before the first waiting segment.
func (in *Inspector) skipGap(f *flow, d Dir) {
	h := &f.half[d]
	if len(h.segs) == 0 {
		return
	}
	missing := int(h.segs[0].seq - h.next)
	h.next = h.segs[0].seq
	if missing > 0 {
		in.gap(f, d, missing)
	}
	in.drain(f, d)
}

// abandonGap delivers all that waits, with its gaps.
func (in *Inspector) abandonGap(f *flow, d Dir) {
	for len(f.half[d].segs) > 0 {
		in.skipGap(f, d)
	}
}

func (in *Inspector) settleGap(f *flow) {
	if len(f.half[Out].segs) == 0 && len(f.half[In].segs) == 0 {
		delete(in.gapped, f)
	}
}

// gap tells the parser that n bytes are missing; n is negative when nobody knows how many.
func (in *Inspector) gap(f *flow, d Dir, n int) {
	h := &f.half[d]
	h.heard = true
	in.stats.Gaps++
	in.stats.GapBytes += uint64(max(n, 0))
	waiting := h.pend
	if f.parser != nil {
		f.parser.gap(d, waiting, n)
	}
	in.unpend(h)
}

// deliver gives bytes in order to the parser and keeps what it does not take yet.
func (in *Inspector) deliver(f *flow, d Dir, data []byte) {
	h := &f.half[d]
	h.heard = true
	for len(data) > 0 {
		if len(h.pend) == 0 {
			data = data[in.feed(f, d, data):]
			if len(data) == 0 {
				return
			}
		}
		had := len(h.pend)
		rest, ok := in.pend(f, d, data)
		if !ok {
			return
		}
		if had == 0 && len(h.pend) < in.cfg.FlowBytes {
			return
		}
		n := in.chew(f, d)
		if had > 0 && n >= had {
			// What is left is all of the new bytes: no need to keep it before it is tried.
			in.unpend(h)
			data = data[n-had:]
			continue
		}
		h.pend = h.pend[:copy(h.pend, h.pend[n:])]
		data = rest
	}
	if len(h.pend) == 0 {
		in.unpend(h)
	}
}

// chew feeds what waits, and makes the parser take what does not fit. It returns how much was taken.
func (in *Inspector) chew(f *flow, d Dir) int {
	h := &f.half[d]
	total := 0
	for total < len(h.pend) {
		n := in.feed(f, d, h.pend[total:])
		if n == 0 && total == 0 && len(h.pend) >= in.cfg.FlowBytes {
			in.stats.LongFields++
			n = in.overflow(f, d, h.pend)
		}
		if n == 0 {
			break
		}
		total += n
	}
	return total
}

// again feeds what waits in a direction after the parser changed.
func (in *Inspector) again(f *flow, d Dir) {
	h := &f.half[d]
	if n := in.chew(f, d); n > 0 {
		if h.pend = h.pend[:copy(h.pend, h.pend[n:])]; len(h.pend) == 0 {
			in.unpend(h)
		}
	}
}

// pend keeps bytes until more come, up to FlowBytes, and returns what did not fit. Without memory the bytes are a gap,
// and ok is false.
func (in *Inspector) pend(f *flow, d Dir, data []byte) (rest []byte, ok bool) {
	h := &f.half[d]
	n := min(in.cfg.FlowBytes-len(h.pend), len(data))
	if need := len(h.pend) + n; need > cap(h.pend) {
		buf := in.bufs.get(need)
		if !in.reserve(cap(buf), f) {
			in.bufs.put(buf)
			in.stats.Refused++
			in.gap(f, d, len(data))
			return nil, false
		}
		buf = append(buf, h.pend...)
		in.unpend(h)
		h.pend = buf
	}
	h.pend = append(h.pend, data[:n]...)
	return data[n:], true
}

func (in *Inspector) unpend(h *half) {
	if cap(h.pend) > 0 {
		in.release(cap(h.pend))
		in.bufs.put(h.pend)
		h.pend = nil
	}
}

// feed lets the parser take what it can; a parser may have handed over to another.
func (in *Inspector) feed(f *flow, d Dir, data []byte) int {
	in.stats.Scanned += uint64(len(data))
	total := 0
	for total < len(data) {
		if f.parser == nil && !in.decide(f, in.guess(f, d, data[total:], false)) {
			break
		}
		n := f.parser.feed(d, data[total:])
		if n == 0 {
			break
		}
		total += n
	}
	return total
}

// overflow makes a parser take something that does not fit.
func (in *Inspector) overflow(f *flow, d Dir, data []byte) int {
	if f.parser == nil {
		in.decide(f, in.guess(f, d, data, true))
	}
	if n := in.feed(f, d, data); n > 0 {
		return n
	}
	return f.parser.overflow(d, data)
}
