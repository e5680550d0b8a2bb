// SPDX-License-Identifier: Apache-2.0

package effect

import (
	"os"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/agent/probe"
)

// page lists the deeds for people.
const page = "../../docs/effects.md"

// pageRows gives the cells of the page by deed: class, deed, rows of the catalogue, what becomes of it with security hooks
// and without.
func pageRows(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(page)
	must(t, err)
	rows := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 5 {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows[cells[1]] = cells
	}
	return rows
}

// TestPage wants the page to list the deeds that there are, and no others.
func TestPage(t *testing.T) {
	rows := pageRows(t)
	delete(rows, "deed")
	delete(rows, "---")
	for _, c := range classes() {
		for _, d := range c.deeds {
			cells := rows[d.name]
			if cells == nil {
				t.Errorf("the page does not list: | %s | %s | %s | | |", c.name, d.name, d.rows)
				continue
			}
			if cells[0] != c.name || cells[2] != d.rows {
				t.Errorf("the page has %s as %s, %s; want %s, %s", d.name, cells[0], cells[2], c.name, d.rows)
			}
			delete(rows, d.name)
		}
	}
	for name := range rows {
		t.Errorf("the page lists %q, which is no deed", name)
	}
}

// compare wants what came of the deeds to be what the page says of such a kernel.
func (r *rig) compare(t *testing.T, rows []row) {
	t.Helper()
	column := 3
	if r.family == probe.FamilySyscalls {
		column = 4
	}
	listed := pageRows(t)
	for _, row := range rows {
		cells := listed[row.name]
		if cells == nil || !strings.Contains(cells[column], row.enforce) {
			t.Errorf("%s: %s; the page says %q", row.name, row.enforce, cells)
		}
	}
}
