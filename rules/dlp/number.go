// SPDX-License-Identifier: Apache-2.0

package dlp

import "bytes"

// shape is a template where a group of letters and digits may be its trigger.
type shape struct {
	detector int32
	template *template
	at       int // distance of the group from the number's start
	// next is what the template has behind the byte that follows the group, 0 if it ends before.
	next byte
}

// group looks at the group of letters and digits around a pair of digits. It is false if only more text can decide.
func (st *state) group(text []byte, i int) bool {
	m := st.m
	s, e := i, i+2
	for s > 0 && i-s < maxGroup+4 && m.alnum[text[s-1]] {
		s--
	}
	for e < len(text) && m.alnum[text[e]] {
		e++
	}
	width := e - s
	if width > maxGroup {
		st.done = e
		return true
	}
	sep := 0
	if e < len(text) {
		sep = separator(text[e])
	} else if !st.final {
		return false
	}
	shapes := m.shapes[width*separators+sep]
	for k := range shapes {
		if shapes[k].next == '9' && e+1 < len(text) && !isDigit(text[e+1]) {
			continue
		}
		if !st.number(text, s-shapes[k].at, &shapes[k]) {
			return false
		}
	}
	if m.iban >= 0 && !st.accounts(text, s, width, sep) {
		return false
	}
	st.done = e
	return true
}

// number looks at a number of a shape.
func (st *state) number(text []byte, start int, sh *shape) bool {
	if start < 0 || st.base+int64(start) < st.ends[sh.detector] {
		return true
	}
	ok, open := sh.template.fits(text, start)
	if !ok {
		return !open || st.final
	}
	end := start + len(sh.template.text)
	if ok, open = bounded(text, start, end); !ok || open && !st.final {
		return !ok
	}
	if sh.template.grouped && sh.detector == st.m.card {
		if ok, open = alignedGroups(text, start, end, st.final); !ok || open {
			return !ok
		}
	}
	return st.weigh(text, sh.detector, start, end, sh.template.grouped)
}

// weigh checks a number and reports it if there is evidence enough.
func (st *state) weigh(text []byte, detector int32, start, end int, grouped bool) bool {
	d := &st.m.detectors[detector]
	norm := normalise(st.norm[:0], text[start:end])
	first := st.base+int64(start) >= st.counted[detector]
	if c := st.m.checks[detector]; c != nil && !c(norm) {
		if first {
			st.counted[detector] = st.base + int64(start) + 1
			st.bad[detector]++
		}
		return true
	}
	confidence := d.Confidence
	if len(d.Words) > 0 {
		near, open := st.nearby(text, detector, start, end)
		switch {
		case open:
			return false
		case near:
		case grouped:
			confidence = d.Grouped
		default:
			confidence = d.Alone
		}
	}
	if first {
		st.counted[detector] = st.base + int64(start) + 1
		st.good[detector]++
	}
	if confidence < Reported && d.Bulk > 0 && st.good[detector] >= uint32(d.Bulk) && st.bad[detector]*8 <= st.good[detector] {
		confidence = Reported + 10
	}
	if confidence >= Reported {
		st.report(text, detector, start, end, confidence, norm)
	}
	return true
}

// normalise keeps letters and digits, letters as capitals.
func normalise(dst, value []byte) []byte {
	for _, b := range value {
		if isAlnum(b) && len(dst) < maxTemplate {
			dst = append(dst, upper(b))
		}
	}
	return dst
}

// nearby reports whether a word of the detector stands near a value, in the name of its field, or over its column.
func (st *state) nearby(text []byte, detector int32, start, end int) (near, open bool) {
	w, window := st.m.words, st.m.detectors[detector].Window
	if d := w.look(text, max(0, start-window-maxWord), start, detector, true); d >= 0 && d <= window {
		return true, false
	}
	if len(st.named) > 0 && w.look(st.named, 0, len(st.named), detector, false) >= 0 {
		return true, false
	}
	if st.column(text, detector, start) {
		return true, false
	}
	if end+ahead+2 > len(text) && !st.final {
		return false, true
	}
	return w.look(text, end, min(len(text), end+ahead), detector, false) >= 0, false
}

// column reports whether the text is a table whose first line has a word of the detector over the column of a value.
func (st *state) column(text []byte, detector int32, start int) bool {
	if n := len(st.header); n < 2 || st.header[n-1] != '\n' {
		return false
	}
	from := max(0, start-lineBytes)
	line := bytes.LastIndexByte(text[from:start], '\n')
	if line < 0 {
		return false
	}
	delimiter := delimiterOf(st.header)
	if delimiter == 0 {
		return false
	}
	column := 0
	quoted := false
	for _, b := range text[from+line+1 : start] {
		if b == '"' {
			quoted = !quoted
		} else if b == delimiter && !quoted {
			column++
		}
	}
	at := 0
	for ; column > 0; column-- {
		i := bytes.IndexByte(st.header[at:], delimiter)
		if i < 0 {
			return false
		}
		at += i + 1
	}
	to := len(st.header)
	if i := bytes.IndexByte(st.header[at:], delimiter); i >= 0 {
		to = at + i
	}
	return st.m.words.look(st.header, at, to, detector, false) >= 0
}

// delimiterOf is what separates the columns of a header line, 0 if nothing does.
func delimiterOf(header []byte) byte {
	var counts [4]int
	for _, b := range header {
		switch b {
		case ',':
			counts[0]++
		case '\t':
			counts[1]++
		case ';':
			counts[2]++
		case '|':
			counts[3]++
		}
	}
	best := byte(0)
	most := 0
	for i, n := range counts {
		if n > most {
			best, most = ",\t;|"[i], n
		}
	}
	return best
}

// alignedGroups reports whether a card of four groups of four is none of a longer row of such groups: but for one more
// group that can be its expiry, or where the row is one of cards.
func alignedGroups(text []byte, start, end int, final bool) (ok, open bool) {
	sep := text[start+4]
	if end-start != 19 || text[start+9] != sep {
		return true, false
	}
	before := 0
	for s := start; s >= 5 && before < longRow && text[s-1] == sep && allDigits(text[s-5:s-1]); s -= 5 {
		before++
	}
	after := 0
	for e := end; after < longRow; e += 5 {
		if e+6 > len(text) && !final {
			return true, true
		}
		if e+5 > len(text) || text[e] != sep || !allDigits(text[e+1:e+5]) {
			break
		}
		after++
	}
	var norm [16]byte
	switch {
	case before == 0 && after == 0:
		return true, false
	case before == 0 && after == 1:
		month := num(text[end+1 : end+3])
		return month >= 1 && month <= 12, false
	case before%4 != 0 || after%4 != 0:
		return false, false
	case before > 0:
		return cardNumber(normalise(norm[:0], text[start-20:start-1])), false
	default:
		return cardNumber(normalise(norm[:0], text[end+1:end+20])), false
	}
}

// longRow is how many groups on either side of a card are counted.
const longRow = 12

func allDigits(text []byte) bool {
	for _, b := range text {
		if !isDigit(b) {
			return false
		}
	}
	return true
}

// accounts looks for an IBAN at a group: written without spaces, or in groups of four of which this is one.
func (st *state) accounts(text []byte, s, width, sep int) bool {
	d := st.m.iban
	if width >= 15 {
		n := ibanLength(text[s:])
		if n != width || st.base+int64(s) < st.ends[d] {
			return true
		}
		ok, open := bounded(text, s, s+n)
		return !ok || (!open || st.final) && st.weigh(text, d, s, s+n, true)
	}
	if width != 4 || sep != 1 && sep != 2 {
		return true
	}
	space := text[s+4]
	start := s
	for k := 0; k < 7 && ibanLength(text[start:]) == 0; k++ {
		if start < 5 || text[start-1] != space {
			return true
		}
		start -= 5
	}
	n := ibanLength(text[start:])
	if n == 0 || st.base+int64(start) < st.ends[d] {
		return true
	}
	end := start
	for k := range n {
		if k > 0 && k%4 == 0 {
			if end < len(text) && text[end] != space {
				return true
			}
			end++
		}
		if end >= len(text) {
			return st.final
		}
		if !isAlnum(text[end]) {
			return true
		}
		end++
	}
	ok, open := bounded(text, start, end)
	return !ok || (!open || st.final) && st.weigh(text, d, start, end, true)
}
