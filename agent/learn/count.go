// SPDX-License-Identifier: Apache-2.0

package learn

import (
	"fmt"
	"time"

	"github.com/holdfast-project/holdfast/agent/policy"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Count adds what the kernel has counted of the entries that were observed: used says how often the entries of a set were
// used, all together, since the last call; it is asked for the set of each entry by itself. The options are those that the
// profile in force was compiled with. It returns an error, having added what came before, for an entry that cannot be
// compiled.
func (l *Learner) Count(key profile.Key, o policy.Options, used func(*policy.Set) uint64, at time.Time) error {
	w := l.workloads[key]
	if w == nil {
		return nil
	}
	// What comes with every set is nobody's use of an entry.
	o.Resolvers = nil
	p := l.snapshot(w)
	for i := range p.Processes {
		if p.Processes[i].Seen.Origin == profile.Candidate {
			continue
		}
		for part := range parts(&p.Processes[i]) {
			set, err := policy.Compile(&profile.Profile{Key: key, Processes: []profile.Process{part}}, o)
			if err != nil {
				return fmt.Errorf("count the use of entries of %s: %w", key, err)
			}
			if err := l.Hits(key, &part, used(set), at); err != nil {
				return err
			}
		}
	}
	return nil
}

// parts calls a function with processes that each list one of the entries of a process, until it returns false.
func parts(p *profile.Process) func(yield func(profile.Process) bool) {
	return func(yield func(profile.Process) bool) {
		bare := profile.Process{Path: p.Path, Seen: profile.Provenance{Origin: profile.Context}}
		// To be started is what parents allow; nobody starts what is only listed.
		run := profile.Process{Path: p.Path, Sources: p.Sources, Seen: p.Seen}
		_ = list(p.Parents, run, yield, func(q *profile.Process, x profile.Parent) { q.Parents = []profile.Parent{x} }) &&
			list(p.Arguments, bare, yield, func(q *profile.Process, x profile.Argument) { q.Arguments = []profile.Argument{x} }) &&
			list(p.Libraries, bare, yield, func(q *profile.Process, x profile.Library) { q.Libraries = []profile.Library{x} }) &&
			list(p.Files, bare, yield, func(q *profile.Process, x profile.File) { q.Files = []profile.File{x} }) &&
			list(p.Egress, bare, yield, func(q *profile.Process, x profile.Egress) { q.Egress = []profile.Egress{x} }) &&
			list(p.Listen, bare, yield, func(q *profile.Process, x profile.Port) { q.Listen = []profile.Port{x} }) &&
			list(p.Sockets, bare, yield, func(q *profile.Process, x profile.Socket) { q.Sockets = []profile.Socket{x} })
	}
}

// list yields a process for each of some entries, and reports whether more are wanted.
func list[T any](of []T, p profile.Process, yield func(profile.Process) bool, set func(*profile.Process, T)) bool {
	for _, x := range of {
		q := p
		set(&q, x)
		if !yield(q) {
			return false
		}
	}
	return true
}
