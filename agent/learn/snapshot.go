// SPDX-License-Identifier: Apache-2.0

package learn

import (
	"cmp"
	"fmt"
	"math/bits"
	"time"

	"github.com/holdfast-project/holdfast/rules/profile"
)

// snapshot gives the profile as it is now. Entries that have become alike become one, here too.
func (l *Learner) snapshot(w *workload) *profile.Profile {
	if w.last != nil {
		return w.last
	}
	w.last = w.profile(l.cfg.Node)
	if !w.grown {
		w.last.Normalise()
		return w.last
	}
	w.last = profile.Generalise(w.last)
	for i := range w.last.Processes {
		q := &w.last.Processes[i]
		if p := w.ordinary[q.Path]; p != nil && q.Seen.Origin != profile.Candidate {
			p.generalise(q, l.cfg.Node)
		}
	}
	l.stats.Entries -= w.entries
	w.entries, w.grown = w.count(), false
	l.stats.Entries += w.entries
	return w.last
}

// generalise takes over what has become of the entries of a process. Those that are as they were keep their marks; of new
// ones, the replicas are those of the ones that are gone.
func (p *process) generalise(q *profile.Process, node string) {
	g := newProcess(p.path)
	if err := g.load(q, node); err != nil {
		return
	}
	p.anyArguments = g.anyArguments
	if p.anyArguments {
		clear(p.arguments)
	}
	gone := uint64(0)
	for to, m := range p.egress {
		if g.egress[to] == nil {
			gone |= m.replicas
		}
	}
	for to, m := range g.egress {
		m.succeed(p.egress[to], gone)
	}
	gone = 0
	p.files.each(func(x *file) {
		if g.files.get(x.template) == nil {
			gone |= x.replicas
		}
	})
	g.files.each(func(x *file) {
		var known *mark
		if was := p.files.get(x.template); was != nil {
			known = &was.mark
		}
		x.succeed(known, gone)
	})
	p.egress, p.files = g.egress, g.files
}

// succeed takes over the replicas of the entry that there was, or of those that are gone.
func (m *mark) succeed(known *mark, gone uint64) {
	m.replicas = gone
	if known != nil {
		m.replicas = known.replicas
	}
}

// profile gives the entries, in no order.
func (w *workload) profile(node string) *profile.Profile {
	p := &profile.Profile{Key: w.key, Images: append([]profile.Image(nil), w.images...)}
	for _, t := range []tree{w.ordinary, w.suspect} {
		for _, x := range t {
			p.Processes = append(p.Processes, x.profile(node))
		}
	}
	p.Signals = make(map[profile.Signal]profile.Learning, len(profile.LearnedSignals()))
	for _, signal := range profile.LearnedSignals() {
		if len(w.signals) == 0 {
			break
		}
		state := profile.Learning{State: cmp.Or(w.states[signal], profile.StateLearning)}
		if s := w.signals[signal]; s != nil {
			state.Observed, state.Once, state.Replicas = s.observed, w.once(signal), replicas(s.replicas, s.known)
			state.Since, state.New, state.Lost = wall(s.since), wall(s.new), wall(s.lost)
		}
		p.Signals[signal] = state
	}
	return p
}

// assess says how far learning is, and reports whether that has changed.
func (l *Learner) assess(w *workload, now time.Time, running uint32) bool {
	changed := false
	p := l.snapshot(w)
	for signal := range p.Signals {
		state := p.Assess(signal, now, running, l.cfg.Criteria).State
		if w.states[signal] != state {
			w.states[signal], changed = state, true
		}
	}
	w.assessed = now
	if changed {
		w.last = nil
	}
	return changed
}

// replicas counts containers: those of before the agent's start are most likely the same.
func replicas(mask uint64, known uint32) uint32 {
	return max(uint32(bits.OnesCount64(mask)), known)
}

// once counts the entries of a signal that were seen exactly once.
func (w *workload) once(signal profile.Signal) uint64 {
	var n uint64
	for _, p := range w.ordinary {
		p.of(signal, func(m *mark) {
			if m.count == 1 {
				n++
			}
		})
	}
	return n
}

// of calls a function for the marks that belong to a signal.
func (p *process) of(signal profile.Signal, f func(*mark)) {
	switch signal {
	case profile.SignalProcess:
		if p.seen.origin != profile.Context {
			f(&p.seen)
		}
		each(p.parents, f)
		for _, a := range p.arguments {
			f(&a.mark)
		}
		each(p.libraries, f)
		each(p.capabilities, f)
	case profile.SignalFile:
		p.files.each(func(x *file) { f(&x.mark) })
	case profile.SignalEgress:
		each(p.egress, f)
		each(p.listen, f)
		each(p.sockets, f)
	}
}

func each[K comparable](list map[K]*mark, f func(*mark)) {
	for _, m := range list {
		f(m)
	}
}

// provenance is the mark as profiles hold it.
func (m *mark) provenance(node string) profile.Provenance {
	seen := profile.Provenance{
		Origin: m.origin, Suspect: m.suspect, First: wall(m.first), Last: wall(m.last), Count: m.count, Reason: m.reason,
	}
	if n := replicas(m.replicas, m.known); n > 0 {
		seen.Replicas = map[string]uint32{node: n}
	}
	return seen
}

func markOf(p profile.Provenance, node string) mark {
	return mark{
		origin: p.Origin, suspect: p.Suspect, first: unix(p.First), last: unix(p.Last), count: p.Count,
		known: p.Replicas[node], reason: p.Reason,
	}
}

// profile gives the process and what it lists.
func (p *process) profile(node string) profile.Process {
	q := profile.Process{Path: p.path, AnyArguments: p.anyArguments, Seen: p.seen.provenance(node)}
	for _, s := range []profile.Source{profile.FromImage, profile.FromUpper, profile.FromMemory, profile.FromVolume} {
		if p.sources&s.Bit() != 0 {
			q.Sources = append(q.Sources, s)
		}
	}
	for path, m := range p.parents {
		q.Parents = append(q.Parents, profile.Parent{Path: path, Seen: m.provenance(node)})
	}
	for _, a := range p.arguments {
		q.Arguments = append(q.Arguments, profile.Argument{Shape: a.shape, Seen: a.provenance(node)})
	}
	for path, m := range p.libraries {
		q.Libraries = append(q.Libraries, profile.Library{Path: path, Seen: m.provenance(node)})
	}
	p.files.each(func(x *file) {
		q.Files = append(q.Files, profile.File{Path: x.template.String(), Access: x.access, Seen: x.provenance(node)})
	})
	for to, m := range p.egress {
		q.Egress = append(q.Egress, to.egress(m.provenance(node)))
	}
	for key, m := range p.listen {
		q.Listen = append(q.Listen, profile.Port{
			Protocol: profile.ProtocolName(key.protocol), Port: key.number, Seen: m.provenance(node),
		})
	}
	for key, m := range p.sockets {
		q.Sockets = append(q.Sockets, profile.Socket{
			Family: profile.FamilyName(key.family), Kind: profile.SocketKindName(key.kind), Seen: m.provenance(node),
		})
	}
	for name, m := range p.capabilities {
		q.Capabilities = append(q.Capabilities, profile.Capability{Name: name, Seen: m.provenance(node)})
	}
	return q
}

// load takes a profile into an empty workload. An error names the entry that cannot be read.
func (w *workload) load(p *profile.Profile, node string) error {
	w.images = append([]profile.Image(nil), p.Images...)
	for i := range p.Processes {
		q := &p.Processes[i]
		t := w.ordinary
		if q.Seen.Origin == profile.Candidate {
			t = w.suspect
		}
		x := t[q.Path]
		if x == nil {
			x = newProcess(q.Path)
			t[q.Path] = x
		}
		if err := x.load(q, node); err != nil {
			return fmt.Errorf("process %q: %w", q.Path, err)
		}
	}
	for signal, s := range p.Signals {
		w.states[signal] = s.State
		if s.Since.IsZero() && s.Lost.IsZero() {
			continue
		}
		w.signals[signal] = &learning{
			observed: s.Observed, known: s.Replicas, since: unix(s.Since), new: unix(s.New), lost: unix(s.Lost),
		}
	}
	w.entries = w.count()
	return nil
}

// count counts the entries.
func (w *workload) count() int {
	n := 0
	for _, t := range []tree{w.ordinary, w.suspect} {
		for _, p := range t {
			p.marks(func(*mark) { n++ })
		}
	}
	return n
}

func (p *process) load(q *profile.Process, node string) error {
	p.seen, p.anyArguments = markOf(q.Seen, node), q.AnyArguments
	for _, s := range q.Sources {
		p.sources |= s.Bit()
	}
	if len(q.Sources) == 0 && q.Seen.Origin != profile.Context {
		p.sources = profile.FromImage.Bit()
	}
	for _, x := range q.Parents {
		p.parents[x.Path] = pointer(markOf(x.Seen, node))
	}
	for _, x := range q.Arguments {
		raw, err := profile.ArgumentBytes(x.Shape)
		if err != nil {
			return err
		}
		p.arguments[string(raw)] = &arguments{append([]string(nil), x.Shape...), markOf(x.Seen, node)}
	}
	for _, x := range q.Libraries {
		p.libraries[x.Path] = pointer(markOf(x.Seen, node))
	}
	for _, x := range q.Files {
		t, err := profile.ParseTemplate(x.Path)
		if err != nil {
			return fmt.Errorf("file %q: %w", x.Path, err)
		}
		p.files.add(t, x.Access, markOf(x.Seen, node))
	}
	for _, x := range q.Capabilities {
		p.capabilities[x.Name] = pointer(markOf(x.Seen, node))
	}
	return p.loadNetwork(q, node)
}

func (p *process) loadNetwork(q *profile.Process, node string) error {
	for i := range q.Egress {
		to, ok := peerOf(&q.Egress[i])
		if !ok {
			return fmt.Errorf("egress entry %d cannot be read", i)
		}
		p.egress[to] = pointer(markOf(q.Egress[i].Seen, node))
	}
	for _, x := range q.Listen {
		protocol, err := profile.ProtocolNumber(x.Protocol)
		if err != nil {
			return err
		}
		p.listen[port{protocol, x.Port}] = pointer(markOf(x.Seen, node))
	}
	for _, x := range q.Sockets {
		family, err := profile.FamilyNumber(x.Family)
		if err != nil {
			return err
		}
		kind, err := profile.SocketKindNumber(x.Kind)
		if err != nil {
			return err
		}
		p.sockets[socket{family, kind}] = pointer(markOf(x.Seen, node))
	}
	return nil
}

func pointer[T any](x T) *T { return &x }
