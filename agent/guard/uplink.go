// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"fmt"

	"github.com/holdfast-project/holdfast/agent/uplink"
	"github.com/holdfast-project/holdfast/rules/profile"
)

var _ uplink.Profiles = (*Guard)(nil)

// Changed implements uplink.Profiles.
func (g *Guard) Changed() <-chan struct{} { return g.changed }

// Keys implements uplink.Profiles.
func (g *Guard) Keys() []profile.Key {
	g.mu.Lock()
	defer g.mu.Unlock()
	var keys []profile.Key
	for key, w := range g.workloads {
		if w.containers > 0 {
			keys = append(keys, key)
		}
	}
	return keys
}

// Hold implements uplink.Profiles.
func (g *Guard) Hold(held map[profile.Key]uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, w := range g.workloads {
		w.taken = nil
		if w.version == 0 {
			continue
		}
		w.unsent = held[key] != w.version
		if !w.unsent {
			w.base, _ = g.learner.Profile(key)
		}
	}
	g.signal()
}

// Take implements uplink.Profiles.
func (g *Guard) Take() (uplink.Observed, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, w := range g.workloads {
		if !w.unsent || w.taken != nil || w.withheld {
			continue
		}
		w.unsent = false
		observed, ok := g.learner.Profile(key)
		if !ok {
			continue
		}
		w.taken = observed
		states := map[profile.Signal]profile.State{}
		for signal, l := range observed.Signals {
			states[signal] = l.State
		}
		return uplink.Observed{Key: key, Version: w.version, Removed: g.removals.heeded[key], Text: profile.Encode(observed.Attributed(g.cfg.Node)), States: states}, true
	}
	return uplink.Observed{}, false
}

// Answer implements uplink.Profiles.
func (g *Guard) Answer(key profile.Key, version uint64, refused string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.workloads[key]
	if w == nil || w.taken == nil {
		return
	}
	if refused != "" {
		g.log.Warn("the collector refused what was observed", "workload", key.String(), "reason", refused)
	} else {
		w.base = w.taken
	}
	w.taken = nil
	if w.unsent {
		g.signal()
	}
}

// Apply implements uplink.Profiles.
func (g *Guard) Apply(effective []uplink.Effective) {
	for _, e := range effective {
		if err := g.take(e); err != nil {
			g.log.Error("effective profile refused, the one before holds", "workload", e.Key.String(), "version", e.Version, "error", err)
		}
	}
}

// take takes one effective profile.
func (g *Guard) take(e uplink.Effective) error {
	var p *profile.Profile
	if e.Version != 0 {
		var err error
		if p, err = profile.DecodeOne(e.Key.String(), e.Text); err != nil {
			return err
		}
		if p.Key != e.Key {
			return fmt.Errorf("it is of %s", p.Key)
		}
	}
	g.compiling.Lock()
	defer g.compiling.Unlock()
	g.mu.Lock()
	w := g.workloads[e.Key]
	if w == nil && (p == nil || len(g.workloads) >= profile.MaxProfiles) {
		g.mu.Unlock()
		return nil
	}
	w = g.workloadOf(e.Key)
	was, version := w.effective, w.effectiveVersion
	w.effective, w.effectiveVersion, w.stale = p, e.Version, true
	running := w.policy != 0
	g.mu.Unlock()
	if !running {
		return nil
	}
	if err := g.apply(w); err != nil {
		g.mu.Lock()
		w.effective, w.effectiveVersion = was, version
		g.mu.Unlock()
		return err
	}
	return nil
}
