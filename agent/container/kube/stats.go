// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"fmt"
	"strings"
	"time"
)

// Status is whether what is known is in step with the API server.
type Status struct {
	Up bool
	// Reason says what is missing, and what RBAC does not let the agent see.
	Reason string
	// Since is when it came to be so.
	Since time.Time
}

// Stats are present sizes and counts since the start.
type Stats struct {
	// Pods are those of the node, FarPods those of others that are known; Namespaces, Services, Slices and Endpoints are the
	// cluster's. Owners are objects that own others.
	Pods, FarPods, Namespaces, Services, Slices, Endpoints, Owners int
	// Unowned are pods of the node whose owner is not known yet.
	Unowned int
	// Omitted counts what found no room.
	Omitted uint64
	// Refused counts the kinds of owners that RBAC does not let the agent read.
	Refused int
	// LastEvent is when the API server last sent something; zero for never.
	LastEvent time.Time
	Traffic   []Traffic
}

// Status says how the streams do.
func (s *Source) Status() Status {
	s.mu.Lock()
	streams := append([]*stream(nil), s.streams...)
	for _, w := range s.watched {
		streams = append(streams, w.stream)
	}
	status := Status{Up: true, Since: s.toldWhen}
	s.mu.Unlock()
	var reasons []string
	var down time.Time
	for _, st := range streams {
		up, since, err := st.up()
		if up {
			continue
		}
		status.Up = false
		if err == nil {
			reasons = append(reasons, "waiting for "+st.name)
			continue
		}
		reasons = append(reasons, fmt.Sprintf("%s since %s: %v", st.name, since.UTC().Format(time.RFC3339), err))
		down = earlier(down, since)
	}
	if !down.IsZero() {
		status.Since = down
	}
	if _, refused := s.owners.sizes(); len(refused) > 0 {
		reasons = append(reasons, "owners are not followed beyond "+strings.Join(refused, ", ")+": grant get")
	}
	status.Reason = strings.Join(reasons, "; ")
	return status
}

// Stats gives the sizes and counts.
func (s *Source) Stats() Stats {
	objects, refused := s.owners.sizes()
	stats := Stats{Owners: objects, Refused: len(refused), Traffic: s.traffic.list()}
	s.mu.Lock()
	stats.Namespaces, stats.Services, stats.Slices = len(s.namespaces), len(s.table.services), len(s.table.slices)
	stats.Endpoints, stats.Omitted = s.table.count, s.omitted+s.table.omitted
	for _, p := range s.pods {
		switch {
		case !p.here:
			stats.FarPods++
		default:
			stats.Pods++
			if !p.found {
				stats.Unowned++
			}
		}
	}
	stats.FarPods += len(s.far)
	streams := s.streams
	s.mu.Unlock()
	for _, st := range streams {
		st.mu.Lock()
		if st.last.After(stats.LastEvent) {
			stats.LastEvent = st.last
		}
		st.mu.Unlock()
	}
	return stats
}
