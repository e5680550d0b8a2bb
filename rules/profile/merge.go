// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// ErrLimit says that a profile would have more than MaxEntries entries.
var ErrLimit = errors.New("too many entries")

// Clone returns a deep copy.
func (p *Profile) Clone() *Profile {
	q := *p
	q.Images = slices.Clone(p.Images)
	q.Processes = nil
	for i := range p.Processes {
		q.Processes = append(q.Processes, p.Processes[i].join(&p.Processes[i]))
	}
	q.Signals = maps.Clone(p.Signals)
	for signal, l := range q.Signals {
		l.Nodes = maps.Clone(l.Nodes)
		q.Signals[signal] = l
	}
	return &q
}

// Normalise puts a profile into the canonical order and joins entries of the same identity, so that equal profiles have
// equal bytes. It changes the profile; nothing that it holds is shared with what it held before.
func (p *Profile) Normalise() {
	p.Images = joinedImages(p.Images, nil)
	p.Processes = joinedProcesses(p.Processes, nil)
	p.Signals = joinedSignals(p.Signals, nil)
}

// Len counts the entries: processes and all that they list.
func (p *Profile) Len() int {
	n := 0
	for i := range p.Processes {
		n += p.Processes[i].len()
	}
	return n
}

func (p *Process) len() int {
	return 1 + len(p.Parents) + len(p.Arguments) + len(p.Libraries) + len(p.Files) + len(p.Egress) + len(p.Listen) +
		len(p.Sockets) + len(p.Capabilities)
}

// Merge returns what two observed profiles of one key know together. It is commutative, associative and idempotent, so
// that the order in which nodes are heard, and how often, makes no difference: what a profile says of one node only grows
// there, and the later state of it holds. Both must be a node's own, as Attributed makes them, or merged from such.
//
// ErrLimit says that the outcome would have more than MaxEntries entries. The first profile is returned then, with every
// signal partial: what is not in it is not known.
func Merge(a, b *Profile) (*Profile, error) {
	merged := &Profile{
		Key:       a.Key,
		Images:    joinedImages(a.Images, b.Images),
		Processes: joinedProcesses(a.Processes, b.Processes),
		Signals:   joinedSignals(a.Signals, b.Signals),
	}
	if a.Key != b.Key {
		return nil, fmt.Errorf("merge profiles: %s is not %s", b.Key, a.Key)
	}
	if n := merged.Len(); n > MaxEntries {
		kept := a.Clone()
		kept.Normalise()
		for signal, l := range kept.Signals {
			l.State = StatePartial
			kept.Signals[signal] = l
		}
		return kept, fmt.Errorf("merge profiles of %s: %w: %d, at most %d", a.Key, ErrLimit, n, MaxEntries)
	}
	return merged, nil
}

// Attributed returns a copy of a profile as one node's own, whatever it says of nodes itself.
func (p *Profile) Attributed(node string) *Profile {
	q := p.Clone()
	own := func(s *Provenance) {
		var replicas uint32
		for _, n := range s.Replicas {
			replicas = max(replicas, n)
		}
		s.Replicas = nil
		if replicas > 0 {
			s.Replicas = map[string]uint32{node: replicas}
		}
	}
	for i := range q.Processes {
		q.Processes[i].provenances(own)
	}
	for signal, l := range q.Signals {
		l.Nodes = map[string]Observation{node: {l.Observed, l.Once, l.Replicas}}
		q.Signals[signal] = l
	}
	return q
}

// provenances calls a function for the provenance of the process and of all that it lists.
func (p *Process) provenances(f func(*Provenance)) {
	f(&p.Seen)
	for i := range p.Parents {
		f(&p.Parents[i].Seen)
	}
	for i := range p.Arguments {
		f(&p.Arguments[i].Seen)
	}
	for i := range p.Libraries {
		f(&p.Libraries[i].Seen)
	}
	for i := range p.Files {
		f(&p.Files[i].Seen)
	}
	for i := range p.Egress {
		f(&p.Egress[i].Seen)
	}
	for i := range p.Listen {
		f(&p.Listen[i].Seen)
	}
	for i := range p.Sockets {
		f(&p.Sockets[i].Seen)
	}
	for i := range p.Capabilities {
		f(&p.Capabilities[i].Seen)
	}
}

// identity tells processes apart. Context is no other than what may run: that is what it is the context of.
func (p *Process) identity() string {
	return p.Path + class(p.Seen)
}

// join returns a process with what two of the same identity list. It shares the shapes of arguments with them, which nobody
// changes, and nothing else.
func (p *Process) join(o *Process) Process {
	q := Process{
		Path:         p.Path,
		Sources:      joinedSources(p, o),
		Parents:      joined(p.Parents, o.Parents),
		AnyArguments: p.AnyArguments || o.AnyArguments,
		Libraries:    joined(p.Libraries, o.Libraries),
		Files:        joined(p.Files, o.Files),
		Egress:       joined(p.Egress, o.Egress),
		Listen:       joined(p.Listen, o.Listen),
		Sockets:      joined(p.Sockets, o.Sockets),
		Capabilities: joined(p.Capabilities, o.Capabilities),
		Seen:         p.Seen.join(o.Seen),
	}
	if !q.AnyArguments {
		q.Arguments = joined(p.Arguments, o.Arguments)
	}
	q.provenances(func(s *Provenance) {
		s.First, s.Last = second(s.First), second(s.Last)
		s.Replicas = maps.Clone(s.Replicas)
	})
	return q
}

// joinedSources are the sources of two processes of one identity. A context has no source of its own, so it adds none; a
// removal without sources takes all of them away.
func joinedSources(p, o *Process) []Source {
	if p.Seen.Origin == Removed && o.Seen.Origin == Removed {
		if len(p.Sources) == 0 || len(o.Sources) == 0 {
			return nil
		}
		return sourceList(sourceBits(p.Sources) | sourceBits(o.Sources))
	}
	var bits uint8
	for _, x := range []*Process{p, o} {
		if x.Path != Any && x.Seen.Origin != Context {
			bits |= sourceBits(x.Sources)
		}
	}
	return sourcesOf(bits)
}

func joinedProcesses(a, b []Process) []Process {
	if len(a)+len(b) == 0 {
		return nil
	}
	byID := make(map[string]Process, len(a)+len(b))
	for _, list := range [][]Process{a, b} {
		for i := range list {
			id := list[i].identity()
			known, ok := byID[id]
			if !ok {
				known = list[i]
			}
			byID[id] = known.join(&list[i])
		}
	}
	processes := make([]Process, 0, len(byID))
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		processes = append(processes, byID[id])
	}
	return processes
}

// joinedImages are the images of two profiles, oldest first, the newest ones if there are more than MaxImages.
func joinedImages(a, b []Image) []Image {
	if len(a)+len(b) == 0 {
		return nil
	}
	byDigest := make(map[string]Image, len(a)+len(b))
	for _, image := range slices.Concat(a, b) {
		image.FirstSeen = second(image.FirstSeen)
		if known, ok := byDigest[image.Digest]; ok {
			image.FirstSeen = earlier(known.FirstSeen, image.FirstSeen)
			image.Reference = max(known.Reference, image.Reference)
		}
		byDigest[image.Digest] = image
	}
	images := slices.SortedFunc(maps.Values(byDigest), func(a, b Image) int {
		return cmp.Or(a.FirstSeen.Compare(b.FirstSeen), cmp.Compare(a.Digest, b.Digest))
	})
	return images[max(len(images)-MaxImages, 0):]
}

func joinedSignals(a, b map[Signal]Learning) map[Signal]Learning {
	if len(a)+len(b) == 0 {
		return nil
	}
	signals := make(map[Signal]Learning, len(Signals()))
	for _, of := range []map[Signal]Learning{a, b} {
		for signal, l := range of {
			known, ok := signals[signal]
			if !ok {
				known = l
			}
			signals[signal] = known.join(l)
		}
	}
	return signals
}

// states are the states, weakest first.
var states = []State{"", StateLearning, StatePartial, StateStabilising, StateStable}

// join of what two profiles say of a signal: the weakest state, the sum of what nodes observed, the widest time.
func (l Learning) join(o Learning) Learning {
	nodes := joinedMaps(l.nodes(), o.nodes(), func(a, b Observation) Observation {
		if a.compare(b) < 0 {
			return b
		}
		return a
	})
	joint := Learning{
		State: states[max(min(slices.Index(states, l.State), slices.Index(states, o.State)), 0)],
		Since: second(earlier(l.Since, o.Since)), New: second(later(l.New, o.New)), Lost: second(later(l.Lost, o.Lost)),
		Nodes: nodes,
	}
	for _, n := range nodes {
		joint.Observed += n.Observed
		joint.Once += n.Once
		joint.Replicas += n.Replicas
	}
	if _, ok := nodes[""]; ok && len(nodes) == 1 || len(nodes) == 0 {
		joint.Nodes = nil
	}
	return joint
}

// nodes are the observations by node; those of a node that does not say its name are of "".
func (l Learning) nodes() map[string]Observation {
	if own := (Observation{l.Observed, l.Once, l.Replicas}); len(l.Nodes) == 0 && own != (Observation{}) {
		return map[string]Observation{"": own}
	}
	return l.Nodes
}

func (o Observation) compare(p Observation) int {
	return cmp.Or(cmp.Compare(o.Observed, p.Observed), cmp.Compare(o.Once, p.Once), cmp.Compare(o.Replicas, p.Replicas))
}

// second cuts a time as provenances hold it.
func second(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Second)
}
