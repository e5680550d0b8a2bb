// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/holdfast-project/holdfast/agent/mode"
	"github.com/holdfast-project/holdfast/agent/replace"
	"github.com/holdfast-project/holdfast/agent/uplink"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// removalsFile keeps which removals were heeded, so that what is learned after one is told apart from what was before.
const removalsFile = "removals.json"

// maxHeeded bounds the removals that are known; the oldest are forgotten. A collector keeps fewer.
const maxHeeded = 4096

// removals are those of profiles that people have removed at the collector.
type removals struct {
	// heeded are the newest that were, by key: nothing is held here that is older.
	heeded map[profile.Key]uint64
	// saved is what is on disk.
	saved []byte
}

// heed notes a removal.
func (r *removals) heed(key profile.Key, at uint64) {
	if r.heeded == nil {
		r.heeded = map[profile.Key]uint64{}
	}
	r.heeded[key] = at
	if len(r.heeded) <= maxHeeded {
		return
	}
	oldest := key
	for k, at := range r.heeded {
		if at < r.heeded[oldest] {
			oldest = k
		}
	}
	delete(r.heeded, oldest)
}

// Forget implements uplink.Profiles. What is enforced here, as only a node can that was away when the profile was removed,
// keeps its profile for as long: it would be refused everything.
func (g *Guard) Forget(list []uplink.Removal) (dropped []profile.Key, later []uplink.Removal) {
	g.compiling.Lock()
	defer g.compiling.Unlock()
	g.mu.Lock()
	var switches []mode.Switch
	for _, r := range list {
		w := g.workloads[r.Key]
		switch {
		case r.At <= g.removals.heeded[r.Key] || r.Key.Validate() != nil:
			continue
		case w == nil || !g.before(w, r.At):
			// What has been learned since is the node's to tell, and may have been refused before this was heeded.
			if w != nil && w.version != 0 {
				w.version = max(w.version+1, uint64(g.now().UnixNano()))
				w.unsent, w.unsaved = true, true
			}
		case g.enforces(w):
			if !w.withheld {
				g.log.Warn("the profile was removed at the collector, and is kept while it is enforced here", "workload", r.Key.String())
			}
			w.withheld = true
			later = append(later, r)
			continue
		default:
			g.restart(w)
			switches = append(switches, g.modes.Forget(r.Key, g.now())...)
			dropped = append(dropped, r.Key)
		}
		if w != nil {
			w.withheld, w.taken = false, nil
		}
		g.removals.heed(r.Key, r.At)
	}
	g.due = g.modes.Next(g.now())
	g.signal()
	g.mu.Unlock()
	g.report(g.switched(switches))
	return dropped, later
}

// before reports whether something is held of a workload that is older than its removal. mu is held.
func (g *Guard) before(w *workload, at uint64) bool {
	if w.effective != nil {
		return true
	}
	observed, ok := g.learner.Profile(w.key)
	return ok && slices.ContainsFunc(observed.Entries(), func(e profile.Entry) bool {
		first := e.Seen.First
		return first.IsZero() || uint64(first.UnixNano()) <= at
	})
}

// enforces reports whether a container of a workload is kept to what was learned. mu is held.
func (g *Guard) enforces(w *workload) bool {
	for cgroup, m := range g.members {
		if m.workload != w {
			continue
		}
		modes := g.modes.Modes(cgroup)
		if slices.ContainsFunc(profile.LearnedSignals(), func(s profile.Signal) bool { return modes[s] == profile.ModeEnforce }) {
			return true
		}
	}
	return false
}

// restart forgets what was learned of a workload, here and elsewhere; its containers go on. mu is held.
func (g *Guard) restart(w *workload) {
	g.learner.Anew(w.key)
	for cgroup, m := range g.members {
		if m.workload != w {
			continue
		}
		g.learner.Began(m.container, g.now())
		g.foresee(m.container)
		if g.cfg.OnAnew != nil {
			g.cfg.OnAnew(cgroup)
		}
	}
	w.effective, w.effectiveVersion, w.base, w.states = nil, 0, nil, nil
	w.version = max(w.version+1, uint64(g.now().UnixNano()))
	w.unsent, w.unsaved, w.stale = false, true, true
}

// heededRemoval is one as it is on disk.
type heededRemoval struct {
	Key profile.Key `json:"key"`
	At  uint64      `json:"at"`
}

// restoreRemovals reads what was heeded under agents before. Nobody else has g yet.
func (g *Guard) restoreRemovals() {
	path := filepath.Join(g.cfg.Dir, removalsFile)
	var list []heededRemoval
	text, err := read(path)
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		// They are told again, and what has been learned since is forgotten once more.
		g.log.Error("which profiles were removed is not known until the collector tells", "file", path, "error", err)
		return
	}
	for _, r := range list {
		g.removals.heed(r.Key, r.At)
	}
	g.removals.saved = text
}

// saveRemovals writes down what was heeded, if that has changed.
func (g *Guard) saveRemovals(heeded map[profile.Key]uint64) {
	list := make([]heededRemoval, 0, len(heeded))
	for _, key := range slices.SortedFunc(maps.Keys(heeded), profile.Key.Compare) {
		list = append(list, heededRemoval{key, heeded[key]})
	}
	text, err := json.Marshal(list)
	if err == nil && (bytes.Equal(text, g.removals.saved) || len(list) == 0 && g.removals.saved == nil) {
		return
	}
	if err == nil {
		err = replace.File(filepath.Join(g.cfg.Dir, removalsFile), text)
	}
	if err != nil {
		g.log.Error("which removals were heeded was not written down, trying again", "error", fmt.Errorf("write %s: %w", removalsFile, err))
		return
	}
	g.removals.saved = text
}
