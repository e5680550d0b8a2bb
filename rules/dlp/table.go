// SPDX-License-Identifier: Apache-2.0

package dlp

import "bytes"

const (
	// maxColumns bounds the columns of a table that are looked at for detectors with After, maxTitle the length of their
	// titles, and maxRow that of a line: what has a longer one is no table.
	maxColumns = 16
	maxTitle   = 48
	maxRow     = 1024
)

// tableState is how far a text was read as a table for the detectors whose value follows a word: there the word is the
// title of the column.
type tableState struct {
	pos         int  // the start of the next row
	begun, over bool // the first line was read; there is nothing to look for any more
	delimiter   byte
	width       int // delimiters of the first line
	columns     int // of list
	list        [maxColumns]tableColumn
}

type tableColumn struct {
	column   int
	detector int32
}

// runTable looks at the rows that are there as a whole.
func (st *state) runTable(text []byte) {
	t := &st.table
	for t.begun && !t.over && t.pos < len(text) {
		n := bytes.IndexByte(text[t.pos:], '\n')
		whole := n >= 0
		if !whole {
			n = len(text) - t.pos
		}
		if n > maxRow {
			t.over = true
			return
		}
		if !whole && !st.final {
			return
		}
		st.row(text, t.pos, t.pos+n)
		t.pos += n + 1
	}
}

// beginTable reads the first line once it is whole.
func (st *state) beginTable() {
	t, n := &st.table, len(st.header)
	if n == 0 || st.header[n-1] != '\n' {
		return
	}
	t.begun, t.over = true, true
	t.pos = int(int64(n) - st.base)
	if t.delimiter = delimiterOf(st.header); t.delimiter == 0 || t.pos < 0 {
		return
	}
	t.width = bytes.Count(st.header, []byte{t.delimiter})
	for at, column := 0, 0; column <= t.width; column++ {
		end := n
		if i := bytes.IndexByte(st.header[at:], t.delimiter); i >= 0 {
			end = at + i
		}
		if end-at <= maxTitle {
			st.addColumns(column, at, end)
		}
		at = end + 1
	}
	t.over = t.columns == 0
}

// addColumns enters the detectors that have a word in the title of a column.
func (st *state) addColumns(column, from, to int) {
	t, set := &st.table, st.near.title
	clear(set)
	st.m.words.mark(set, st.header, from, to, -1)
	for _, d := range st.m.announced {
		if set.has(d) && t.columns < maxColumns {
			t.list[t.columns] = tableColumn{column, d}
			t.columns++
		}
	}
}

// row looks at the cells of a row of the table, which has as many as the first line.
func (st *state) row(text []byte, from, to int) {
	t := &st.table
	var starts [maxColumns]int
	var ends [maxColumns]int
	column, cell, quoted := 0, from, false
	for i := from; i <= to; i++ {
		if i < to {
			if text[i] == '"' {
				quoted = !quoted
			}
			if quoted || text[i] != t.delimiter {
				continue
			}
		}
		for k := range t.columns {
			if t.list[k].column == column {
				starts[k], ends[k] = cell, i
			}
		}
		column, cell = column+1, i+1
	}
	if column != t.width+1 {
		return
	}
	// The cell is all there is to it: a value does not go on behind it, nor is it what a word in the text announces.
	final := st.final
	st.final = true
	for k := range t.columns {
		d := t.list[k].detector
		end := st.ends[d]
		st.value(text[:ends[k]], starts[k], d)
		st.ends[d] = end
	}
	st.final = final
}

// titled reports whether a place is the end of the first line of a table that has a column for the detector: a word
// before it announces what stands in the column, not the next line's beginning.
func (st *state) titled(at int, detector int32) bool {
	t := &st.table
	if st.base+int64(at) != int64(len(st.header))-1 {
		return false
	}
	for _, c := range t.list[:t.columns] {
		if c.detector == detector {
			return true
		}
	}
	return false
}

// runField looks for a value at the start of a text whose field's name announces it. It is false if only more text can
// decide.
func (st *state) runField(text []byte) bool {
	if len(st.named) == 0 || len(text) == 0 {
		return len(st.named) == 0 || st.final
	}
	st.nameWords()
	for _, d := range st.m.announced {
		if st.near.inName.has(d) && st.ends[d] == 0 && !st.value(text, 0, d) {
			return false
		}
	}
	return true
}
