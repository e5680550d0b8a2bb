// SPDX-License-Identifier: Apache-2.0

package term

import (
	"bufio"
	"io"
	"strings"
)

// Style is how a cell looks on a terminal with colours; without them every style is Plain.
type Style uint8

// The styles. Colours are the terminal's own sixteen, so that they follow its theme.
const (
	Plain Style = iota
	Bold
	Dim
	Red
	BoldRed
	Yellow
	Green
	Cyan
)

// Paint returns s in the style, with the sequence that ends it. s must have been escaped.
func (s Style) Paint(text string) string {
	codes := [...]string{Bold: "1", Dim: "2", Red: "31", BoldRed: "1;31", Yellow: "33", Green: "32", Cyan: "36"}
	if s == Plain || int(s) >= len(codes) || text == "" {
		return text
	}
	return "\x1b[" + codes[s] + "m" + text + "\x1b[0m"
}

// Cell is one field of a row. The text may be anything: the table escapes it.
type Cell struct {
	Text  string
	Style Style
}

// Column describes one column of a table.
type Column struct {
	Title string
	// Max is the most columns it takes; 0 means no bound.
	Max int
	// Right aligns to the right, for numbers.
	Right bool
}

// Layout says for whom a table is laid out.
type Layout struct {
	Columns []Column
	// Colour allows styles.
	Colour bool
	// Width cuts the last column so that no line is longer, unless hardly anything of it would be left; 0 means lines of
	// any length.
	Width int
	// NoHeader leaves the titles out.
	NoHeader bool
}

// gap separates columns.
const gap = "  "

// minLast is the least that the last column is cut to.
const minLast = 16

// pending is how many rows a table holds back to measure them; a longer table is laid out in portions.
const pending = 500

// Table writes rows in aligned columns. Rows are held back until Flush, or until there are several hundred of them, to
// measure them; columns only ever grow, so that a stream flushed row by row settles. It is not for concurrent use.
type Table struct {
	layout Layout
	out    *bufio.Writer
	widths []int
	rows   [][]Cell
	titled bool
}

// NewTable returns a table that writes to w.
func NewTable(w io.Writer, layout Layout) *Table {
	t := &Table{layout: layout, out: bufio.NewWriter(w), widths: make([]int, len(layout.Columns))}
	if !layout.NoHeader {
		for i, c := range layout.Columns {
			t.widths[i] = Width(c.Title)
		}
	}
	return t
}

// Row adds a row, one cell a column; missing cells are empty, further ones are left out.
func (t *Table) Row(cells ...Cell) error {
	row := make([]Cell, len(t.layout.Columns))
	copy(row, cells)
	for i := range row {
		row[i].Text = Escape(row[i].Text)
		if limit := t.layout.Columns[i].Max; limit > 0 {
			row[i].Text = Truncate(row[i].Text, limit)
		}
		t.widths[i] = max(t.widths[i], Width(row[i].Text))
	}
	t.rows = append(t.rows, row)
	if len(t.rows) >= pending {
		return t.Flush()
	}
	return nil
}

// Flush writes the rows that are held back, and the titles before the first of them.
func (t *Table) Flush() error {
	if !t.titled && !t.layout.NoHeader {
		titles := make([]Cell, len(t.layout.Columns))
		for i, c := range t.layout.Columns {
			titles[i] = Cell{Text: c.Title, Style: Dim}
		}
		t.write(titles)
	}
	t.titled = true
	for _, row := range t.rows {
		t.write(row)
	}
	t.rows = t.rows[:0]
	return t.out.Flush()
}

// write leaves its errors to the Flush of the buffered writer, which keeps the first one.
func (t *Table) write(row []Cell) {
	used := 0
	last := len(row) - 1
	for last > 0 && row[last].Text == "" {
		last--
	}
	for i, cell := range row[:last+1] {
		if i > 0 {
			_, _ = t.out.WriteString(gap)
			used += len(gap)
		}
		text := cell.Text
		if left := t.layout.Width - used; left >= minLast && i == len(row)-1 {
			text = Truncate(text, left)
		}
		pad := strings.Repeat(" ", max(t.widths[i]-Width(text), 0))
		used += t.widths[i]
		if t.layout.Colour {
			text = cell.Style.Paint(text)
		}
		switch {
		case t.layout.Columns[i].Right:
			_, _ = t.out.WriteString(pad + text)
		case i == last:
			_, _ = t.out.WriteString(text)
		default:
			_, _ = t.out.WriteString(text + pad)
		}
	}
	_ = t.out.WriteByte('\n')
}
