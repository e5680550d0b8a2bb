// SPDX-License-Identifier: Apache-2.0

package mode

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// TestPrecedence holds the agent against the table that the collector is held against, too.
func TestPrecedence(t *testing.T) {
	text, err := os.ReadFile("../../rules/profile/testdata/precedence.txt")
	if err != nil {
		t.Fatal(err)
	}
	one := Container{
		Key:       profile.Key{Namespace: "shop", Kind: "Deployment", Name: "web", Container: "nginx"},
		Container: &container.Container{Cgroup: 1, Namespace: "shop", Workload: "web", Name: "nginx"},
	}
	now := time.Unix(1700000000, 0)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		column := strings.Split(line, "|")
		var settings []Setting
		for i, words := range strings.Split(column[1], ";") {
			word := strings.Fields(words)
			s := Setting{ID: uint64(i), Author: "ann", Set: now.Add(time.Duration(i) * time.Minute)}
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
		c, err := New(Config{Defaults: profile.Modes{profile.SignalProcess: profile.ModeLearn}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.SetCollector(settings, now.Add(30*time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Start(one, now.Add(30*time.Minute)); err != nil {
			t.Fatal(err)
		}
		want := profile.Mode(strings.TrimSpace(column[2]))
		if want == "none" {
			want = profile.ModeLearn
		}
		if got := c.Modes(1)[profile.SignalProcess]; got != want {
			t.Errorf("%s: %s, want %s", strings.TrimSpace(column[0]), got, want)
		}
	}
}
