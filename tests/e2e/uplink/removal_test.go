// SPDX-License-Identifier: Apache-2.0

package uplink_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector/authority"
	"github.com/holdfast-project/holdfast/collector/fleet"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// TestRemovedProfile removes a profile while one node is away that has learned more of it, and starts the collector anew:
// nothing of what either learned before is back when the node is, and what both learn afterwards is theirs again.
func TestRemovedProfile(t *testing.T) {
	data := t.TempDir()
	c := startCollector(t, data, "", 0)
	one, two := newLearner(), newLearner()
	startLearner(t, t.TempDir(), "node-1", c.address, c.token(t, authority.Grant{}), one)
	dir := t.TempDir()
	second := startLearner(t, dir, "node-2", c.address, c.token(t, authority.Grant{}), two)
	web, db := appKey("web"), appKey("db")
	two.learn(web, "/bin/a")
	two.learn(db, "/bin/db")
	two.allows(t, patience, web, "/bin/a")
	two.allows(t, patience, db, "/bin/db")
	by := fleet.Author{Name: "ann", Reason: "it is gone"}
	if _, err := c.fleet.Forget(t.Context(), web, by); !errors.Is(err, fleet.ErrInUse) {
		t.Errorf("removed while a node runs it: %v", err)
	}
	second.stop()
	two.learn(web, "/bin/b")
	wait.Until(t, patience, func() error {
		_, err := c.fleet.Forget(t.Context(), web, by)
		return err
	})
	c.stop()
	c = startCollector(t, data, c.address, 0)

	third := startLearner(t, dir, "node-2", c.address, "", two)
	third.connected(t)
	wait.Until(t, 30*time.Second, func() error {
		two.mu.Lock()
		defer two.mu.Unlock()
		if o := two.observed[web]; two.removed[web] == 0 || len(o.paths) != 0 {
			return fmt.Errorf("it has heeded removal %d and holds %v", two.removed[web], o.paths)
		}
		return nil
	})
	one.learn(web, "/bin/c")
	two.allows(t, 45*time.Second, web, "/bin/c")
	two.learn(web, "/bin/d")
	two.allows(t, patience, web, "/bin/c", "/bin/d")
	two.allows(t, patience, db, "/bin/db")
	held(t, c.store, web, "node-2", two)

	// A stream later, nothing is to be forgotten again.
	third.stop()
	fourth := startLearner(t, dir, "node-2", c.address, "", two)
	fourth.connected(t)
	two.learn(web, "/bin/e")
	two.allows(t, patience, web, "/bin/c", "/bin/d", "/bin/e")
	all, err := c.store.Observed(t.Context(), web)
	if err != nil || len(all) != 2 {
		t.Errorf("%d nodes have observed it: %v", len(all), err)
	}
}
