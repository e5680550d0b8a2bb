// SPDX-License-Identifier: Apache-2.0

// Package event is the agent's view of a record: typed access to its fixed part and its texts, without a copy, and the
// place where enrichment puts the process and the container. It is pure: no goroutines, no I/O, no clock. An Event is
// reused from record to record; whoever keeps something of it copies.
package event

import (
	"fmt"
	"unsafe"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/proc"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// maxTexts is the most texts that a record has (hf_exec).
const maxTexts = 5

// Event is one decoded record. Head and all texts point into the record's bytes and live as long as they do. The zero
// value is ready for Decode.
type Event struct {
	Type wire.Type
	Head *wire.Head
	// Time is the wall clock, nanoseconds since 1970; set by enrichment from the head's boot clock.
	Time int64
	// Process is the process that the head names; nil before enrichment.
	Process *proc.Process
	// Container is the one that the process's lineage was born in, or the host; nil before enrichment.
	Container *container.Container
	// Peer is whose the remote address of a network event is, where that is known.
	Peer container.Endpoint

	raw   []byte
	texts [maxTexts][]byte
}

// shape is the fixed size of a type's record and where its text lengths are.
type shape struct {
	size    uintptr
	lengths []uintptr
}

func shapeOf(t wire.Type) (shape, bool) {
	if int(t) >= len(shapes) || shapes[t].size == 0 {
		return shape{}, false
	}
	return shapes[t], true
}

// shapes is a table of constants.
var shapes = func() [wire.TypeLimit]shape {
	var table [wire.TypeLimit]shape
	set := func(s shape, types ...wire.Type) {
		for _, t := range types {
			table[t] = s
		}
	}
	exec := []uintptr{
		unsafe.Offsetof(wire.Exec{}.ExeLen), unsafe.Offsetof(wire.Exec{}.FilenameLen), unsafe.Offsetof(wire.Exec{}.InterpLen),
		unsafe.Offsetof(wire.Exec{}.CwdLen), unsafe.Offsetof(wire.Exec{}.ArgvLen),
	}
	set(shape{unsafe.Sizeof(wire.Fork{}), nil}, wire.TypeFork)
	set(shape{unsafe.Sizeof(wire.Exec{}), exec}, wire.TypeExec, wire.TypeTask)
	set(shape{unsafe.Sizeof(wire.Exit{}), nil}, wire.TypeExit)
	set(shape{unsafe.Sizeof(wire.Cgroup{}), []uintptr{unsafe.Offsetof(wire.Cgroup{}.NameLen)}},
		wire.TypeCgroupMkdir, wire.TypeCgroupRmdir, wire.TypeCgroupAttach)
	set(shape{unsafe.Sizeof(wire.FileOp{}), []uintptr{unsafe.Offsetof(wire.FileOp{}.PathLen), unsafe.Offsetof(wire.FileOp{}.TargetLen)}},
		wire.TypeOpen, wire.TypeCreate, wire.TypeUnlink, wire.TypeRename, wire.TypeLink, wire.TypeSymlink,
		wire.TypeChmod, wire.TypeChown, wire.TypeTruncate, wire.TypeMount, wire.TypeMmapExec, wire.TypeExecute)
	set(shape{unsafe.Sizeof(wire.Net{}), []uintptr{unsafe.Offsetof(wire.Net{}.PathLen)}},
		wire.TypeConnect, wire.TypeSendto, wire.TypeBind, wire.TypeListen, wire.TypeAccept, wire.TypeSocket,
		wire.TypeFlow, wire.TypePassedSocket)
	set(shape{unsafe.Sizeof(wire.Dns{}), []uintptr{unsafe.Offsetof(wire.Dns{}.MessageLen)}}, wire.TypeDns)
	set(shape{unsafe.Sizeof(wire.Content{}), []uintptr{unsafe.Offsetof(wire.Content{}.Length)}}, wire.TypeContent)
	set(shape{unsafe.Sizeof(wire.Security{}), []uintptr{unsafe.Offsetof(wire.Security{}.NameLen)}},
		wire.TypePtrace, wire.TypeSetns, wire.TypeUnshare, wire.TypeModule, wire.TypeBpf, wire.TypeCred,
		wire.TypeMemfd, wire.TypeIoUring)
	return table
}()

// Decode points the event at a record. It allocates nothing. A record that is shorter than its type, or whose texts do
// not fill it exactly, is an error, and the event must not be used.
func (e *Event) Decode(raw []byte) error {
	if len(raw) < int(unsafe.Sizeof(wire.Head{})) {
		return fmt.Errorf("record of %d bytes is shorter than its head", len(raw))
	}
	if uintptr(unsafe.Pointer(unsafe.SliceData(raw)))%unsafe.Alignof(wire.Head{}) != 0 {
		return fmt.Errorf("record is not aligned to %d bytes", unsafe.Alignof(wire.Head{}))
	}
	head := (*wire.Head)(unsafe.Pointer(unsafe.SliceData(raw)))
	s, ok := shapeOf(wire.Type(head.Type))
	if !ok {
		return fmt.Errorf("record of unknown type %d", head.Type)
	}
	if uintptr(len(raw)) < s.size {
		return fmt.Errorf("%s record of %d bytes, at least %d expected", Name(wire.Type(head.Type)), len(raw), s.size)
	}
	*e = Event{Type: wire.Type(head.Type), Head: head, raw: raw}
	at := s.size
	for i, offset := range s.lengths {
		length := uintptr(*(*uint16)(unsafe.Pointer(&raw[offset])))
		if at+length > uintptr(len(raw)) {
			return fmt.Errorf("%s record of %d bytes: text %d runs to %d", Name(e.Type), len(raw), i, at+length)
		}
		e.texts[i] = raw[at : at+length]
		at += length
	}
	if at != uintptr(len(raw)) {
		return fmt.Errorf("%s record of %d bytes: texts end at %d", Name(e.Type), len(raw), at)
	}
	return nil
}

// SetContent points the event at a piece of content without its text.
func (e *Event) SetContent(c *wire.Content) {
	c.Length = 0
	*e = Event{Type: wire.TypeContent, Head: &c.Head, raw: unsafe.Slice((*byte)(unsafe.Pointer(c)), unsafe.Sizeof(*c))}
}

// Has reports whether all of the flags are set.
func (e *Event) Has(flags wire.Flag) bool { return wire.Flag(e.Head.Flags)&flags == flags }

// Raw is the record itself; copy it to keep it.
func (e *Event) Raw() []byte { return e.raw }

// Fork is the body of a fork; nil for other types. So with all bodies below.
func (e *Event) Fork() *wire.Fork { return body[wire.Fork](e, wire.TypeFork, wire.TypeFork) }

// Exec is the body of an exec, or of a process that was there before the agent.
func (e *Event) Exec() *wire.Exec {
	if e.Type != wire.TypeExec && e.Type != wire.TypeTask {
		return nil
	}
	return (*wire.Exec)(unsafe.Pointer(e.Head))
}

// Exit is the body of an exit.
func (e *Event) Exit() *wire.Exit { return body[wire.Exit](e, wire.TypeExit, wire.TypeExit) }

// Cgroup is the body of a cgroup's birth, end or change of members.
func (e *Event) Cgroup() *wire.Cgroup {
	return body[wire.Cgroup](e, wire.TypeCgroupMkdir, wire.TypeCgroupAttach)
}

// File is the body of a file operation.
func (e *Event) File() *wire.FileOp { return body[wire.FileOp](e, wire.TypeOpen, wire.TypeExecute) }

// Net is the body of a network event, but for DNS.
func (e *Event) Net() *wire.Net {
	if e.Type == wire.TypeDns {
		return nil
	}
	return body[wire.Net](e, wire.TypeConnect, wire.TypePassedSocket)
}

// DNS is the body of a DNS message.
func (e *Event) DNS() *wire.Dns { return body[wire.Dns](e, wire.TypeDns, wire.TypeDns) }

// Content is the body of a piece of content.
func (e *Event) Content() *wire.Content {
	return body[wire.Content](e, wire.TypeContent, wire.TypeContent)
}

// Security is the body of a security event.
func (e *Event) Security() *wire.Security {
	return body[wire.Security](e, wire.TypePtrace, wire.TypeIoUring)
}

// body views the record as T when its type lies in the range. Decode has checked that the record is long enough.
func body[T any](e *Event, first, last wire.Type) *T {
	if e.Type < first || e.Type > last {
		return nil
	}
	return (*T)(unsafe.Pointer(e.Head))
}

// Exe is the path of the executable of an exec.
func (e *Event) Exe() []byte { return e.texts[0] }

// Filename is what was given to execve: the script, where an interpreter runs it.
func (e *Event) Filename() []byte { return e.texts[1] }

// Interpreter is the path of the interpreter of an exec; empty when the file itself runs.
func (e *Event) Interpreter() []byte { return e.texts[2] }

// Cwd is the working directory at exec.
func (e *Event) Cwd() []byte { return e.texts[3] }

// Argv is the argument vector of an exec, each argument ended by NUL.
func (e *Event) Argv() []byte { return e.texts[4] }

// Path is the path of a file operation.
func (e *Event) Path() []byte { return e.texts[0] }

// Target is the other path of a rename, link or mount, or the text of a symlink.
func (e *Event) Target() []byte { return e.texts[1] }

// Text is the one text of cgroup (name), network (path), DNS (message), content (what was sent) and security (name) events.
func (e *Event) Text() []byte { return e.texts[0] }
