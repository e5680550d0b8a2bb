// SPDX-License-Identifier: Apache-2.0

package mode

import (
	"cmp"
	"testing"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/precedence"
)

// TestPrecedence holds the agent against the table that the collector is held against, too.
func TestPrecedence(t *testing.T) {
	one := Container{
		Key:       profile.Key{Namespace: "shop", Kind: "Deployment", Name: "web", Container: "nginx"},
		Container: &container.Container{Cgroup: 1, Namespace: "shop", Workload: "web", Name: "nginx"},
	}
	precedence.Each(t, func(t *testing.T, row precedence.Row) {
		var settings []Setting
		for _, s := range row.Settings {
			settings = append(settings, Setting{ID: s.ID, Author: "ann", Set: s.Set, Workload: s.Workload, Mode: s.Mode, Until: s.Until})
		}
		c, err := New(Config{Defaults: profile.Modes{profile.SignalProcess: profile.ModeLearn}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.SetCollector(settings, precedence.Now()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Start(one, precedence.Now()); err != nil {
			t.Fatal(err)
		}
		if got, want := c.Modes(1)[profile.SignalProcess], cmp.Or(row.Want, profile.ModeLearn); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}
