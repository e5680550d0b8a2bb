// SPDX-License-Identifier: Apache-2.0

package learn

import (
	"fmt"
	"time"

	"github.com/holdfast-project/holdfast/rules/profile"
)

// Hits adds what the kernel has counted of entries that it knows. The part is a process of the profile of a key that lists
// the entries meant; one that lists nothing is meant itself. Each was used n times since the last call, the last time
// about at. So observations go on where no events come any more. Entries that were not observed on this node, but learned
// on another one or written by a person, only count as observations of their signal. An error says what in the part
// cannot be read; nothing has been added then.
func (l *Learner) Hits(key profile.Key, part *profile.Process, n uint64, at time.Time) error {
	w := l.workloads[key]
	if w == nil || n == 0 {
		return nil
	}
	meant := newProcess(part.Path)
	if err := meant.load(part, l.cfg.Node); err != nil {
		return fmt.Errorf("add hits to the profile of %s: process %q: %w", key, part.Path, err)
	}
	p := w.ordinary[part.Path]
	if p == nil {
		p = newProcess(part.Path)
	}
	h := hits{w: w, n: n, at: at.Unix()}
	entries := 0
	meant.marks(func(*mark) { entries++ })
	if entries == 1 {
		h.add(profile.SignalProcess, &p.seen)
	}
	// Who is started by one of its parents is started.
	if add(h, profile.SignalProcess, p.parents, meant.parents); len(meant.parents) > 0 {
		h.add(profile.SignalProcess, &p.seen)
	}
	for shape := range meant.arguments {
		var m *mark
		if known := p.arguments[shape]; known != nil {
			m = &known.mark
		}
		h.add(profile.SignalProcess, m)
	}
	add(h, profile.SignalProcess, p.libraries, meant.libraries)
	add(h, profile.SignalProcess, p.capabilities, meant.capabilities)
	meant.files.each(func(x *file) {
		var m *mark
		if known := p.files.get(x.template); known != nil {
			m = &known.mark
		}
		h.add(profile.SignalFile, m)
	})
	add(h, profile.SignalEgress, p.egress, meant.egress)
	add(h, profile.SignalEgress, p.listen, meant.listen)
	add(h, profile.SignalEgress, p.sockets, meant.sockets)
	return nil
}

// hits are those of one call.
type hits struct {
	w  *workload
	n  uint64
	at int64
}

func add[K comparable](h hits, signal profile.Signal, known, meant map[K]*mark) {
	for key := range meant {
		h.add(signal, known[key])
	}
}

// add counts the hits of an entry, nil for one that was not observed here. One that was inherited has been seen again.
func (h hits) add(signal profile.Signal, m *mark) {
	h.w.signal(signal).observed += h.n
	h.w.touch()
	if m == nil || m.count == 0 {
		return
	}
	m.count += h.n
	m.last = max(m.last, h.at)
	if m.origin == profile.Inherited {
		m.origin, h.w.changed = profile.Learned, true
	}
}
