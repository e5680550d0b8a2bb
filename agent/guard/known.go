// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/report"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Holds reports whether the other end of an event's connection, which was told by the names, is one that the profile of its
// workload lists for the executable. While that is still being learned, every one is; without a profile, none.
func (g *Guard) Holds(ev *event.Event, names []string) bool {
	deed, ok := report.Contact(ev)
	if !ok {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.members[ev.Head.Origin]
	if m == nil {
		return false
	}
	mode := g.modes.Modes(ev.Head.Origin)[profile.SignalEgress]
	switch {
	case mode == "" || mode == profile.ModeOff:
		return false
	case mode == profile.ModeLearn && m.workload.states[profile.SignalEgress] != profile.StateStable:
		return true
	}
	matcher := g.matcher(ev)
	if matcher == nil {
		return false
	}
	deed.Names = append(g.learner.Names(ev.Head.Origin, deed.Address, g.now()), names...)
	return matcher.Judge(deed).Allowed
}

// Judges reports whether something holds a container to its profile in a signal, and the profile is not still being
// learned: what it does not list is news.
func (g *Guard) Judges(cgroup uint64, signal profile.Signal) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.members[cgroup]
	if m == nil {
		return false
	}
	switch g.modes.Modes(cgroup)[signal] {
	case profile.ModeMonitor, profile.ModeEnforce:
		return true
	case profile.ModeLearn:
		return m.workload.states[signal] == profile.StateStable
	}
	return false
}
