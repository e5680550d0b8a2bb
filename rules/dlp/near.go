// SPDX-License-Identifier: Apache-2.0

package dlp

import "bytes"

// nearness is which detectors have a word near the value at hand, found out once for all that consider it: most numbers
// pass the checks of several.
type nearness struct {
	// known says that start, end and what follows are those of the text at hand; looked that the text after end was
	// looked at too.
	known, looked bool
	start, end    int
	near, after   detectorSet
	// named says that inName is that of the field's name, and delimited that delimiter is that of the header.
	named, delimited bool
	inName           detectorSet
	delimiter        byte
	// title is scratch space for the words of a column's title.
	title detectorSet
}

func newNearness(detectors int) nearness {
	n := (detectors + 63) / 64
	return nearness{near: make(detectorSet, n), after: make(detectorSet, n), inName: make(detectorSet, n),
		title: make(detectorSet, n)}
}

// reset prepares for a new text.
func (n *nearness) reset() { n.known, n.named, n.delimited = false, false, false }

// detectorSet has a bit for each detector.
type detectorSet []uint64

func (s detectorSet) add(detector int32) { s[detector>>6] |= 1 << (detector & 63) }

func (s detectorSet) has(detector int32) bool { return s[detector>>6]>>(detector&63)&1 != 0 }

// nearby reports whether a word of the detector stands near a value, in the name of its field, or over its column.
func (st *state) nearby(text []byte, detector int32, start, end int) (near, open bool) {
	n, w := &st.near, st.m.words
	if !n.known || n.start != start {
		n.known, n.looked, n.start = true, false, start
		clear(n.near)
		w.mark(n.near, text, max(0, start-w.window-maxWord), start, start)
		st.markName(n)
		st.markColumn(n, text, start)
	}
	if n.near.has(detector) {
		return true, false
	}
	if end+ahead+2 > len(text) && !st.final {
		return false, true
	}
	if !n.looked || n.end != end {
		n.looked, n.end = true, end
		clear(n.after)
		w.mark(n.after, text, end, min(len(text), end+ahead), -1)
	}
	return n.after.has(detector), false
}

// markName adds the detectors that have a word in the field's name.
func (st *state) markName(n *nearness) {
	if len(st.named) == 0 {
		return
	}
	st.nameWords()
	for i, bits := range n.inName {
		n.near[i] |= bits
	}
}

// nameWords finds the words of the field's name.
func (st *state) nameWords() {
	if n := &st.near; !n.named {
		n.named = true
		clear(n.inName)
		st.m.words.mark(n.inName, st.named, 0, len(st.named), -1)
	}
}

// markColumn adds the detectors that have a word over the column of a value, where the text is a table with a first
// line that names its columns.
func (st *state) markColumn(n *nearness, text []byte, start int) {
	if k := len(st.header); k < 2 || st.header[k-1] != '\n' {
		return
	}
	if !n.delimited {
		n.delimited, n.delimiter = true, delimiterOf(st.header)
	}
	if n.delimiter == 0 {
		return
	}
	from := max(0, start-lineBytes)
	line := bytes.LastIndexByte(text[from:start], '\n')
	if line < 0 {
		return
	}
	column := 0
	quoted := false
	for _, b := range text[from+line+1 : start] {
		if b == '"' {
			quoted = !quoted
		} else if b == n.delimiter && !quoted {
			column++
		}
	}
	at := 0
	for ; column > 0; column-- {
		i := bytes.IndexByte(st.header[at:], n.delimiter)
		if i < 0 {
			return
		}
		at += i + 1
	}
	to := len(st.header)
	if i := bytes.IndexByte(st.header[at:], n.delimiter); i >= 0 {
		to = at + i
	}
	st.m.words.mark(n.near, st.header, at, to, -1)
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
