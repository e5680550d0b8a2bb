// SPDX-License-Identifier: Apache-2.0

// Package proc is the agent's table of processes: who runs, what image, who the ancestors were. It is fed with the
// fork, exec and exit records in the order of the kernel's clock and answers lookups without allocating. Processes that do
// only what their container's policy lists are not told of; when one does something else, it and its ancestors are
// introduced first. It is pure: no goroutines, no I/O, no clock; one goroutine owns a Table. A Process and an Image are
// never changed once others can see them, but for stubs, so that events and alerts may hold them.
package proc

import "github.com/holdfast-project/holdfast/agent/wire"

// Session says how a process came into its container.
type Session uint8

// A process that the runtime put into a container other than as its first one, and all that it started, is an exec
// session: kubectl exec, a probe command, a runtime's exec.
const (
	SessionHost Session = iota
	SessionEntrypoint
	SessionExec
)

// String gives the word used in alerts.
func (s Session) String() string {
	switch s {
	case SessionEntrypoint:
		return "entrypoint"
	case SessionExec:
		return "exec"
	default:
		return "host"
	}
}

// Image is what one exec put into a process.
type Image struct {
	Exe string
	// Script is what was given to exec, when an interpreter runs it.
	Script string
	Comm   string
	Cwd    string
	TTY    string
	// Argv has its arguments ended by NUL; its first and last 4096 bytes when Truncated.
	Argv      string
	ArgvHash  uint64
	ArgvSize  uint32
	Truncated bool
	Stdio     wire.Stdio
	File      wire.File
	Cred      wire.Cred
	Spaces    wire.Spaces
	// ExecTime is the boot clock of the exec, nanoseconds; 0 when no exec was seen: it was before the agent, or it was that of
	// an ancestor.
	ExecTime uint64
}

// Process is one process from fork to exit, with one image. An exec gives a new Process with the same identity; those
// forked before keep pointing at what their parent was then.
type Process struct {
	PID uint32
	// Start on the boot clock, nanoseconds. With PID it is the identity.
	Start uint64
	// Parent as it was when this process was forked; nil when not known.
	Parent *Process
	Image  *Image
	// Before is the image that ran Image: the one that the process had before its last exec or, where it has had none of its
	// own, that its parent had before its last. Nil when no exec was seen.
	Before *Image
	// Origin is the cgroup2 id of the container that the lineage was born in; 0 for the host.
	Origin  uint64
	Session Session
	// Root is the process that the runtime started for the session, itself included; before that, the runtime's own
	// process; nil on the host.
	Root *Process
	// Execs counts the images that the lineage has had in its container: 0 is the runtime that still prepares it, 1 what
	// the runtime started.
	Execs uint32
	// Stub is set for a process of which nobody has told what it is: its record was lost, or it has done only what its
	// container's policy lists. When it is told, the stub is filled in place.
	Stub bool

	depth uint32
	// outer is the mount namespace that the session was entered from: the runtime's.
	outer uint32
}

// unknownImage stands in for an image that was never seen.
var unknownImage = &Image{}

type key struct {
	pid   uint32
	start uint64
}

// keyOf names the process of a record. Where the kernel did not know the process there is one to a container.
func keyOf(head *wire.Head) key {
	if head.Tgid == 0 && head.Start == 0 {
		return key{0, head.Origin}
	}
	return key{head.Tgid, head.Start}
}

// Config bounds a table.
type Config struct {
	// MaxProcesses bounds the living processes that are kept; default 65536. More are stubs, counted.
	MaxProcesses int
	// MaxDepth bounds the ancestors that are kept; default 64.
	MaxDepth uint32
	// Since is the boot clock from which on the kernel side follows processes, nanoseconds.
	Since uint64
}

// Stats counts what went wrong.
type Stats struct {
	Processes int
	// Stubs were made for processes that should have been told of before, Owners for the owners of sockets, of whom nobody
	// tells while they do what is listed.
	Stubs, Owners uint64
	// Full counts processes that were not kept because of MaxProcesses.
	Full uint64
}

// retired is how many ended processes stay findable, for records that come after the exit; stubs how many stubs are kept,
// since the end of most is not told.
const (
	retired = 4096
	stubs   = 4096
)

// Table maps process identities to processes. Not safe for concurrent use.
type Table struct {
	cfg   Config
	live  map[key]*Process
	roots map[uint64]*Process
	dead  [retired]key
	end   int
	// stubbed are the stubs, in the order that they were made.
	stubbed [stubs]key
	next    int
	stats   Stats
}

// New makes an empty table.
func New(cfg Config) *Table {
	if cfg.MaxProcesses == 0 {
		cfg.MaxProcesses = 65536
	}
	if cfg.MaxDepth == 0 {
		cfg.MaxDepth = 64
	}
	return &Table{cfg: cfg, live: map[key]*Process{}, roots: map[uint64]*Process{}}
}

// Lookup finds a process by its identity; nil when it is not known. It allocates nothing.
func (t *Table) Lookup(pid uint32, start uint64) *Process {
	return t.live[key{pid, start}]
}

// Find is Lookup that never fails: a process that is not known gets a stub, from what the head of a record says.
func (t *Table) Find(head *wire.Head) *Process {
	if p := t.live[keyOf(head)]; p != nil {
		return p
	}
	return t.stub(head)
}

// Fork enters a child, with its parent's image, and gives it.
func (t *Table) Fork(f *wire.Fork) *Process {
	parent := t.Find(&f.Head)
	p := &Process{
		PID: f.ChildTgid, Start: f.ChildStart, Parent: parent, Image: parent.Image, Before: parent.Before, Origin: f.ChildOrigin,
		Session: parent.Session, Root: parent.Root, Execs: parent.Execs, depth: parent.depth + 1, outer: parent.outer,
	}
	t.enter(p)
	if p.depth > t.cfg.MaxDepth {
		t.prune(p)
	}
	t.put(key{p.PID, p.Start}, p)
	return p
}

// Exec gives the process a new image and returns it as it is from now on. The kin tell where it belongs if it is not
// known.
func (t *Table) Exec(head *wire.Head, kin Kin, image *Image) *Process {
	old := t.live[keyOf(head)]
	if old == nil || old.Stub {
		old = t.unseen(head, kin)
	}
	p := *old
	p.Image, p.Before, p.Stub = image, old.Image, false
	p.Origin = head.Origin
	t.enter(&p)
	if !runtimeStep(&p, old, image) {
		p.Execs++
	}
	// The root of a session is what the runtime started, not the runtime that came before, and is that process as it is
	// now.
	if p.Root == old || p.Execs == 1 && old.Execs == 0 && p.Root != nil {
		p.Root = &p
		if p.Session == SessionEntrypoint {
			t.roots[p.Origin] = &p
		}
	}
	t.put(keyOf(head), &p)
	return &p
}

// runtimeStep reports whether an exec is still the runtime's, on its way to the container's first program: it runs itself
// again, by its path or from a copy in memory, in the mounts that it came from.
func runtimeStep(p, old *Process, image *Image) bool {
	if p.Origin == 0 || p.Execs > 0 || image.Spaces.Mnt != p.outer {
		return false
	}
	return wire.FileFlag(image.File.Flags)&wire.FileMemfd != 0 || image.Exe == old.Image.Exe
}

// Exit retires a process; it stays findable for some thousand exits more.
func (t *Table) Exit(head *wire.Head) {
	k := keyOf(head)
	if t.live[k] == nil {
		return
	}
	if old := t.dead[t.end]; old != (key{}) {
		delete(t.live, old)
	}
	t.dead[t.end] = k
	t.end = (t.end + 1) % retired
}

// Living calls a function for each process of a container that runs what the runtime started, or what came of that, in no
// order; stubs are left out.
func (t *Table) Living(origin uint64, do func(*Process)) {
	ended := make(map[key]bool, len(t.dead))
	for _, k := range t.dead {
		ended[k] = true
	}
	for k, p := range t.live {
		if p.Origin == origin && !p.Stub && p.Execs > 0 && !ended[k] {
			do(p)
		}
	}
}

// Forget drops what is kept of a container that is gone.
func (t *Table) Forget(origin uint64) { delete(t.roots, origin) }

// Stats gives the counts so far.
func (t *Table) Stats() Stats {
	s := t.stats
	s.Processes = len(t.live)
	return s
}

// enter makes a process that has come into a container the root of a session: the container's entrypoint, if it is its
// first process, else an exec session.
func (t *Table) enter(p *Process) {
	if p.Origin == 0 || (p.Parent != nil && p.Parent.Origin == p.Origin) || (p.Root != nil && p.Root.Origin == p.Origin) {
		return
	}
	p.Root, p.Execs, p.outer = p, 0, p.Image.Spaces.Mnt
	if p.Parent != nil {
		p.outer = p.Parent.Image.Spaces.Mnt
	}
	p.Session = SessionExec
	if first := t.roots[p.Origin]; first == nil || first.PID == p.PID && first.Start == p.Start {
		t.roots[p.Origin] = p
		p.Session = SessionEntrypoint
	}
}

func (t *Table) put(k key, p *Process) {
	if _, known := t.live[k]; !known && len(t.live) >= t.cfg.MaxProcesses+retired {
		t.stats.Full++
		return
	}
	t.live[k] = p
}

// prune cuts the oldest ancestors off, so that a process that forks and ends for ever keeps no endless chain.
func (t *Table) prune(p *Process) {
	at := p
	for range t.cfg.MaxDepth / 2 {
		if at.Parent == nil {
			break
		}
		at = at.Parent
	}
	at.Parent = nil
	p.depth = 0
	for range p.Ancestors {
		p.depth++
	}
}

// Ancestors calls yield for the parent, its parent and so on, until it returns false.
func (p *Process) Ancestors(yield func(*Process) bool) {
	for q := p.Parent; q != nil; q = q.Parent {
		if !yield(q) {
			return
		}
	}
}
