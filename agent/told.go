// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"sync"
	"sync/atomic"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/report"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// told counts the events that were read of workloads, by class: what of their doing was not known. One goroutine adds and
// forgets, any reads.
type told struct {
	// byCgroup belongs to the one that adds. A container has one entry, with whatever it is counted under.
	byCgroup map[uint64]*toldOf

	mu    sync.Mutex
	byKey map[profile.Key]*toldOf
}

type toldOf struct {
	events [wire.TypeLimit]atomic.Uint64
}

// add counts an event that has its container. Those of the host and of containers without a name, and what there is no room
// for, are not counted.
func (t *told) add(ev *event.Event) {
	if ev.Container == nil || ev.Container.Cgroup == 0 {
		return
	}
	of := t.byCgroup[ev.Container.Cgroup]
	if of == nil {
		if of = t.enter(ev); of == nil {
			return
		}
	}
	of.events[ev.Type].Add(1)
}

func (t *told) enter(ev *event.Event) *toldOf {
	key, ok := report.Key(ev.Container)
	if !ok {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	of := t.byKey[key]
	if of == nil {
		if len(t.byKey) >= profile.MaxProfiles {
			return nil
		}
		if t.byKey == nil {
			t.byKey, t.byCgroup = map[profile.Key]*toldOf{}, map[uint64]*toldOf{}
		}
		of = new(toldOf)
		t.byKey[key] = of
	}
	t.byCgroup[ev.Container.Cgroup] = of
	return of
}

// forget drops a container that is gone. What was counted stays.
func (t *told) forget(cgroup uint64) { delete(t.byCgroup, cgroup) }

// each gives the counts that are not zero.
func (t *told) each(f func(key profile.Key, class string, n uint64)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, of := range t.byKey {
		for class := range of.events {
			if n := of.events[class].Load(); n > 0 {
				f(key, event.Name(wire.Type(class)), n)
			}
		}
	}
}
