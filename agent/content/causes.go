// SPDX-License-Identifier: Apache-2.0

package content

// causes are what can be given up: names as docs/metrics.md has them, after content_.
var causes = [...]string{
	// Flows that made room for others, before and after it was known what they are, and pieces of flows for which there was no
	// memory.
	"flow_half_open_evicted", "flow_evicted", "flow_refused",
	// Bytes that never came, and segments that had other bytes than an earlier copy.
	"gap_bytes", "segment_differing",
	// Streams of HTTP/2 beyond those followed at a time.
	"stream_evicted",
	// Texts that were not looked at any further, since others came while too many were open; those of which the filter for
	// requests got only the beginning, or part by part, since the open ones had all the room together.
	"text_evicted", "text_cut", "text_apart",
	// Texts and findings of connections of which it was forgotten whose they are, and those connections.
	"text_unowned", "finding_unowned", "owner_forgotten",
	// Counts of values sent, by process and destination, that made room for others.
	"count_evicted",
	// Labelled files, and texts that could hold them, and domains and pinged addresses, that made room for others.
	"print_evicted", "tunnel_evicted",
	// Failures of parsers.
	"failure",
}

// passing is how many of causes, the first, are counted by what is made anew after a failure.
const passing = 10

// total is what was given up so far.
func (r *Reader) total() (sum [len(causes)]uint64) {
	s, sink := r.inspector.Stats(), r.sink.Stats()
	sum = [len(causes)]uint64{
		s.EvictedHalfOpen, s.Evicted, s.Refused, s.GapBytes, s.Differing, s.Streams, sink.Evicted, sink.Cut, sink.Apart, sink.Unknown,
		r.nobody, r.people.forgotten, r.counter.Stats().Evicted, r.prints.Stats().Evicted,
		r.tunnels.Stats().Evicted, r.failures,
	}
	for i, n := range r.before {
		sum[i] += n
	}
	return sum
}
