// SPDX-License-Identifier: Apache-2.0

package dlp

// shape is a template where a group of letters and digits may be its trigger.
type shape struct {
	detector int32
	template *template
	at       int // distance of the group from the number's start
	width    int // of the group
	// far is how far behind the group's end the last digit of the next group stands, 0 if that is none.
	far int
}

// shapeIndex is where the shapes are of a group of a width, with a separator behind it, of digits alone or not.
func shapeIndex(width, sep int, plain bool) int {
	if plain {
		sep += separators
	}
	return width*2*separators + sep
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
	plain := allDigits(text[s:e])
	shapes := m.shapes[shapeIndex(width, sep, plain)]
	for k := range shapes {
		sh := &shapes[k]
		if sh.far > 0 && e+sh.far < len(text) && !isDigit(text[e+sh.far]) {
			continue
		}
		if !st.number(text, s-sh.at, sh) {
			return false
		}
	}
	if plain && len(m.bare[width]) > 0 && !st.bareNumber(text, s, e, m.bare[width]) {
		return false
	}
	if m.iban >= 0 && !st.accounts(text, s, width, sep) {
		return false
	}
	st.done = e
	return true
}

// paired reports whether two digits alone may be a group of two of a number, or stand behind the country of an account.
func paired(text []byte, i int) bool {
	if i > 1 && isUpper(text[i-1]) && isUpper(text[i-2]) {
		return true
	}
	return i+4 < len(text) && isDigit(text[i+3]) && isDigit(text[i+4]) && separator(text[i+2]) > 0
}

// bareNumber looks at a group of digits alone for the detectors that have numbers of its length without separators.
func (st *state) bareNumber(text []byte, start, end int, detectors []int32) bool {
	if ok, open := bounded(text, start, end); !ok || open && !st.final {
		return !ok
	}
	for _, d := range detectors {
		if st.base+int64(start) >= st.ends[d] && !st.weigh(text, d, start, end, text[start:end], false) {
			return false
		}
	}
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
	return st.weigh(text, sh.detector, start, end, normalise(st.norm[:0], text[start:end]), sh.template.grouped)
}

// weigh checks a number, whose letters and digits are norm, and reports it if there is evidence enough.
func (st *state) weigh(text []byte, detector int32, start, end int, norm []byte, grouped bool) bool {
	d := &st.m.detectors[detector]
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
		return !ok || (!open || st.final) && st.weigh(text, d, s, s+n, normalise(st.norm[:0], text[s:s+n]), true)
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
	return !ok || (!open || st.final) && st.weigh(text, d, start, end, normalise(st.norm[:0], text[start:end]), true)
}
