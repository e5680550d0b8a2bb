// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"testing"

	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/rules/profile"
	table "github.com/holdfast-project/holdfast/tests/precedence"
)

// TestPrecedence holds the collector against the table that the agent is held against, too.
func TestPrecedence(t *testing.T) {
	table.Each(t, func(t *testing.T, row table.Row) {
		var settings []store.ModeSetting
		for _, s := range row.Settings {
			settings = append(settings, store.ModeSetting{ID: s.ID, Set: s.Set, Workload: s.Workload, Mode: s.Mode, Until: s.Until})
		}
		about, err := settingsAbout(settings, "shop/web/nginx")
		if err != nil {
			t.Fatal(err)
		}
		var got profile.Mode
		if len(about) > 0 {
			got = about[0].Mode
		}
		if got != row.Want {
			t.Errorf("%q, want %q", got, row.Want)
		}
	})
}
