// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"maps"
	"slices"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/proc"
)

// Bounds of what waits for the names of containers.
const (
	parkedRecords = 65536
	parkedBytes   = 32 << 20
)

// parking holds events whose container has no name yet, by container, each queue in order. It belongs to the pipeline's
// goroutine.
type parking struct {
	queues  map[uint64][]parkedEvent
	records int
	bytes   int
	event   event.Event
}

type parkedEvent struct {
	raw     []byte
	time    int64
	process *proc.Process
}

// waits reports whether events of the cgroup are parked, behind which others must queue.
func (p *parking) waits(cgroup uint64) bool {
	return len(p.queues[cgroup]) > 0
}

// cgroups lists those that events are parked for.
func (p *parking) cgroups() []uint64 {
	return slices.Collect(maps.Keys(p.queues))
}

// put keeps a copy of the event. False when there is no room.
func (p *parking) put(cgroup uint64, ev *event.Event) bool {
	raw := ev.Raw()
	if p.records >= parkedRecords || p.bytes+len(raw) > parkedBytes {
		return false
	}
	if p.queues == nil {
		p.queues = map[uint64][]parkedEvent{}
	}
	kept := parkedEvent{raw: append([]byte(nil), raw...), time: ev.Time, process: ev.Process}
	p.queues[cgroup] = append(p.queues[cgroup], kept)
	p.records++
	p.bytes += len(raw)
	return true
}

// take gives every event of the cgroup to the function, in order, and forgets them.
func (p *parking) take(cgroup uint64, give func(*event.Event)) {
	queue := p.queues[cgroup]
	delete(p.queues, cgroup)
	for _, kept := range queue {
		p.records--
		p.bytes -= len(kept.raw)
		if err := p.event.Decode(kept.raw); err != nil {
			continue
		}
		p.event.Time, p.event.Process = kept.time, kept.process
		give(&p.event)
	}
}
