// SPDX-License-Identifier: Apache-2.0

package proc_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/agent/proc"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/tests/golden"
)

// TestTranscripts runs the commands of testdata/*.txt. A line is a command; the lines after it that begin with a blank are
// what it printed.
//
//	fork PARENT CHILD ORIGIN     a fork, the child being born in a container's cgroup (0 the host's)
//	exec PID ORIGIN EXE MNT [PARENT BEFORE]   an exec in a mount namespace, by a child of PARENT that ran BEFORE (or runtime)
//	task PID PARENT ORIGIN EXE [TIME ARGV]    a process that was there before or is introduced, with the time of its exec
//	find PID ORIGIN [owner]      something else is told of a process, or of a socket that it owns
//	exit PID
//	show PID                     the process and its ancestors
//	stats
//
// Processes from 100 on were started since the kernel side is there.
func TestTranscripts(t *testing.T) {
	golden.Transcripts(t, "testdata/*.txt", transcript)
}

func transcript(t *testing.T, text string) string {
	table := proc.New(proc.Config{MaxDepth: 8, Since: 100_000})
	return golden.Lines(text, func(line string) string { return run(t, table, line) })
}

// head names a process; its start is a thousand times its pid.
func head(pid uint32, origin uint64) wire.Head {
	return wire.Head{Tgid: pid, Start: uint64(pid) * 1000, Origin: origin}
}

func run(t *testing.T, table *proc.Table, line string) string {
	var pid, other, mnt uint32
	var origin uint64
	var exe string
	scan := func(n int, err error) {
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	switch word, rest, _ := strings.Cut(line, " "); word {
	case "fork":
		scan(fmt.Sscan(rest, &pid, &other, &origin))
		table.Fork(&wire.Fork{Head: head(pid, 0), ChildTgid: other, ChildStart: uint64(other) * 1000, ChildOrigin: origin})
	case "exec":
		scan(fmt.Sscan(rest, &pid, &origin, &exe, &mnt))
		h := head(pid, origin)
		var kin proc.Kin
		if words := strings.Fields(rest); len(words) > 4 {
			scan(fmt.Sscan(words[4], &kin.PPID))
			kin.ParentStart = uint64(kin.PPID) * 1000
			if kin.Runtime = words[5] == "runtime"; !kin.Runtime && words[5] != "-" {
				kin.Before = &proc.Image{Exe: words[5]}
			}
		}
		image := &proc.Image{Exe: exe, ExecTime: 1, Spaces: wire.Spaces{Mnt: mnt}}
		if strings.HasPrefix(exe, "/memfd:") {
			image.File.Flags = uint32(wire.FileMemfd)
		}
		table.Exec(&h, kin, image)
	case "task":
		scan(fmt.Sscan(rest, &pid, &other, &origin, &exe))
		h := head(pid, origin)
		image := &proc.Image{Exe: exe}
		if words := strings.Fields(rest); len(words) > 4 {
			scan(fmt.Sscan(words[4], &image.ExecTime))
			image.Argv = strings.Join(words[5:], " ")
		}
		table.Existing(&h, proc.Kin{PPID: other, ParentStart: uint64(other) * 1000}, image)
	case "find":
		scan(fmt.Sscan(rest, &pid, &origin))
		h := head(pid, origin)
		h.Type = uint16(wire.TypeOpen)
		if strings.HasSuffix(rest, "owner") {
			h.Type = uint16(wire.TypeDns)
		}
		table.Find(&h)
	case "living":
		scan(fmt.Sscan(rest, &origin))
		var living []string
		table.Living(origin, func(p *proc.Process) { living = append(living, fmt.Sprintf("%d %s", p.PID, p.Image.Exe)) })
		slices.Sort(living)
		return fmt.Sprintf("  %q\n", living)
	case "stats":
		return fmt.Sprintf("  %+v\n", table.Stats())
	case "exit":
		scan(fmt.Sscan(rest, &pid))
		h := head(pid, 0)
		table.Exit(&h)
	case "show":
		scan(fmt.Sscan(rest, &pid))
		return show(table, pid)
	default:
		t.Fatalf("unknown command %q", line)
	}
	return ""
}

func show(table *proc.Table, pid uint32) string {
	p := table.Lookup(pid, uint64(pid)*1000)
	if p == nil {
		return "  not known\n"
	}
	root := uint32(0)
	if p.Root != nil {
		root = p.Root.PID
	}
	text := fmt.Sprintf("  %d %s origin=%d session=%s root=%d execs=%d stub=%v\n", p.PID, p.Image.Exe, p.Origin, p.Session, root, p.Execs, p.Stub)
	for a := range p.Ancestors {
		text += fmt.Sprintf("    %d %s\n", a.PID, a.Image.Exe)
	}
	return text
}

func TestLookupAllocatesNothing(t *testing.T) {
	table := proc.New(proc.Config{})
	h := head(1, 0)
	table.Exec(&h, proc.Kin{}, &proc.Image{Exe: "/bin/a"})
	if n := testing.AllocsPerRun(1000, func() {
		if table.Find(&h).Image.Exe != "/bin/a" {
			t.Fatal("not found")
		}
	}); n != 0 {
		t.Errorf("%v allocations a lookup", n)
	}
}

func TestEndedProcessesGoInTurn(t *testing.T) {
	table := proc.New(proc.Config{})
	for pid := uint32(1); pid <= 10000; pid++ {
		h := head(pid, 0)
		table.Exec(&h, proc.Kin{}, &proc.Image{Exe: "/bin/a"})
		table.Exit(&h)
	}
	if n := table.Stats().Processes; n > 4096 {
		t.Errorf("%d ended processes are kept", n)
	}
	if table.Lookup(10000, 10000*1000) == nil || table.Lookup(1, 1000) != nil {
		t.Error("the last one is not kept, or the first one is")
	}
}

func TestFullTableCountsAndAnswers(t *testing.T) {
	table := proc.New(proc.Config{MaxProcesses: 10})
	for pid := uint32(1); pid <= 10000; pid++ {
		h := head(pid, 0)
		if table.Exec(&h, proc.Kin{}, &proc.Image{}).PID != pid {
			t.Fatal("wrong process")
		}
	}
	if s := table.Stats(); s.Processes > 10+4096 || s.Full == 0 {
		t.Errorf("%+v", s)
	}
}

// TestStubsGiveWay shows that processes whose end nobody tells are not kept for ever, and the others are.
func TestStubsGiveWay(t *testing.T) {
	table := proc.New(proc.Config{})
	h := head(1, 7)
	table.Exec(&h, proc.Kin{}, &proc.Image{Exe: "/bin/a"})
	for pid := uint32(2); pid <= 10000; pid++ {
		h := head(pid, 7)
		table.Find(&h)
		if pid%100 == 0 {
			table.Existing(&h, proc.Kin{PPID: 1, ParentStart: 1000}, &proc.Image{Exe: "/bin/b", ExecTime: 1})
		}
	}
	if n := table.Stats().Processes; n > 4096+101 {
		t.Errorf("%d processes are kept", n)
	}
	for pid, want := range map[uint32]bool{1: true, 2: false, 100: true, 9999: true} {
		if got := table.Lookup(pid, uint64(pid)*1000) != nil; got != want {
			t.Errorf("%d is kept: %v", pid, got)
		}
	}
}

func TestWhoRanAnImage(t *testing.T) {
	table := proc.New(proc.Config{})
	for _, line := range []string{
		"task 1 0 0 /sbin/runc", "fork 1 20 77", "exec 20 77 /bin/sh 5", "fork 20 21 77", "exec 21 77 /bin/env 5",
		"exec 21 77 /bin/ls 5", "fork 21 22 77",
	} {
		run(t, table, line)
	}
	for pid, want := range map[uint32]string{20: "/sbin/runc", 21: "/bin/env", 22: "/bin/env"} {
		if p := table.Lookup(pid, uint64(pid)*1000); p.Before == nil || p.Before.Exe != want {
			t.Errorf("%d: %+v, want %s", pid, p.Before, want)
		}
	}
	if p := table.Lookup(1, 1000); p.Before != nil {
		t.Errorf("something ran a process whose exec was not seen: %+v", p.Before)
	}
}
