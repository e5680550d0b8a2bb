// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"slices"
	"time"

	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// State is how a workload of which the node runs containers is kept.
type State struct {
	Key profile.Key
	// Version is the collector's effective profile in force; 0 for none.
	Version    uint64
	Containers int
	// Tally counts the verdicts since the policy was made.
	Tally   wire.Tally
	Signals []SignalState
	// Blocked is when a deed was last blocked since the agent started; zero for never.
	Blocked time.Time
}

// SignalState is one signal of a workload.
type SignalState struct {
	Signal profile.Signal
	// Mode is the weakest that a container of the workload has, Source what decided it, in words.
	Mode     profile.Mode
	Source   string
	Learning profile.State
}

// States gives every workload of which the node runs containers, by key.
func (g *Guard) States() []State {
	g.mu.Lock()
	cgroups := map[*workload][]uint64{}
	for cgroup, m := range g.members {
		cgroups[m.workload] = append(cgroups[m.workload], cgroup)
	}
	states := make([]State, 0, len(cgroups))
	policies := make([]uint32, 0, len(cgroups))
	lates := make([]wire.Tally, 0, len(cgroups))
	for w, members := range cgroups {
		states = append(states, State{
			Key: w.key, Version: w.effectiveVersion, Containers: w.containers, Signals: g.signalStates(w, members),
			Blocked: w.blocked,
		})
		policies, lates = append(policies, w.policy), append(lates, w.late)
	}
	g.mu.Unlock()
	for i, id := range policies {
		tally, err := g.cfg.Enforcer.Tally(id)
		if err != nil {
			// A workload that ended in between.
			continue
		}
		for signal := range tally.Blocked {
			tally.Blocked[signal] += lates[i].Blocked[signal]
			tally.WouldBlock[signal] += lates[i].WouldBlock[signal]
		}
		states[i].Tally = tally
	}
	slices.SortFunc(states, func(a, b State) int { return a.Key.Compare(b.Key) })
	return states
}

// signalStates gives the signals of a workload with the containers. mu is held.
func (g *Guard) signalStates(w *workload, cgroups []uint64) []SignalState {
	list := make([]SignalState, 0, len(profile.Signals()))
	for _, signal := range profile.Signals() {
		state := SignalState{Signal: signal, Learning: w.states[signal]}
		for _, cgroup := range cgroups {
			e, ok := g.modes.Explain(cgroup, signal, g.now())
			if ok && (state.Mode == "" || weaker(e.Mode, state.Mode)) {
				state.Mode, state.Source = e.Mode, e.By()
			}
		}
		list = append(list, state)
	}
	return list
}

// weaker reports whether a mode stops less than another.
func weaker(a, b profile.Mode) bool {
	order := []profile.Mode{profile.ModeOff, profile.ModeLearn, profile.ModeMonitor, profile.ModeEnforce}
	return slices.Index(order, a) < slices.Index(order, b)
}
