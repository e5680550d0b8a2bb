// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"encoding/binary"
	"math"
	"sync"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/guard"
	"github.com/holdfast-project/holdfast/agent/proc"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// lateBound is how many verdicts on processes that ran before their policy wait for the pipeline.
const lateBound = 4096

// latePatience is how long the pipeline waits for the record of such a process, nanoseconds: it was sent before.
const latePatience = 1e9

// lateQueue holds verdicts of the guard on processes that ran before their policy came into force, until the pipeline
// tells of them. It may be used concurrently.
type lateQueue struct {
	mu      sync.Mutex
	waiting []lateVerdict
	dropped uint64
}

type lateVerdict struct {
	guard.Late
	// at is when the verdict fell, boot clock.
	at uint64
}

func (q *lateQueue) put(l guard.Late) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) >= lateBound {
		q.dropped++
		return
	}
	q.waiting = append(q.waiting, lateVerdict{l, bootNow()})
}

func (q *lateQueue) lost() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

// take gives those whose process is known, or has not become known in time.
func (q *lateQueue) take(now uint64, known func(guard.Late) bool) []lateVerdict {
	q.mu.Lock()
	defer q.mu.Unlock()
	var taken, left []lateVerdict
	for _, v := range q.waiting {
		if known(v.Late) || now-v.at > latePatience {
			taken = append(taken, v)
		} else {
			left = append(left, v)
		}
	}
	q.waiting = left
	return taken
}

// tellLate tells of the verdicts that wait, as of records of the kernel.
func (p *pipeline) tellLate(now uint64) {
	verdicts := p.late.take(now, func(l guard.Late) bool {
		process := p.table.Lookup(l.PID, l.Start)
		return process != nil && !process.Stub
	})
	for _, v := range verdicts {
		raw, process := p.lateRecord(v)
		ev := &p.event
		if err := ev.Decode(raw); err != nil {
			p.counts.malformed.Add(1)
			p.log.Error("verdict on a running process not told", "error", err)
			continue
		}
		ev.Time, ev.Process, ev.Container = int64(v.at)+p.offset, process, v.Container
		p.finish(ev)
	}
}

// lateRecord makes the record: what is known of a process that was there, as the kernel side tells it, with the verdict.
func (p *pipeline) lateRecord(v lateVerdict) ([]byte, *proc.Process) {
	process := p.table.Lookup(v.PID, v.Start)
	if process == nil || process.Stub {
		process = &proc.Process{
			PID: v.PID, Start: v.Start, Origin: v.Container.Cgroup, Stub: true,
			Image: &proc.Image{Exe: v.Executable, Argv: v.Arguments},
		}
	}
	if process.Image.Argv == "" {
		// It had been ended when its record was read.
		known := *process
		image := *process.Image
		image.Argv = v.Arguments
		known.Image = &image
		process = &known
	}
	image := process.Image
	flags := wire.FlagWouldBlock
	if v.Killed {
		flags = wire.FlagKilled
	}
	return taskRecord(image, wire.Head{
		Flags: uint16(flags), Signal: uint8(v.Signal), Reason: uint8(v.Reason), Time: v.at,
		Tgid: v.PID, Tid: v.PID, Start: v.Start, Cgroup: v.Container.Cgroup, Origin: v.Container.Cgroup,
	}), process
}

// taskRecord makes the record of a process that is there, as the kernel side tells of it: nil where it cannot be made, of
// which Decode says that it is none.
func taskRecord(image *proc.Image, head wire.Head) []byte {
	head.Type = uint16(wire.TypeTask)
	exe := image.Exe[:min(len(image.Exe), math.MaxUint16)]
	raw, err := binary.Append(nil, binary.NativeEndian, wire.Exec{
		Head: head, Cred: image.Cred, Spaces: image.Spaces, File: image.File, ExeLen: uint16(len(exe)),
	})
	if err != nil {
		return nil
	}
	return append(raw, exe...)
}

// judged reports whether the event bears a verdict on a process that was there.
func judged(ev *event.Event) bool {
	return ev.Head.Flags&uint16(wire.FlagKilled|wire.FlagWouldBlock) != 0
}
