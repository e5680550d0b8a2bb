// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"maps"
	"slices"
	"sync"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/proc"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// relearning are the containers whose learning has begun anew, until the pipeline has what runs in them learned. It may be
// used concurrently. There are no more of them than containers.
type relearning struct {
	mu      sync.Mutex
	waiting map[uint64]bool
}

func (r *relearning) put(cgroup uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting == nil {
		r.waiting = map[uint64]bool{}
	}
	r.waiting[cgroup] = true
}

// take gives those that wait, in order.
func (r *relearning) take() []uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) == 0 {
		return nil
	}
	cgroups := slices.Sorted(maps.Keys(r.waiting))
	r.waiting = nil
	return cgroups
}

// relearn has what runs in containers learned whose learning has begun anew: it was executed before, and may never be again.
func (p *pipeline) relearn() {
	for _, cgroup := range p.anew.take() {
		c, _ := p.registry.Lookup(cgroup)
		if c == nil {
			continue
		}
		p.table.Living(cgroup, func(process *proc.Process) { p.relearnProcess(process, c) })
	}
}

func (p *pipeline) relearnProcess(process *proc.Process, c *container.Container) {
	ev := &p.event
	err := ev.Decode(taskRecord(process.Image, wire.Head{
		Time: bootNow(), Tgid: process.PID, Tid: process.PID, Start: process.Start, Cgroup: c.Cgroup, Origin: c.Cgroup,
	}))
	if err != nil {
		p.counts.malformed.Add(1)
		p.log.Error("a running process is not learned anew", "pid", process.PID, "error", err)
		return
	}
	ev.Time, ev.Process, ev.Container = int64(ev.Head.Time)+p.offset, process, c
	p.guard.Existing(ev)
}
