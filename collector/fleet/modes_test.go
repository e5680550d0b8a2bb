// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// TestPrecedence holds the collector against the table that the agent is held against, too.
func TestPrecedence(t *testing.T) {
	text, err := os.ReadFile("../../rules/profile/testdata/precedence.txt")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1700000000, 0)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		column := strings.Split(line, "|")
		var settings []store.ModeSetting
		for i, words := range strings.Split(column[1], ";") {
			word := strings.Fields(words)
			s := store.ModeSetting{ID: uint64(i), Set: now.Add(time.Duration(i) * time.Minute)}
			if n := len(word); n > 0 && word[n-1] == "for" {
				s.Until, word = now.Add(time.Hour), word[:n-1]
			}
			switch len(word) {
			case 0:
				continue
			case 1:
				s.Mode = profile.Mode(word[0])
			default:
				s.Workload, s.Mode = word[0], profile.Mode(word[1])
			}
			settings = append(settings, s)
		}
		about, err := settingsAbout(settings, "shop/web/nginx")
		if err != nil {
			t.Fatal(err)
		}
		got := "none"
		if len(about) > 0 {
			got = string(about[0].Mode)
		}
		if want := strings.TrimSpace(column[2]); got != want {
			t.Errorf("%s: %s, want %s", strings.TrimSpace(column[0]), got, want)
		}
	}
}
