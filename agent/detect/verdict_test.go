// SPDX-License-Identifier: Apache-2.0

package detect_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/detect"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/proc"
	"github.com/holdfast-project/holdfast/agent/wire"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/tests/golden"
)

var verdictFlags = map[string]wire.Flag{
	"would_block": wire.FlagWouldBlock, "blocked": wire.FlagBlocked, "killed": wire.FlagKilled, "seen": 0,
}

var reasons = map[string]wire.Reason{
	"executable": wire.ReasonExecutable, "parent": wire.ReasonParent, "drift": wire.ReasonDrift,
	"fileless": wire.ReasonFileless, "arguments": wire.ReasonArguments, "library": wire.ReasonLibrary, "file": wire.ReasonFile,
	"protected_file": wire.ReasonProtectedFile, "address": wire.ReasonAddress, "metadata": wire.ReasonMetadata,
	"domain": wire.ReasonDomain, "listen": wire.ReasonListen, "socket": wire.ReasonSocket, "raw_socket": wire.ReasonRawSocket,
	"passed_socket": wire.ReasonPassedSocket, "mount": wire.ReasonMount, "content": wire.ReasonContent, "none": wire.ReasonNone, "new": 31,
}

var signals = map[string]wire.Signal{
	"process": wire.SignalProcess, "file": wire.SignalFile, "egress": wire.SignalEgress, "protect": wire.SignalProtect,
	"dlp": wire.SignalDlp, "none": wire.SignalNone,
}

// TestVerdictTranscripts runs the commands of testdata/*.txt. A line is a deed; the lines after it that begin with a blank
// are the alerts that it brought. A deed is: VERDICT SIGNAL REASON PID CLASS and what the class needs:
//
//	exec FLAGS EXE ARGUMENTS…    FLAGS are hf_file_flag
//	execute, create, unlink, rename, link, symlink, chmod, mmap_exec, mount PATH TARGET
//	open FLAGS PATH
//	connect, listen, socket, passed_socket FAMILY KIND PROTOCOL ADDRESS PORT TEXT
//	dns NAME
//
// And "wait SECONDS" lets time pass.
func TestVerdictTranscripts(t *testing.T) {
	golden.Transcripts(t, "testdata/*.txt", verdictTranscript)
}

func verdictTranscript(t *testing.T, text string) string {
	engine := detect.New(detect.Config{Explain: func(ev *event.Event) string {
		if ev.File() != nil {
			return "/var/log/**"
		}
		return ""
	}})
	now := int64(100e9)
	return golden.Lines(text, func(line string) string {
		words := strings.Fields(line)
		if words[0] == "wait" {
			now += int64(atoi(t, words[1])) * 1e9
			return ""
		}
		e := deed(t, words)
		e.Time = now
		var out strings.Builder
		for _, m := range engine.Match(e) {
			out.WriteString(alertText(detect.Alert(m, e)))
		}
		return out.String()
	})
}

func alertText(a *apiv1.Alert) string {
	priority := strings.ToLower(strings.TrimPrefix(a.Priority.String(), "PRIORITY_"))
	action := strings.TrimPrefix(a.Action.String(), "ACTION_")
	text := fmt.Sprintf("  %s (%s, %s, count %d) %s\n    %s\n", a.Rule, priority, action, a.Count, strings.Join(a.Tags, " "), a.Output)
	v := a.GetViolation()
	if v == nil {
		return text
	}
	if a.Fields["holdfast.signal"] != v.Signal || a.Fields["holdfast.reason"] != v.Reason {
		text += "    the fields differ from the violation\n"
	}
	// The text form of messages is not stable from run to run; this is.
	var parts []string
	add := func(name, value string) {
		if value != "" && value != "0" {
			parts = append(parts, name+"="+value)
		}
	}
	k := v.GetKey()
	add("key", strings.Join([]string{k.GetNamespace(), k.GetKind(), k.GetName(), k.GetContainer()}, "/"))
	add("signal", v.Signal)
	add("reason", v.Reason)
	add("mode", v.Mode)
	add("executable", v.Executable)
	add("parent", v.Parent)
	add("source", v.Source)
	add("shape", strings.Join(v.Shape, ","))
	add("path", v.Path)
	add("access", strings.Join(v.Access, ","))
	add("address", v.Address)
	add("name", v.Name)
	add("protocol", v.Protocol)
	add("port", strconv.Itoa(int(v.Port)))
	add("family", v.Family)
	add("kind", v.Kind)
	return text + "    " + strings.Join(parts, " ") + "\n"
}

// deed makes an enriched event of a line.
func deed(t *testing.T, words []string) *event.Event {
	t.Helper()
	verdict, signal, reason, pid, class, rest := words[0], words[1], words[2], atoi(t, words[3]), words[4], words[5:]
	p := child("/bin/sh")
	p.PID = uint32(pid)
	p.Before = service.Image
	e := deedOf(t, p, class, rest)
	e.Head.Flags |= uint16(verdictFlags[verdict])
	e.Head.Signal, e.Head.Reason = uint8(signals[signal]), uint8(reasons[reason])
	c := *web
	c.Kind, c.WorkloadKind, c.Workload = container.KindContainer, "Deployment", "web"
	e.Container = &c
	return e
}

func deedOf(t *testing.T, p *proc.Process, class string, rest []string) *event.Event {
	t.Helper()
	typ, ok := event.Parse(class)
	if !ok {
		t.Fatalf("unknown class %q", class)
	}
	switch {
	case typ == wire.TypeExec:
		p.Image = &proc.Image{Exe: rest[1], Argv: strings.Join(rest[1:], "\x00") + "\x00"}
		p.Image.ArgvHash = event.HashArgv([]byte(p.Image.Argv))
		return execOf(t, p, wire.FileFlag(atoi(t, rest[0])), 0, 5)
	case typ == wire.TypeOpen:
		return fileOf(t, typ, p, uint32(atoi(t, rest[0])), rest[1], "")
	case typ == wire.TypeDns:
		message := dnsQuestion(rest[0])
		return ev(t, typ, p, wire.Dns{Family: 2, Protocol: 17, Outbound: 1, RemotePort: 53, Remote: [16]uint8{10, 96, 0, 10}, MessageLen: uint16(len(message))}, message)
	case typ >= wire.TypeConnect:
		return netOf(t, typ, p, rest)
	default:
		return fileOf(t, typ, p, 0, rest[0], strings.Join(rest[1:], " "))
	}
}

func netOf(t *testing.T, typ wire.Type, p *proc.Process, rest []string) *event.Event {
	e := connectOf(t, p, rest[3])
	n := *e.Net()
	n.Head.Size = 0
	n.Family, n.Kind, n.Protocol = uint16(atoi(t, rest[0])), uint16(atoi(t, rest[1])), uint16(atoi(t, rest[2]))
	n.RemotePort = uint16(atoi(t, rest[4]))
	if typ == wire.TypeListen {
		n.Local, n.Remote, n.LocalPort, n.RemotePort = n.Remote, n.Local, n.RemotePort, 0
	}
	text := strings.Join(rest[5:], " ")
	n.PathLen = uint16(len(text))
	return ev(t, typ, p, n, text)
}

// dnsQuestion is a message that asks for the addresses of a name.
func dnsQuestion(name string) string {
	var m strings.Builder
	m.WriteString("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00")
	for _, label := range strings.Split(name, ".") {
		m.WriteByte(byte(len(label)))
		m.WriteString(label)
	}
	return m.String() + "\x00\x00\x01\x00\x01"
}

func atoi(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.ParseInt(text, 0, 64)
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}

func TestVerdictsNameEveryReasonOnce(t *testing.T) {
	engine := detect.New(detect.Config{})
	for name, reason := range reasons {
		e := fileOf(t, wire.TypeOpen, child("/bin/sh"), 1, "/data/x", "")
		e.Head.Flags, e.Head.Reason = uint16(wire.FlagBlocked), uint8(reason)
		m := engine.Match(e)
		if len(m) != 1 {
			t.Fatalf("%s: %d matches", name, len(m))
		}
		if known := reason != 31 && reason != wire.ReasonNone; known == (m[0].Rule.Name == "Deed not in profile") {
			t.Errorf("%s is %q", name, m[0].Rule.Name)
		}
	}
	var names []string
	for _, r := range append(engine.Verdicts(), engine.Rules()...) {
		if r.Name == "" || r.Description == "" || len(r.Tags) == 0 || r.Priority == 0 {
			t.Errorf("rule %q is not described", r.Name)
		}
		names = append(names, r.Name)
	}
	slices.Sort(names)
	if unique := len(slices.Compact(slices.Clone(names))); unique != len(names) {
		t.Errorf("%d names for %d rules", unique, len(names))
	}
}

// TestVerdictOnTheRuntime: what the runtime is kept from starting is told, although it does not run in the container yet.
func TestVerdictOnTheRuntime(t *testing.T) {
	runc := &proc.Process{PID: 9, Start: 9, Origin: cgroup, Session: proc.SessionExec, Image: &proc.Image{Exe: "/memfd:runc"}}
	runc.Root = runc
	e := fileOf(t, wire.TypeExecute, runc, 0, "/tmp/x", "")
	e.Head.Flags, e.Head.Reason = uint16(wire.FlagBlocked), uint8(wire.ReasonDrift)
	m := detect.New(detect.Config{}).Match(e)
	if len(m) != 1 || m[0].Rule.Name != "Drifted executable" {
		t.Fatalf("%v", m)
	}
	if v := detect.Alert(m[0], e).Violation; v.Parent != "(runtime)" || v.Executable != "/tmp/x" {
		t.Errorf("%v", v)
	}
}

func TestVerdictsAllocateNothing(t *testing.T) {
	engine := detect.New(detect.Config{})
	var events []*event.Event
	for _, line := range []string{
		"would_block process executable 30 exec 33 /tmp/x", "blocked file file 30 open 1 /usr/bin/x",
		"blocked egress address 30 connect 2 1 6 10.0.0.1 80", "blocked egress domain 30 dns a.example",
	} {
		events = append(events, deed(t, strings.Fields(line)))
	}
	if n := testing.AllocsPerRun(1000, func() {
		for _, e := range events {
			e.Time += 20e9
			if len(engine.Match(e)) != 1 {
				t.Fatal("no match")
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestVerdictOutputEscapes(t *testing.T) {
	e := fileOf(t, wire.TypeUnlink, child("/bin/sh"), 0, "/tmp/\x1b[31m\n", "")
	e.Head.Flags, e.Head.Reason = uint16(wire.FlagBlocked), uint8(wire.ReasonFile)
	engine := detect.New(detect.Config{Explain: func(*event.Event) string { return "\x1b]0;x\a" }})
	if out := detect.Alert(engine.Match(e)[0], e).Output; strings.ContainsAny(out, "\x1b\n\a") {
		t.Errorf("%q", out)
	}
}
