// SPDX-License-Identifier: Apache-2.0

package content

import "github.com/holdfast-project/holdfast/agent/inspect"

// causes are what can be given up: names as docs/metrics.md has them, after content_.
var causes = [...]string{
	// Flows that made room for others, before and after it was known what they are, and pieces of flows for which there was no
	// memory.
	"flow_half_open_evicted", "flow_evicted", "flow_refused",
	// Bytes that never came, and segments that had other bytes than an earlier copy.
	"gap_bytes", "segment_differing",
	// Streams of HTTP/2 beyond those followed at a time.
	"stream_evicted",
	// Texts that were not looked at any further, since others came while too many were open; those of which the filter for requests got only the beginning, or part by part,
	// since the open ones had all the room together.
	"text_evicted", "text_cut", "text_apart",
	// Connections of which it was forgotten whose they are, and texts and findings of those.
	"owner_forgotten", "text_unowned",
	// Counts of values sent, by process and destination, that made room for others.
	"count_evicted",
}

// givenUp publishes what was given up so far.
func (r *Reader) givenUp(s *inspect.Stats) {
	sink := r.sink.Stats()
	for i, n := range [len(causes)]uint64{
		s.EvictedHalfOpen, s.Evicted, s.Refused, s.GapBytes, s.Differing, s.Streams, sink.Evicted, sink.Cut, sink.Apart,
		r.people.forgotten, sink.Unknown + r.nobody, r.counter.Stats().Evicted,
	} {
		r.counts.givenUp[i].Store(n)
	}
}
