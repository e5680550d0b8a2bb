// SPDX-License-Identifier: Apache-2.0

package term_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/collector/term"
)

func columns() []term.Column {
	return []term.Column{{Title: "NODE", Max: 6}, {Title: "LOST", Right: true}, {Title: "OUTPUT"}}
}

func TestTable(t *testing.T) {
	var out strings.Builder
	table := term.NewTable(&out, term.Layout{Columns: columns(), Width: 32})
	rows := [][]term.Cell{
		{{Text: "a"}, {Text: "7"}, {Text: "read \x1b[2J/etc/shadow"}},
		{{Text: "worker-with-a-long-name"}, {Text: "12345"}, {Text: "x"}},
		{{Text: "東京"}, {Text: "0"}},
	}
	for _, row := range rows {
		if err := table.Row(row...); err != nil {
			t.Fatal(err)
		}
	}
	if out.Len() != 0 {
		t.Fatalf("rows written before Flush: %q", out.String())
	}
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	want := "" +
		"NODE     LOST  OUTPUT\n" +
		"a           7  read \\x1b[2J/etc…\n" +
		"worke…  12345  x\n" +
		"東京        0\n"
	if out.String() != want {
		t.Errorf("table is\n%swant\n%s", out.String(), want)
	}
}

func TestTableLeavesTheLastColumnWhereItWouldVanish(t *testing.T) {
	var out strings.Builder
	table := term.NewTable(&out, term.Layout{Columns: columns(), Width: 20, NoHeader: true})
	if err := table.Row(term.Cell{Text: "node-1"}, term.Cell{Text: "1"}, term.Cell{Text: "much to say here"}); err != nil {
		t.Fatal(err)
	}
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	if want := "node-1  1  much to say here\n"; out.String() != want {
		t.Errorf("line is %q, want %q", out.String(), want)
	}
}

func TestTableStreams(t *testing.T) {
	var out strings.Builder
	table := term.NewTable(&out, term.Layout{Columns: columns(), NoHeader: true})
	for _, text := range []string{"a", "longer", "b"} {
		if err := table.Row(term.Cell{Text: text}, term.Cell{Text: "1"}, term.Cell{Text: "o"}); err != nil {
			t.Fatal(err)
		}
		if err := table.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if want := "a  1  o\nlonger  1  o\nb       1  o\n"; out.String() != want {
		t.Errorf("stream is\n%swant\n%s", out.String(), want)
	}
}

func TestTableColours(t *testing.T) {
	for _, colour := range []bool{false, true} {
		var out strings.Builder
		table := term.NewTable(&out, term.Layout{Columns: columns(), Colour: colour, NoHeader: true})
		if err := table.Row(term.Cell{Text: "\x1b[0mn", Style: term.BoldRed}); err != nil {
			t.Fatal(err)
		}
		if err := table.Flush(); err != nil {
			t.Fatal(err)
		}
		want := "\\x1b[…\n"
		if colour {
			want = "\x1b[1;31m\\x1b[…\x1b[0m\n"
		}
		if out.String() != want {
			t.Errorf("colour %v: %q, want %q", colour, out.String(), want)
		}
	}
}

func TestTableBoundsItsMemory(t *testing.T) {
	var out strings.Builder
	table := term.NewTable(&out, term.Layout{Columns: columns()})
	for range 1000 {
		if err := table.Row(term.Cell{Text: "n"}); err != nil {
			t.Fatal(err)
		}
	}
	if out.Len() == 0 {
		t.Error("a thousand rows were all held back")
	}
}

type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) { return 0, errPipe }

var errPipe = errors.New("broken pipe")

func TestTableReportsWriteError(t *testing.T) {
	table := term.NewTable(closedPipe{}, term.Layout{Columns: columns()})
	if err := table.Row(term.Cell{Text: "n"}); err != nil {
		t.Fatal(err)
	}
	if err := table.Flush(); !errors.Is(err, errPipe) {
		t.Errorf("Flush = %v, want %v", err, errPipe)
	}
}
