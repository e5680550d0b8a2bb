// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/report"
	"github.com/holdfast-project/holdfast/agent/wire"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Explain names the entry of the profile in force that comes nearest to what an event shows; empty when none does.
func (g *Guard) Explain(ev *event.Event) string {
	deed, ok := report.Deed(ev)
	if !ok {
		return ""
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	matcher := g.matcher(ev)
	if matcher == nil {
		return ""
	}
	if deed.Kind == profile.DoContact {
		deed.Names = g.learner.Names(ev.Container.Cgroup, deed.Address, g.now())
	}
	nearest := matcher.Judge(deed).Nearest
	if nearest == nil {
		return ""
	}
	return nearest.Process + ": " + nearest.Text
}

// matcher finds what holds deeds of the event's container against its profile, made once for each policy. mu is held.
func (g *Guard) matcher(ev *event.Event) *profile.Matcher {
	key, ok := report.Key(ev.Container)
	w := g.workloads[key]
	if !ok || w == nil {
		return nil
	}
	if w.matcher != nil {
		return w.matcher
	}
	allowed, err := g.allowed(w)
	if err == nil {
		w.matcher, err = profile.NewMatcher(allowed)
	}
	if err != nil {
		g.log.Error("the nearest entry of a profile is not known", "workload", key.String(), "error", err)
	}
	return w.matcher
}

// Complete adds to a violation what only the guard knows: which profile was in force, and what decided the mode.
func (g *Guard) Complete(v *apiv1.Violation, ev *event.Event) {
	key, ok := report.Key(ev.Container)
	if !ok {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if w := g.workloads[key]; w != nil {
		v.ProfileVersion = w.effectiveVersion
	}
	signal := report.SignalOf(wire.Signal(ev.Head.Signal))
	if e, ok := g.modes.Explain(ev.Container.Cgroup, signal, g.now()); ok {
		v.ModeSource = e.By()
	}
}
