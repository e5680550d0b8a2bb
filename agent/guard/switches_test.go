// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/agent/mode"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// TestSwitchesOutliveTheAgent keeps who changed which mode, when and why, over a restart.
func TestSwitchesOutliveTheAgent(t *testing.T) {
	dir := t.TempDir()
	start := func() *Guard {
		g := &Guard{cfg: Config{Dir: dir}, log: slog.New(slog.DiscardHandler)}
		g.restoreSwitches()
		return g
	}
	g := start()
	if n := len(g.Switches()); n != 0 {
		t.Errorf("%d switches at the beginning", n)
	}
	var all []mode.Switch
	for i := range maxSwitches + 10 {
		all = append(all, mode.Switch{
			Time: time.Unix(int64(i), 0).UTC(), Key: profile.Key{Namespace: "shop", Kind: "Deployment", Name: "web", Container: "c"}, Cgroup: 7,
			Signal: profile.SignalProcess, From: profile.ModeLearn, To: profile.ModeEnforce, Author: "ann", Reason: "stable\nsince May",
		})
	}
	g.noteSwitches(all)
	g.saveSwitches()
	g.saveSwitches()
	if got := start().Switches(); !slices.Equal(got, all[10:]) {
		t.Errorf("%d switches after a restart, from %v on", len(got), got[0])
	}
	if err := os.WriteFile(filepath.Join(dir, switchesFile), []byte("[{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := len(start().Switches()); n != 0 {
		t.Errorf("%d switches of a file that is cut short", n)
	}
}
