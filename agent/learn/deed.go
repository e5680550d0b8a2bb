// SPDX-License-Identifier: Apache-2.0

package learn

import (
	"strings"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/report"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// deed is one event that is being learned.
type deed struct {
	l  *Learner
	r  *replica
	w  *workload
	ev *event.Event
	// tree is where it is written down, with the origin and suspicion of what is new there.
	tree    tree
	origin  profile.Origin
	suspect profile.Suspicion
	signal  profile.Signal
	// at is in seconds.
	at    int64
	fresh bool
	// young says that an entry which the deed has met was new a moment ago, old that one was not.
	young, old bool
	// dry says that nothing is written down: what is asked is whether something would be, in missing.
	dry, missing bool
	// last says that nothing is waited for any more.
	last bool
}

// deed learns from an event and reports whether there is a new entry.
func (l *Learner) deed(r *replica, ev *event.Event) bool { return l.learn(r, ev, false) }

func (l *Learner) learn(r *replica, ev *event.Event, last bool) bool {
	d := deed{l: l, r: r, w: r.workload, ev: ev, at: seconds(ev.Time), signal: signalOf(ev.Type), last: last}
	if d.signal == "" {
		l.stats.Unlearnable++
		return false
	}
	d.judge()
	if d.suspect != "" && d.known() {
		return false
	}
	d.take()
	switch {
	case d.fresh:
		d.w.changed = true
	case d.suspect == "" && d.old && !d.young:
		l.stats.Repeated++
	}
	return d.fresh
}

// settle is how long it takes at most, in seconds, until what was learned is told no more.
const settle = 10

// known reports whether all of a suspect deed is allowed already: the kernel had not been told yet when it was done.
func (d *deed) known() bool {
	ordinary := deed{l: d.l, r: d.r, w: d.w, ev: d.ev, at: d.at, signal: d.signal, tree: d.w.ordinary, dry: true, last: d.last}
	ordinary.take()
	return !ordinary.missing
}

// take writes the deed down.
func (d *deed) take() {
	switch d.ev.Type {
	case wire.TypeExec, wire.TypeTask:
		d.exec()
	case wire.TypeMmapExec:
		d.library()
	case wire.TypeConnect, wire.TypeSendto:
		d.contact()
	case wire.TypeDns:
		d.ask()
	case wire.TypeBind, wire.TypeListen:
		d.listen()
	case wire.TypeSocket:
		d.socket()
	default:
		d.file()
	}
}

// signalOf is the signal that an event of a type belongs to; empty for what a profile has no entries for.
func signalOf(t wire.Type) profile.Signal {
	switch t {
	case wire.TypeExec, wire.TypeTask, wire.TypeMmapExec:
		return profile.SignalProcess
	case wire.TypeOpen, wire.TypeCreate, wire.TypeUnlink, wire.TypeRename, wire.TypeLink, wire.TypeSymlink, wire.TypeChmod,
		wire.TypeChown, wire.TypeTruncate, wire.TypeMount:
		return profile.SignalFile
	case wire.TypeConnect, wire.TypeSendto, wire.TypeDns, wire.TypeBind, wire.TypeListen, wire.TypeSocket:
		return profile.SignalEgress
	default:
		return ""
	}
}

// process finds the executable that acts, or enters it as one of which only the deeds are known; nil when it is not known
// or there is no room.
func (d *deed) process() *process {
	path := d.ev.Process.Image.Exe
	if !absolute(path) {
		d.unknown()
		return nil
	}
	if p := d.tree[path]; p != nil {
		return p
	}
	origin := profile.Context
	if d.suspect != "" {
		origin = profile.Candidate
	}
	return d.enter(path, origin)
}

// enter makes a process; nil when there is no room, or no executable has such a path.
func (d *deed) enter(path string, origin profile.Origin) *process {
	if !d.valid([]byte(path)) || !d.room() {
		return nil
	}
	p := newProcess(path)
	p.seen = mark{origin: origin, suspect: d.suspect}
	if origin != profile.Context {
		p.seen = d.mark()
	}
	d.tree[path] = p
	return p
}

func newProcess(path string) *process {
	return &process{
		path: path, parents: map[string]*mark{}, arguments: map[string]*arguments{}, libraries: map[string]*mark{},
		egress: map[peer]*mark{}, listen: map[port]*mark{}, sockets: map[socket]*mark{}, capabilities: map[string]*mark{},
	}
}

func absolute[T string | []byte](path T) bool {
	return len(path) > 1 && path[0] == '/' && len(path) <= profile.MaxText
}

// valid reports whether a profile can hold the path as it is. It is asked of new ones.
func (d *deed) valid(path []byte) bool {
	_, err := profile.ParseTemplate(profile.ExactTemplate(path))
	if err != nil {
		d.unknown()
	}
	return err == nil
}

// unknown counts a deed of which it is not known who did it, or to what. It was not learned, so the signal is partial.
func (d *deed) unknown() {
	if d.dry {
		d.missing = true
		return
	}
	d.l.stats.Unknown++
	d.w.lost(d.signal, d.ev.Time)
}

// room reports whether an entry may be added, and adds it to the count.
func (d *deed) room() bool {
	if d.dry {
		d.missing = true
		return false
	}
	if d.w.entries >= d.l.cfg.MaxEntries || d.l.stats.Entries >= d.l.cfg.MaxTotal {
		d.l.stats.Refused++
		d.observe()
		d.w.lost(d.signal, d.ev.Time)
		return false
	}
	d.w.entries++
	d.l.stats.Entries++
	return true
}

// observe counts an observation of the signal. What is suspect says nothing about how well the rest is known.
func (d *deed) observe() *learning {
	s := d.w.signal(d.signal)
	if d.suspect == "" {
		s.observed++
		s.replicas |= d.r.bit
	}
	if s.since == 0 {
		s.since = d.at
	}
	d.w.touch()
	return s
}

// mark is that of a new entry.
func (d *deed) mark() mark {
	d.fresh, d.w.grown = true, true
	d.l.stats.Learned++
	if s := d.observe(); d.suspect == "" {
		s.new = max(s.new, d.at)
		d.w.news(d.signal)
	} else {
		d.l.stats.Candidates++
	}
	return mark{
		origin: d.origin, suspect: d.suspect, first: d.at, last: d.at, count: 1, replicas: d.r.bit,
	}
}

// again notes that an entry was seen once more. One that was inherited, or there for what it lists, is learned now.
func (d *deed) again(m *mark) {
	if d.dry {
		return
	}
	d.observe()
	if d.at-m.first > settle {
		d.old = true
	} else {
		d.young = true
	}
	m.count++
	m.last = max(m.last, d.at)
	m.replicas |= d.r.bit
	switch m.origin {
	case profile.Inherited, profile.Context:
		if m.first == 0 {
			m.first = d.at
		}
		m.origin, d.fresh = d.origin, true
	}
}

// widen notes that an entry allows more than it did.
func (d *deed) widen() {
	d.fresh, d.missing = true, true
	if !d.dry {
		d.w.grown = true
		d.w.touch()
	}
}

// note is again for an entry that is in a list, or enters it.
func note[K comparable](d *deed, list map[K]*mark, key K) {
	if m := list[key]; m != nil {
		d.again(m)
	} else if d.room() {
		m := d.mark()
		list[key] = &m
	}
}

// exec learns what runs: the executable with where its file comes from, who started it, with what arguments.
func (d *deed) exec() {
	path := d.ev.Process.Image.Exe
	if !absolute(path) {
		d.unknown()
		return
	}
	if d.ev.Type == wire.TypeTask && d.forked() {
		return
	}
	p := d.tree[path]
	if p == nil {
		p = d.enter(path, d.origin)
	} else {
		d.again(&p.seen)
	}
	if p == nil {
		return
	}
	if bit := report.Source(d.ev).Bit(); p.sources&bit == 0 {
		d.widen()
		if !d.dry {
			p.sources |= bit
		}
	}
	if d.ev.Type == wire.TypeTask {
		d.found(p)
		return
	}
	d.startedBy(p, report.Parent(d.ev))
	d.arguments(p)
}

// startedBy learns who ran an executable.
func (d *deed) startedBy(p *process, parent string) {
	if parent == "" {
		d.unknown()
		return
	}
	if p.parents[parent] == nil && parent != profile.Runtime && (!absolute(parent) || !d.valid([]byte(parent))) {
		return
	}
	note(d, p.parents, parent)
}

// forked reports whether a process that was there before the agent has its parent's executable: it was forked, most
// likely, and there was no exec.
func (d *deed) forked() bool {
	p := d.ev.Process
	return p.Parent != nil && p.Parent.Origin == p.Origin && p.Parent.Image.Exe == p.Image.Exe
}

// found learns what can be told of a process that was there before the agent. Its parent is taken to have run it. Its
// arguments are where it may have written a title for itself: what looks like one tells nothing, so that any are allowed.
func (d *deed) found(p *process) {
	of := d.ev.Process
	parent := profile.Runtime
	if of.Parent != nil && of.Parent.Origin == of.Origin {
		parent = of.Parent.Image.Exe
	}
	d.startedBy(p, parent)
	name, _, _ := strings.Cut(of.Image.Argv, "\x00")
	if !strings.ContainsAny(name, " :") {
		d.arguments(p)
	} else if !p.anyArguments {
		d.anyArguments(p)
	}
}

// anyArguments lets the executable take any arguments, and forgets those that were seen.
func (d *deed) anyArguments(p *process) {
	if d.widen(); d.dry {
		return
	}
	d.w.entries -= len(p.arguments)
	d.l.stats.Entries -= len(p.arguments)
	clear(p.arguments)
	p.anyArguments = true
}

// arguments learns the shape of the argument vector. One that holds a secret has a shape that must not leave the node:
// then the executable takes any.
func (d *deed) arguments(p *process) {
	argv := d.ev.Process.Image.Argv
	if p.anyArguments {
		return
	}
	// Since Linux 5.18 there is always a name in it (fs/exec.c, bprm_stack_limits): it could not be read.
	if argv == "" {
		d.unknown()
		return
	}
	l := d.l
	vector := append(l.shape[:0], argv[:min(len(argv), profile.MaxText)]...)
	l.shape = profile.AppendShape(vector[:0], vector)
	if known := p.arguments[string(l.shape)]; known != nil {
		d.again(&known.mark)
		return
	}
	shape, clean := report.Shape(argv)
	if !clean {
		if !d.dry {
			l.stats.Secrets++
		}
		d.anyArguments(p)
		return
	}
	if d.room() {
		p.arguments[string(l.shape)] = &arguments{shape, d.mark()}
	}
}

// library learns a file outside the image that is mapped for execution.
func (d *deed) library() {
	path := d.ev.Path()
	if !absolute(path) || d.ev.Has(wire.FlagTruncated) {
		d.unknown()
		return
	}
	p := d.process()
	if p == nil {
		return
	}
	if m := p.libraries[string(path)]; m != nil {
		d.again(m)
	} else if d.valid(path) && d.room() {
		m := d.mark()
		p.libraries[string(path)] = &m
	}
}

// file learns what was done to a path, and to the new one of a rename or link.
func (d *deed) file() {
	access, target := report.Access(d.ev)
	if d.ev.Has(wire.FlagTruncated) {
		d.unknown()
		return
	}
	p := d.process()
	if p == nil {
		return
	}
	if access != 0 {
		d.path(p, d.ev.Path(), access)
	}
	if target != 0 {
		d.path(p, d.ev.Target(), target)
	}
}

// path learns one path. Templates that stand for it add up; what they lack is allowed to the path itself.
func (d *deed) path(p *process, path []byte, access profile.Access) {
	if !absolute(path) {
		d.unknown()
		return
	}
	var known *file
	var allowed profile.Access
	known, allowed, d.l.shape = p.files.find(path, d.l.shape)
	if allowed&access == access {
		d.again(&known.mark)
		return
	}
	if d.widen(); d.dry {
		return
	}
	if known != nil && known.template.Kind == profile.KindExact {
		d.again(&known.mark)
		known.access |= access
		return
	}
	t, err := profile.ParseTemplate(profile.ExactTemplate(path))
	if err != nil {
		d.unknown()
	} else if d.room() {
		p.files.add(t, access&^allowed, d.mark())
	}
}
