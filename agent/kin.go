// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/policy"
	"github.com/holdfast-project/holdfast/agent/proc"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// Of processes that do only what their container's policy lists the kernel side tells nothing, until they do something
// else. Then it introduces them with their ancestors, and where an exec is the first that is told, it names what ran before.

// follows begins an empty process table. The kernel side has followed processes since then, boot clock.
func (p *pipeline) follows(since uint64, maxProcesses uint32) {
	p.since = since
	p.table = proc.New(proc.Config{MaxProcesses: int(maxProcesses), Since: since})
}

// kin reads from an exec or an introduction where the process comes from. What an exec has taken the place of is looked
// for only where the table does not know it.
func (p *pipeline) kin(ev *event.Event) proc.Kin {
	body := ev.Exec()
	kin := proc.Kin{PPID: body.Ppid, ParentStart: body.ParentStart, Runtime: body.Before == policy.RuntimeExe}
	if ev.Type == wire.TypeTask || kin.Runtime || body.Before == policy.AnyExe {
		return kin
	}
	if known := p.table.Lookup(ev.Head.Tgid, ev.Head.Start); known != nil && !known.Stub {
		return kin
	}
	guess := ""
	if parent := p.table.Lookup(body.Ppid, body.ParentStart); parent != nil {
		guess = parent.Image.Exe
	}
	if path, ok := p.executable(ev.Head.Origin, body.Before, guess); ok {
		kin.Before = &proc.Image{Exe: path}
	}
	return kin
}

// introduced is the image of a process that is introduced. Its arguments are in the record when it is the one that acts.
func (p *pipeline) introduced(ev *event.Event) *proc.Image {
	im := image(ev)
	if im.Argv == "" {
		im.Argv = p.cmdline(ev.Head.Tgid, ev.Head.Start)
		im.ArgvHash, im.ArgvSize = event.HashArgv([]byte(im.Argv)), uint32(len(im.Argv))
	}
	return im
}

// process finds the process of a record. An owner of a socket is not introduced: what he runs is known to the kernel side
// by a name that the policy tells the path of.
func (p *pipeline) process(head *wire.Head) *proc.Process {
	if known := p.table.Lookup(head.Tgid, head.Start); known != nil {
		return known
	}
	found := p.table.Find(head)
	if !found.Stub || head.Origin == 0 || head.Tgid == 0 {
		return found
	}
	now, ok := p.running(head.Tgid)
	if !ok || now.Start != head.Start {
		return found
	}
	guess := ""
	if found.Root != nil {
		guess = found.Root.Image.Exe
	}
	if path, ok := p.executable(head.Origin, now.Exe, guess); ok {
		p.table.Describe(found, &proc.Image{Exe: path, ExecTime: now.ExecTime, Spaces: wire.Spaces{Mnt: now.Nsmnt}})
	}
	return found
}
