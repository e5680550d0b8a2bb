// SPDX-License-Identifier: Apache-2.0

// Package precedence is the table that says which of several mode settings counts. Agent and collector decide it each for
// itself, and are both held against it.
package precedence

import (
	_ "embed"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/rules/profile"
)

//go:embed table.txt
var table string

// Setting is one that is made about shop/web/nginx.
type Setting struct {
	// ID is its place in the order in which they are made, and so is Set, some minutes after Start.
	ID  uint64
	Set time.Time
	// Workload is a pattern, empty for everything.
	Workload string
	Mode     profile.Mode
	// Until is when a break-glass ends, after Now; zero for other settings.
	Until time.Time
}

// Row is one line of the table.
type Row struct {
	Name     string
	Settings []Setting
	// Want is the mode that holds, empty where no setting is about the container.
	Want profile.Mode
}

// Start is when the first setting is made, Now when all have been.
func Start() time.Time { return time.Unix(1700000000, 0) }

// Now is when the modes are asked for.
func Now() time.Time { return Start().Add(30 * time.Minute) }

// Each runs a test for each row.
func Each(t *testing.T, test func(t *testing.T, row Row)) {
	t.Helper()
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		column := strings.Split(line, "|")
		if len(column) != 3 {
			t.Fatalf("%q has not three columns", line)
		}
		row := Row{Name: strings.TrimSpace(column[0]), Want: profile.Mode(strings.TrimSpace(column[2]))}
		if row.Want == "none" {
			row.Want = ""
		}
		for i, words := range strings.Split(column[1], ";") {
			if word := strings.Fields(words); len(word) > 0 {
				row.Settings = append(row.Settings, setting(i, word))
			}
		}
		t.Run(row.Name, func(t *testing.T) { test(t, row) })
	}
}

// setting reads one: [WORKLOAD] MODE [for].
func setting(i int, word []string) Setting {
	s := Setting{ID: uint64(i), Set: Start().Add(time.Duration(i) * time.Minute)}
	if n := len(word) - 1; word[n] == "for" {
		s.Until, word = Start().Add(time.Hour), word[:n]
	}
	if len(word) > 1 {
		s.Workload = word[0]
	}
	s.Mode = profile.Mode(word[len(word)-1])
	return s
}
