// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"bytes"
	"math/bits"
)

const (
	// MaxMatch bounds the length of a match: of a longer value the beginning is the match.
	MaxMatch = 3072
	// lookback is how much text before a place may matter to what stands there.
	lookback = 512
	// foresight is how many bytes behind a place the filter has to know.
	foresight = 4
	// headerBytes bounds the first line of a table, lineBytes how far into a line its columns are counted.
	headerBytes = 512
	lineBytes   = 256
	// workPerByte and workFree bound how many bytes of patterns are looked at per byte of text, against texts that are
	// made of beginnings; beyond it a pattern is followed for workShort bytes.
	workPerByte = 32
	workFree    = 64 << 10
	workShort   = 96
)

// state is a scan under way. Its positions are in the text at hand, whose first byte is at base of the whole.
type state struct {
	m     *Matcher
	final bool // no text comes after the one at hand
	base  int64
	pos   int // the next place to look at
	done  int // groups of letters and digits before it are dealt with
	exact exactState
	near  nearness
	table tableState
	field bool // the start of the text was looked at for what the field's name announces

	work, pending int64
	// ends is, per detector, where its last match ended in the whole text; counted where the last candidate for bulk
	// began, and good and bad how many passed the check and how many did not.
	ends, counted []int64
	good, bad     []uint32

	header []byte
	named  []byte // the name that was given for the text
	norm   [maxTemplate]byte

	matches []Match
	stream  *Stream
}

func newState(m *Matcher) *state {
	n := len(m.detectors)
	return &state{
		m: m, ends: make([]int64, n), counted: make([]int64, n), good: make([]uint32, n), bad: make([]uint32, n),
		header: make([]byte, 0, headerBytes), named: make([]byte, 0, maxWindow), near: newNearness(n),
	}
}

// reset prepares for a new text.
func (st *state) reset() {
	st.final, st.base, st.pos, st.done, st.work, st.pending = false, 0, 0, 0, 0, 0
	clear(st.ends)
	clear(st.counted)
	clear(st.good)
	clear(st.bad)
	st.header, st.named = st.header[:0], st.named[:0]
	st.near.reset()
	st.table, st.field = tableState{}, false
	st.exact = exactState{}
	st.matches, st.stream = nil, nil
}

// name takes the words of a field's name as near to all of its text.
func (st *state) name(name []byte) {
	st.named = append(st.named[:0], name[:min(len(name), maxWindow)]...)
	st.near.named = false
}

// Scan appends the matches in text, which is one whole message or part, in no particular order, and allocates nothing
// but what dst grows by. Of matches of one detector that overlap only the first counts.
func (m *Matcher) Scan(dst []Match, text []byte) []Match { return m.ScanNamed(dst, nil, text) }

// ScanNamed is Scan for the value of a field: words in the field's name count as near to all of it.
func (m *Matcher) ScanNamed(dst []Match, name, text []byte) []Match {
	st, _ := m.states.Get().(*state)
	if st == nil {
		st = newState(m)
	}
	st.reset()
	st.name(name)
	st.final, st.matches = true, dst
	st.header = appendHeader(st.header, text)
	st.run(text)
	dst = st.matches
	st.matches = nil
	m.states.Put(st)
	return dst
}

// appendHeader adds the rest of the first line.
func appendHeader(header, text []byte) []byte {
	n := min(headerBytes-len(header), len(text))
	if i := bytes.IndexByte(text[:n], '\n'); i >= 0 {
		n = i + 1
	}
	return append(header, text[:n]...)
}

// run looks at the text from where it was left, up to its end or to the first place that only more text can decide.
func (st *state) run(text []byte) {
	st.near.known = false
	if !st.table.begun {
		st.beginTable()
	}
	if st.field = st.field || st.runField(text); st.field {
		st.runFilter(text)
	}
	st.runTable(text)
	if st.m.exact != nil {
		st.runExact(text)
	}
}

// runFilter visits the places that the filter finds from pos on.
func (st *state) runFilter(text []byte) {
	limit := len(text)
	if !st.final {
		limit -= foresight
	}
	for st.pos < limit {
		// At even distances from the start of the whole text, as base is even.
		at := st.pos &^ 1
		numbers, literals := st.look(text[at:])
		places := (numbers | literals) >> (st.pos - at) << (st.pos - at)
		for ; places != 0; places &= places - 1 {
			k := bits.TrailingZeros64(places)
			if at+k >= limit {
				break
			}
			if !st.visit(text, at+k, numbers>>k&1 != 0, literals>>k&1 != 0) {
				st.pos = at + k
				return
			}
		}
		st.pos = min(at+window, limit)
	}
}

// look is what the filter says of the beginning of a text.
func (st *state) look(text []byte) (numbers, literals uint64) {
	if len(text) >= window+margin {
		return st.m.filter.look((*[window + margin]byte)(text))
	}
	var padded [window + margin]byte
	copy(padded[:], text)
	return st.m.filter.look(&padded)
}

// visit looks at what may stand at a place. It is false if that cannot be decided before more text comes; it is then
// called again, and what it reported already it does not report twice.
func (st *state) visit(text []byte, i int, number, literal bool) bool {
	st.pending = 0
	if number && i >= st.done && i+2 < len(text) && (isDigit(text[i+2]) || paired(text, i)) && !st.group(text, i) {
		return false
	}
	if !literal {
		return true
	}
	gram := code(text[i])
	for k := 1; k < 3 && i+k < len(text); k++ {
		gram |= code(text[i+k]) << (k * codeBits)
	}
	b := st.m.filter.bucket(gram)
	if i > 0 && b.before&(1<<(text[i-1]&63)) == 0 || i+3 < len(text) && b.after&(1<<(text[i+3]&63)) == 0 {
		return true
	}
	for _, p := range b.anchors {
		a := &st.m.anchors[p.anchor]
		start := i - int(p.distance)
		if start < 0 {
			continue
		}
		if start+len(a.text) > len(text) {
			if !st.final && st.begins(text[start:], a) {
				return false
			}
			continue
		}
		if !equalAnchor(text[start:], a) {
			continue
		}
		decided := true
		switch a.kind {
		case anchorPattern:
			decided = st.pattern(text, start, a)
		case anchorAfter:
			decided = st.after(text, start, a)
		case anchorEmail:
			decided = st.email(text, start, a)
		}
		if !decided {
			return false
		}
	}
	st.work += st.pending
	return true
}

func equalAnchor(text []byte, a *anchor) bool {
	if a.fold {
		return equalFold(text, a.text)
	}
	return string(text[:len(a.text)]) == string(a.text)
}

// begins reports whether a text that is shorter than an anchor begins it.
func (st *state) begins(text []byte, a *anchor) bool {
	if a.fold {
		return equalFold(text, a.text[:len(text)])
	}
	return string(text) == string(a.text[:len(text)])
}

// limit is how far a pattern that starts at start is followed.
func (st *state) limit(text []byte, start int) (limit int, cut bool) {
	most := MaxMatch
	if st.work > workPerByte*(st.base+int64(start))+workFree {
		most = workShort
	}
	if start+most <= len(text) {
		return start + most, true
	}
	return len(text), st.final
}

// match runs a program from start. open says that more text could change the outcome.
func (st *state) match(text []byte, p *program, start int) (end int, open bool) {
	if p.wordStart && start > 0 && isWord(text[start-1]) {
		return -1, false
	}
	limit, cut := st.limit(text, start)
	end, open, steps := p.longest(text, start, limit)
	st.pending += int64(steps)
	if open && !cut {
		return end, true
	}
	if end < 0 || !p.wordEnd || end == limit && open {
		return end, false
	}
	if end < len(text) && isWord(text[end]) {
		return -1, false
	}
	return end, false
}

// pattern looks for a match around a literal that stands at at.
func (st *state) pattern(text []byte, at int, a *anchor) bool {
	for start := max(0, at-a.max); start <= at-a.min; start++ {
		if st.base+int64(start) < st.ends[a.detector] {
			continue
		}
		end, open := st.match(text, a.program, start)
		if open {
			return false
		}
		if end < at+len(a.text) {
			continue
		}
		decided, found := st.judge(text, a.detector, start, end)
		if !decided {
			return false
		}
		if found {
			break
		}
	}
	return true
}

// judge checks the value of a pattern and reports it.
func (st *state) judge(text []byte, detector int32, start, end int) (decided, found bool) {
	d := &st.m.detectors[detector]
	value := text[start:end]
	if c := st.m.checks[detector]; c != nil && !c(value) {
		return true, false
	}
	confidence := d.Confidence
	if len(d.Words) > 0 && d.Alone != d.Confidence {
		near, open := st.nearby(text, detector, start, end)
		if open {
			return false, false
		}
		if !near {
			confidence = d.Alone
		}
	}
	if confidence < Reported {
		return true, false
	}
	st.report(text, detector, start, end, confidence, value)
	return true, true
}

// report hands a match out. norm is the value as it is hashed.
func (st *state) report(text []byte, detector int32, start, end int, confidence uint8, norm []byte) {
	st.ends[detector] = st.base + int64(end)
	mt := Match{detector, int32(start), int32(end), confidence, st.m.key.sum(norm)}
	if st.stream != nil {
		st.stream.report(mt, text)
		return
	}
	st.matches = append(st.matches, mt)
}
