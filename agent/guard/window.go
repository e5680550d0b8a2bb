// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"maps"
	"time"
)

// maxBirths is of how many cgroups the birth is remembered until something holds for them, or they are gone.
const maxBirths = 16384

// Born notes when a cgroup was made, nanoseconds of the boot clock. Of one that turns out to be a container's, it is
// measured how long nothing held for it.
func (g *Guard) Born(cgroup, at uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.births) < maxBirths {
		g.births[cgroup] = at
	}
}

// Windows counts containers by how long their cgroups were there before something held for them.
type Windows struct {
	// AtMost counts, by upper bound, those of which it was at most as long, as Prometheus has it.
	AtMost map[time.Duration]uint64
	Count  uint64
	Sum    time.Duration
}

// windowBounds are the upper bounds. At most 0 is what had its policy, by its name, when its cgroup was made.
func windowBounds() []time.Duration {
	return []time.Duration{
		0, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
		50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second,
		2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
	}
}

func (w *Windows) note(length time.Duration) {
	if w.AtMost == nil {
		w.AtMost = map[time.Duration]uint64{}
	}
	for _, bound := range windowBounds() {
		if length <= bound {
			w.AtMost[bound]++
		} else {
			w.AtMost[bound] += 0
		}
	}
	w.Count++
	w.Sum += length
}

// Windows gives the counts since the agent started.
func (g *Guard) Windows() Windows {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.windows
	w.AtMost = maps.Clone(w.AtMost)
	return w
}
