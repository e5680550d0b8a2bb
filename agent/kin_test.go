// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/policy"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// of makes a record that of another process; its start is ten times its pid.
func of(raw []byte, pid uint32) []byte {
	head := (*wire.Head)(unsafe.Pointer(unsafe.SliceData(raw)))
	head.Tgid, head.Start = pid, uint64(pid)*10
	return raw
}

// introduction is the record of a process that did what is listed until now. Ancestors come without their arguments.
func introduction(pid, parent uint32, exe string, argv ...string) []byte {
	vector := strings.Join(append(argv, ""), "\x00")
	return of(bytesOf(wire.TypeTask, testCgroup, wire.Exec{
		Ppid: parent, ParentStart: uint64(parent) * 10, ExeLen: uint16(len(exe)), ArgvLen: uint16(len(vector)), ExecTime: 5,
		File: wire.File{Flags: uint32(wire.FileOverlay)},
	}, exe, vector), pid)
}

// named gives the pipeline a container with a name.
func named(t *testing.T, p *pipeline, feed *container.Feed) {
	t.Helper()
	id := strings.Repeat("ab", 32)
	p.Record(bytesOf(wire.TypeCgroupMkdir, 0, wire.Cgroup{Id: testCgroup, Parent: 1, NameLen: uint16(len(id))}, id))
	feed.Up()
	feed.Put(container.Record{Key: container.Key{RuntimeNamespace: "k8s.io", ID: id}, Name: "web", Pod: "web-1", Namespace: "shop"})
	p.Settle()
}

func TestAncestorsAreIntroduced(t *testing.T) {
	p, feed := newPipeline(t)
	named(t, p, feed)
	lost := p.table.Stats().Stubs
	p.cmdline = func(pid uint32, start uint64) string {
		if pid != 8 || start != 80 {
			t.Errorf("the arguments of %d, started at %d, were asked for", pid, start)
		}
		return "sh\x00-c\x00backup\x00"
	}
	p.Record(execBytes(testCgroup, "/usr/sbin/nginx", wire.FileOverlay))
	p.Record(introduction(8, 7, "/bin/sh"))
	p.Record(introduction(9, 8, "/bin/backup", "backup", "now"))
	p.Record(of(bytesOf(wire.TypeFork, testCgroup, wire.Fork{ChildTgid: 10, ChildStart: 100, ChildOrigin: testCgroup}), 9))
	p.Record(of(execBytes(testCgroup, "/tmp/x", wire.FileOverlay|wire.FileUpper), 10))
	records := stored(t, p.alerts)
	if len(records) != 1 {
		t.Fatalf("%d alerts", len(records))
	}
	var line []string
	for _, a := range records[0].GetAlert().GetEvent().GetProcess().GetAncestors() {
		line = append(line, a.GetExe()+" "+strings.Join(a.GetArgv(), " "))
	}
	if want := "/bin/backup backup now|/bin/sh sh -c backup|/usr/sbin/nginx "; strings.Join(line, "|") != want {
		t.Errorf("got %q, want %q", line, want)
	}
	if n := p.table.Stats().Stubs; n != lost {
		t.Errorf("%d processes count as lost", n-lost)
	}
}

// TestExecSaysWhatRanBefore takes execs that are the first that is told of their processes.
func TestExecSaysWhatRanBefore(t *testing.T) {
	p, feed := newPipeline(t)
	named(t, p, feed)
	p.Record(execBytes(testCgroup, "/usr/sbin/nginx", wire.FileOverlay))
	p.executable = func(cgroup, subject uint64, guess string) (string, bool) {
		switch {
		case cgroup != testCgroup:
			return "", false
		case subject == 1000:
			return guess, true
		default:
			return "/bin/env", subject == 1001
		}
	}
	for i, c := range []struct {
		before uint64
		want   string
		execs  uint32
	}{
		{1000, "/usr/sbin/nginx", 2}, {1001, "/bin/env", 3}, {1002, "", 2}, {policy.AnyExe, "", 2}, {policy.RuntimeExe, "", 1},
	} {
		pid, exe := uint32(20+i), "/bin/ls"
		p.Record(of(bytesOf(wire.TypeExec, testCgroup, wire.Exec{
			Ppid: 7, ParentStart: 70, ExeLen: uint16(len(exe)), Before: c.before,
		}, exe), pid))
		found := p.table.Lookup(pid, uint64(pid)*10)
		if found.Before.Exe != c.want || found.Execs != c.execs || found.Parent == nil || found.Parent.PID != 7 {
			t.Errorf("before %d: %+v, before that %+v; want %q, %d execs", c.before, found, found.Before, c.want, c.execs)
		}
	}
}

// TestOwnersAreKnownByTheirExecutable takes flows of processes that nobody has told of.
func TestOwnersAreKnownByTheirExecutable(t *testing.T) {
	p, feed := newPipeline(t)
	named(t, p, feed)
	p.Record(execBytes(testCgroup, "/usr/sbin/nginx", wire.FileOverlay))
	asked, lost := 0, p.table.Stats().Stubs
	p.running = func(pid uint32) (wire.Process, bool) {
		asked++
		return wire.Process{Start: 300, Exe: 1001, ExecTime: 5}, true
	}
	p.executable = func(_, subject uint64, _ string) (string, bool) { return "/usr/bin/curl", subject == 1001 }
	flow := func(pid uint32) []byte {
		return of(bytesOf(wire.TypeFlow, testCgroup, wire.Net{Family: 2, Protocol: 17, RemotePort: 443}), pid)
	}
	for range 3 {
		p.Record(flow(30))
		// Another process has this id by now.
		p.Record(flow(31))
	}
	if asked != 2 {
		t.Errorf("the kernel was asked %d times for two processes", asked)
	}
	if found := p.table.Lookup(30, 300); found.Image.Exe != "/usr/bin/curl" || !found.Stub || found.Execs != 2 {
		t.Errorf("%+v %+v", found, found.Image)
	}
	if found := p.table.Lookup(31, 310); found.Image.Exe != "" {
		t.Errorf("%+v", found.Image)
	}
	if s := p.table.Stats(); s.Stubs != lost || s.Owners != 2 {
		t.Errorf("%+v", s)
	}
}

func TestCommandLineIsOfTheProcessMeant(t *testing.T) {
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	ticks, err := strconv.ParseUint(strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))[19], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	pid, start := uint32(os.Getpid()), ticks*10_000_000+5
	if got, want := commandLine(pid, start), strings.Join(append(os.Args, ""), "\x00"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := commandLine(pid, start+1e9); got != "" {
		t.Errorf("of a process that was started later: %q", got)
	}
}
