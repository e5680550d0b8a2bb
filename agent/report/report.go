// SPDX-License-Identifier: Apache-2.0

// Package report turns events as the agent holds them into the messages that leave the node. Secrets in arguments are
// redacted here, on the way out, so that nothing after this package has seen them. It is pure: no goroutines, no I/O.
package report

import (
	"strings"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/proc"
	"github.com/holdfast-project/holdfast/agent/redact"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// Event describes an enriched event with its process but no ancestors. The message shares nothing with the record.
func Event(e *event.Event) *apiv1.Event {
	m := &apiv1.Event{
		Type:      event.Name(e.Type),
		TimeNs:    e.Time,
		Cpu:       uint32(e.Head.Cpu)<<3 | uint32(e.Head.Slot)<<1 | uint32(e.Head.Ring),
		Seq:       e.Head.Seq,
		Process:   Process(e.Process),
		Container: Container(e.Container),
	}
	if m.Process != nil {
		m.Process.Tid = e.Head.Tid
	}
	if m.Container != nil {
		m.Container.Strayed = e.Has(wire.FlagStrayed)
	}
	if e.Has(wire.FlagResult) {
		m.Result = &e.Head.Result
	}
	detail(m, e)
	return m
}

// WithAncestors adds the ancestry, nearest first, to an event's process.
func WithAncestors(m *apiv1.Event, p *proc.Process) {
	for a := range p.Ancestors {
		m.Process.Ancestors = append(m.Process.Ancestors, Process(a))
	}
}

// Process describes a process and its image.
func Process(p *proc.Process) *apiv1.Process {
	if p == nil {
		return nil
	}
	image := p.Image
	return &apiv1.Process{
		Pid: p.PID, Tid: p.PID, StartNs: p.Start,
		Exe: image.Exe, Comm: image.Comm, Script: image.Script, Cwd: image.Cwd, Tty: image.TTY,
		Argv: Argv(image.Argv), ArgvTruncated: image.Truncated, ArgvHash: image.ArgvHash, ArgvBytes: image.ArgvSize,
		Uid: image.Cred.Uid, Gid: image.Cred.Gid, Euid: image.Cred.Euid, Loginuid: image.Cred.Loginuid,
		CapEffective: image.Cred.Effective,
		Flags:        processFlags(p),
		NsPid:        image.Spaces.NsPid,
		Namespaces: &apiv1.Namespaces{
			Mnt: image.Spaces.Mnt, Pid: image.Spaces.Pid, Net: image.Spaces.Net, User: image.Spaces.User,
			Ipc: image.Spaces.Ipc, Uts: image.Spaces.Uts, Cgroup: image.Spaces.Cgroup,
		},
	}
}

// Argv splits an argument vector and redacts the secrets in it.
func Argv(vector string) []string {
	if vector == "" {
		return nil
	}
	return redact.Argv(strings.Split(strings.TrimSuffix(vector, "\x00"), "\x00"))
}

// Container describes a container or the host.
func Container(c *container.Container) *apiv1.Container {
	if c == nil {
		return nil
	}
	return &apiv1.Container{
		Id: c.ID, Name: c.Name, Image: c.Image, ImageDigest: c.ImageDigest, Pod: c.Pod, PodUid: c.PodUID,
		Namespace: c.Namespace, WorkloadKind: c.WorkloadKind, Workload: c.Workload, Cgroup: c.Cgroup,
		RuntimeNamespace: c.RuntimeNamespace, Labels: c.PodLabels,
	}
}

type bitName struct {
	bit  uint32
	name string
}

var fileFlags = []bitName{
	{uint32(wire.FileUpper), "upper_layer"}, {uint32(wire.FileMemfd), "memfd"}, {uint32(wire.FileDeleted), "deleted"},
	{uint32(wire.FileSetuid), "setuid"}, {uint32(wire.FileSetgid), "setgid"}, {uint32(wire.FileTmpfs), "tmpfs"},
}

var eventFlags = []bitName{
	{uint32(wire.FlagCompat), "ia32"}, {uint32(wire.FlagUring), "io_uring"}, {uint32(wire.FlagTruncated), "truncated"},
	{uint32(wire.FlagPartial), "partial"}, {uint32(wire.FlagUserText), "user_text"}, {uint32(wire.FlagWatched), "watched"},
	{uint32(wire.FlagLearn), "learn"}, {uint32(wire.FlagWouldBlock), "would_block"}, {uint32(wire.FlagBlocked), "blocked"},
	{uint32(wire.FlagKilled), "killed"},
}

func appendNames(list []string, bits uint32, names []bitName) []string {
	for _, n := range names {
		if bits&n.bit != 0 {
			list = append(list, n.name)
		}
	}
	return list
}

func processFlags(p *proc.Process) []string {
	flags := appendNames(nil, p.Image.File.Flags, fileFlags)
	if p.Session == proc.SessionExec {
		flags = append(flags, "exec_session")
	}
	if p.Stub {
		flags = append(flags, "unknown")
	}
	return flags
}
