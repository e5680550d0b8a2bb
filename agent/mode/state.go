// SPDX-License-Identifier: Apache-2.0

package mode

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-project/holdfast/rules/profile"
)

// State is what a Controller has to remember beyond what others tell it, for JSON. Without it, what was held by a brake is
// enforced again, and what was promoted is not.
type State struct {
	Signals []SignalState `json:"signals,omitempty"`
}

// SignalState is what is remembered of a signal of a workload.
type SignalState struct {
	Key    profile.Key    `json:"key"`
	Signal profile.Signal `json:"signal"`
	// Enforced is when it was first to be enforced, Held when a brake took it out of that, and Why.
	Enforced time.Time `json:"enforced,omitzero"`
	Held     time.Time `json:"held,omitzero"`
	Why      string    `json:"why,omitempty"`
	// Canary is the cgroup of the container that enforces alone, until CanaryUntil.
	Canary      uint64    `json:"canary,omitempty"`
	CanaryUntil time.Time `json:"canaryUntil,omitzero"`
	// Promoted is what it rose to, Rose when.
	Promoted profile.Mode `json:"promoted,omitempty"`
	Rose     time.Time    `json:"rose,omitzero"`
	// Unusual is when something would last have been blocked, Stable since when learning is stable.
	Unusual time.Time `json:"unusual,omitzero"`
	Stable  time.Time `json:"stable,omitzero"`
}

// maxTracks is how many signals of workloads are remembered: room for those of every container, and with fewer containers
// for workloads of which none runs.
const maxTracks = 4 * MaxContainers

// Snapshot gives what has to be remembered, in a fixed order.
func (c *Controller) Snapshot(now time.Time) State {
	c.prune(now)
	var s State
	for at, t := range c.tracks {
		if !t.idle() {
			s.Signals = append(s.Signals, SignalState{
				Key: at.key, Signal: at.signal, Enforced: t.enforced, Held: t.held, Why: t.why,
				Canary: t.canary, CanaryUntil: t.canaryUntil,
				Promoted: t.promoted, Rose: t.rose, Unusual: t.unusual, Stable: t.stable,
			})
		}
	}
	slices.SortFunc(s.Signals, func(a, b SignalState) int {
		return cmp.Or(a.Key.Compare(b.Key), cmp.Compare(a.Signal, b.Signal))
	})
	return s
}

// restore takes up a snapshot.
func (c *Controller) restore(s State) error {
	if len(s.Signals) > maxTracks {
		return fmt.Errorf("state of modes: %d signals, at most %d", len(s.Signals), maxTracks)
	}
	for _, r := range s.Signals {
		if _, err := profile.ParseSignal(string(r.Signal)); err != nil {
			return fmt.Errorf("state of modes: %s: %w", r.Key, err)
		}
		if r.Promoted != "" {
			if _, err := profile.ParseMode(string(r.Promoted)); err != nil {
				return fmt.Errorf("state of modes: %s: %w", r.Key, err)
			}
		}
		c.tracks[track{r.Key, r.Signal}] = &tracked{
			enforced: r.Enforced, held: r.Held, why: r.Why, canary: r.Canary, canaryUntil: r.CanaryUntil, promoted: r.Promoted, rose: r.Rose, unusual: r.Unusual, stable: r.Stable,
		}
	}
	return nil
}

// idle reports whether nothing is to be remembered.
func (t *tracked) idle() bool {
	return t.enforced.IsZero() && t.held.IsZero() && t.promoted == "" && t.unusual.IsZero() && t.stable.IsZero()
}

// prune forgets what counts no more, and of what nothing runs, if it is too much, first what is not held by a
// brake.
func (c *Controller) prune(now time.Time) {
	for key, at := range c.blocked {
		if now.Sub(at) >= blastWindow {
			delete(c.blocked, key)
		}
	}
	for at, stop := range c.stopped {
		if now.Sub(stop) >= backOff {
			delete(c.stopped, at)
		}
	}
	if len(c.tracks) <= maxTracks {
		return
	}
	runs := map[profile.Key]bool{}
	for _, r := range c.containers {
		runs[r.Key] = true
	}
	for _, held := range []bool{false, true} {
		for at, t := range c.tracks {
			if len(c.tracks) > maxTracks && !runs[at.key] && !t.held.IsZero() == held {
				delete(c.tracks, at)
			}
		}
	}
}
