// SPDX-License-Identifier: Apache-2.0

package container

import "time"

// Stats are the registry's counters since it was made and its present sizes.
type Stats struct {
	// Born and Gone count cgroups reported; Containers counts those recognised as containers.
	Born       uint64
	Gone       uint64
	Containers uint64
	// Resolved counts containers that got their identity, ResolvedAtBirth those of them that had it when their cgroup
	// appeared. Unattributed counts those whose deadline passed first, Late those of them that were named afterwards.
	Resolved        uint64
	ResolvedAtBirth uint64
	Unattributed    uint64
	Late            uint64
	// Converted counts cgroups that were taken for the host's until the runtime said otherwise.
	Converted uint64
	// Missing counts cgroups that events named before their birth was known; Orphans births without a known parent.
	Missing uint64
	Orphans uint64
	// DroppedCgroups and DroppedRecords count what did not fit; Evicted what was forgotten after its time of grace,
	// EvictedEarly what had to go before it.
	DroppedCgroups uint64
	DroppedRecords uint64
	Evicted        uint64
	EvictedEarly   uint64
	// DroppedQueries counts questions that found a source's queue full; OmittedLabels labels over the bounds.
	DroppedQueries uint64
	OmittedLabels  uint64
	// Rescans counts walks of the cgroup tree, FailedRescans those that failed.
	Rescans       uint64
	FailedRescans uint64

	// Cgroups, Records, Pods, Pending and Retained are present sizes; Retained counts cgroups that are gone and kept for
	// late events.
	Cgroups  int
	Records  int
	Pods     int
	Pending  int
	Retained int
}

// SourceStatus is what a source can do at the moment.
type SourceStatus struct {
	Name string
	// State is "connecting", "up" or "off".
	State string
	// Reason says why a source is not up and what to do about it.
	Reason string
	Since  time.Time
}

// Stats returns a copy of the counters.
func (r *Registry) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Cgroups, s.Records, s.Pods = len(r.nodes), r.held, len(r.pods)
	s.Retained = r.retired.len() + r.minor.len()
	for _, e := range r.open {
		if e.state() == StatePending {
			s.Pending++
		}
	}
	return s
}

// Sources returns the status of every source, in the order in which their feeds were made.
func (r *Registry) Sources() []SourceStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]SourceStatus, 0, len(r.feeds))
	for _, f := range r.feeds {
		out = append(out, f.status)
	}
	return out
}

// Snapshot returns every container that has a cgroup, without the host, in no order.
func (r *Registry) Snapshot() []*Container {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*Container, 0, len(r.entries))
	for _, e := range r.entries {
		out = append(out, e.current.Load())
	}
	return out
}
