// SPDX-License-Identifier: Apache-2.0

package view

import (
	"cmp"
	"slices"
	"time"
)

// WorkloadSummary is what all nodes together do for one workload's container.
type WorkloadSummary struct {
	Workload   Workload `json:"workload"`
	Containers uint64   `json:"containers"`
	// Nodes run containers of it; of those in Away this is what they said last.
	Nodes []string `json:"nodes"`
	Away  []string `json:"away,omitempty"`
	// Signals are those that modes are about: process, file, egress, protect, dlp and waf.
	Signals []SignalSummary `json:"signals"`
	// Deeds since the agents started: in the profile, learned, that enforce would have stopped, that were stopped.
	Known      uint64 `json:"known"`
	Learned    uint64 `json:"learned"`
	WouldBlock uint64 `json:"would_block"`
	Blocked    uint64 `json:"blocked"`
	// Coverage is the part of these deeds that the profile listed already, 0 to 1; missing where nothing was done.
	Coverage *float64 `json:"coverage,omitempty"`
	// LastBlock is when a deed was last stopped since the agents started; it is missing if none was.
	LastBlock time.Time `json:"last_block,omitzero"`
}

// SignalSummary is one signal of a workload over all nodes.
type SignalSummary struct {
	Signal string `json:"signal"`
	// Mode is the weakest that a node has, Mixed whether another has a stronger one.
	Mode  string `json:"mode"`
	Mixed bool   `json:"mixed"`
	// State is how far learning is on the node that is least far.
	State string `json:"state"`
}

// Summarise puts together what nodes say of each workload, by name.
func Summarise(states []WorkloadState) []WorkloadSummary {
	byWorkload := map[Workload]*WorkloadSummary{}
	for _, s := range states {
		w := byWorkload[s.Workload]
		if w == nil {
			w = &WorkloadSummary{Workload: s.Workload, Nodes: []string{}, Signals: []SignalSummary{}}
			byWorkload[s.Workload] = w
		}
		w.add(s)
	}
	list := make([]WorkloadSummary, 0, len(byWorkload))
	for _, w := range byWorkload {
		if all := w.Known + w.Learned + w.WouldBlock + w.Blocked; all > 0 {
			coverage := float64(w.Known) / float64(all)
			w.Coverage = &coverage
		}
		slices.Sort(w.Nodes)
		slices.Sort(w.Away)
		list = append(list, *w)
	}
	slices.SortFunc(list, func(a, b WorkloadSummary) int {
		return cmp.Or(cmp.Compare(a.Workload.String(), b.Workload.String()), cmp.Compare(a.Workload.Kind, b.Workload.Kind))
	})
	return list
}

func (w *WorkloadSummary) add(s WorkloadState) {
	w.Containers += uint64(s.Containers)
	w.Nodes = append(w.Nodes, s.Node)
	if !s.Connected {
		w.Away = append(w.Away, s.Node)
	}
	w.Known, w.Learned = w.Known+s.Known, w.Learned+s.Learned
	w.WouldBlock, w.Blocked = w.WouldBlock+s.WouldBlock, w.Blocked+s.Blocked
	if s.LastBlock.After(w.LastBlock) {
		w.LastBlock = s.LastBlock
	}
	for _, signal := range s.Signals {
		i := slices.IndexFunc(w.Signals, func(o SignalSummary) bool { return o.Signal == signal.Signal })
		if i < 0 {
			w.Signals = append(w.Signals, SignalSummary{Signal: signal.Signal, Mode: signal.Mode, State: signal.State})
			continue
		}
		w.Signals[i].add(signal)
	}
}

func (s *SignalSummary) add(signal SignalState) {
	s.Mixed = s.Mixed || s.Mode != signal.Mode
	if rank(signal.Mode, "off", "learn", "monitor", "enforce") < rank(s.Mode, "off", "learn", "monitor", "enforce") {
		s.Mode = signal.Mode
	}
	if rank(signal.State, "partial", "learning", "stabilising", "stable") < rank(s.State, "partial", "learning", "stabilising", "stable") {
		s.State = signal.State
	}
}

// rank is where a word stands in a list, behind it if it is not in it.
func rank(word string, words ...string) int {
	if i := slices.Index(words, word); i >= 0 {
		return i
	}
	return len(words)
}
