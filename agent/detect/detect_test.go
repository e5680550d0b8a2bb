// SPDX-License-Identifier: Apache-2.0

package detect_test

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/detect"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/proc"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/tests/golden"
)

const hostMnt, cgroup = 1, 77

var (
	host    = &proc.Process{PID: 1, Image: &proc.Image{Exe: "/usr/bin/containerd-shim-runc-v2"}, Execs: 1}
	service = func() *proc.Process {
		p := &proc.Process{
			PID: 20, Start: 1e9, Parent: host, Origin: cgroup, Session: proc.SessionEntrypoint, Execs: 1,
			Image: &proc.Image{Exe: "/usr/sbin/nginx", Argv: "nginx\x00", ExecTime: 1e9},
		}
		p.Root = p
		return p
	}()
	web = &container.Container{ID: "c0ffee", Name: "web", Namespace: "shop", Pod: "web-1", Cgroup: cgroup}
)

// child is a process of the service's lineage, started long after it.
func child(exe string) *proc.Process {
	return &proc.Process{
		PID: 30, Start: 60e9, Parent: service, Origin: cgroup, Session: proc.SessionEntrypoint, Root: service, Execs: 2,
		Image: &proc.Image{Exe: exe, Argv: exe + "\x00-c\x00id\x00", ExecTime: 60e9},
	}
}

// ev makes an enriched event of a body and its texts.
func ev[T any](t *testing.T, typ wire.Type, p *proc.Process, body T, texts ...string) *event.Event {
	t.Helper()
	head := (*wire.Head)(unsafe.Pointer(&body))
	head.Type, head.Tgid, head.Start, head.Origin, head.Time = uint16(typ), p.PID, p.Start, p.Origin, p.Start+5
	raw := append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(&body)), unsafe.Sizeof(body))...)
	raw = append(raw, strings.Join(texts, "")...)
	e := new(event.Event)
	if err := e.Decode(raw); err != nil {
		t.Fatal(err)
	}
	e.Process, e.Container, e.Time = p, web, int64(p.Start)
	if p.Origin == 0 {
		e.Container = &container.Container{WorkloadKind: "Host", Workload: "host"}
	}
	return e
}

func execOf(t *testing.T, p *proc.Process, flags wire.FileFlag, stdio wire.Stdio, mnt uint32) *event.Event {
	exe := p.Image.Exe
	return ev(t, wire.TypeExec, p, wire.Exec{
		ExeLen: uint16(len(exe)), File: wire.File{Flags: uint32(flags)}, Stdio: uint32(stdio), Spaces: wire.Spaces{Mnt: mnt},
	}, exe)
}

func fileOf(t *testing.T, typ wire.Type, p *proc.Process, flags uint32, path, target string) *event.Event {
	return ev(t, typ, p, wire.FileOp{Flags: flags, PathLen: uint16(len(path)), TargetLen: uint16(len(target))}, path, target)
}

func connectOf(t *testing.T, p *proc.Process, address string) *event.Event {
	body := wire.Net{Family: 2, RemotePort: 80}
	ip := netip.MustParseAddr(address)
	if ip.Is4() {
		four := ip.As4()
		copy(body.Remote[:], four[:])
	} else {
		body.Family, body.Remote = 10, ip.As16()
	}
	return ev(t, wire.TypeConnect, p, body)
}

func securityOf(t *testing.T, typ wire.Type, p *proc.Process, body wire.Security, name string) *event.Event {
	body.NameLen = uint16(len(name))
	return ev(t, typ, p, body, name)
}

func TestRules(t *testing.T) {
	const write, readOnly = 1, 0
	sh, cat := child("/bin/sh"), child("/bin/cat")
	preparing := &proc.Process{PID: 9, Start: 9, Parent: host, Origin: cgroup, Image: &proc.Image{Exe: "/memfd:runc"}}
	preparing.Root = preparing
	runc := &proc.Process{PID: 8, Start: 8, Parent: &proc.Process{Image: &proc.Image{Exe: "/usr/bin/runc"}}, Image: &proc.Image{Exe: "/memfd:runc_cloned"}, Execs: 1}
	onHost := &proc.Process{PID: 7, Start: 7, Image: &proc.Image{Exe: "/usr/bin/x"}, Execs: 1}
	for _, c := range []struct {
		name string
		ev   *event.Event
		want string
	}{
		{"from the upper layer", execOf(t, child("/tmp/x"), wire.FileOverlay|wire.FileUpper, 0, 5), "Executable not from the image"},
		{"from the image", execOf(t, child("/bin/ls"), wire.FileOverlay, 0, 5), ""},
		{"from memory", execOf(t, child("/memfd:x"), wire.FileMemfd|wire.FileDeleted, 0, 5), "Fileless execution"},
		{"deleted", execOf(t, child("/tmp/x"), wire.FileUpper|wire.FileDeleted, 0, 5), "Fileless execution"},
		{"runc in a container that it prepares", execOf(t, preparing, wire.FileMemfd|wire.FileDeleted, 0, hostMnt), ""},
		{"runc on the host", execOf(t, runc, wire.FileMemfd|wire.FileDeleted, 0, hostMnt), ""},
		{"from memory on the host", execOf(t, onHost, wire.FileMemfd|wire.FileDeleted, 0, hostMnt), "Fileless execution"},
		{"shell on a socket", execOf(t, sh, wire.FileOverlay, wire.StdinSocket|wire.StdoutSocket, 5), "Shell with a socket for its input"},
		{"shell on a socket pair", execOf(t, sh, wire.FileOverlay, wire.StdinUnix, 5), ""},
		{"cat on a socket", execOf(t, cat, wire.FileOverlay, wire.StdinSocket, 5), ""},
		{"shadow", fileOf(t, wire.TypeOpen, cat, readOnly, "/etc/shadow", ""), "Sensitive file read"},
		{"shadow elsewhere", fileOf(t, wire.TypeOpen, cat, readOnly, "/data/shadow", ""), ""},
		{"shadow for writing", fileOf(t, wire.TypeOpen, cat, write, "/etc/shadow", ""), ""},
		{"token by a stranger", fileOf(t, wire.TypeOpen, cat, readOnly, "/run/secrets/kubernetes.io/serviceaccount/..2026/token", ""), "Sensitive file read"},
		{"token by the service", fileOf(t, wire.TypeOpen, service, readOnly, "/run/secrets/kubernetes.io/serviceaccount/..2026/token", ""), ""},
		{"ssh key", fileOf(t, wire.TypeOpen, cat, readOnly, "/root/.ssh/id_ed25519", ""), "Sensitive file read"},
		{"program written", fileOf(t, wire.TypeOpen, sh, write, "/usr/bin/x", ""), "Write below a binary directory"},
		{"program read", fileOf(t, wire.TypeOpen, sh, readOnly, "/usr/bin/x", ""), ""},
		{"program renamed into place", fileOf(t, wire.TypeRename, sh, 0, "/tmp/x", "/usr/local/bin/x"), "Write below a binary directory"},
		{"link into place", fileOf(t, wire.TypeLink, sh, 0, "/tmp/x", "/bin/x"), "Write below a binary directory"},
		{"symlink to a program", fileOf(t, wire.TypeSymlink, sh, 0, "/tmp/x", "/bin/x"), ""},
		{"beside a binary directory", fileOf(t, wire.TypeOpen, sh, write, "/usr/bin-evil/x", ""), ""},
		{"metadata", connectOf(t, sh, "169.254.169.254"), "Cloud metadata service contacted"},
		{"metadata by IPv6", connectOf(t, sh, "fd00:ec2::254"), "Cloud metadata service contacted"},
		{"another address", connectOf(t, sh, "169.254.169.253"), ""},
		{"setns", securityOf(t, wire.TypeSetns, sh, wire.Security{Flags: 0x20000}, ""), "Namespace changed"},
		{"setns by the runtime", securityOf(t, wire.TypeSetns, preparing, wire.Security{Flags: 0x20000}, ""), ""},
		{"setns on the host", securityOf(t, wire.TypeSetns, onHost, wire.Security{Flags: 0x20000}, ""), ""},
		{"module", securityOf(t, wire.TypeModule, sh, wire.Security{}, "rootkit"), "Kernel module loaded"},
		{"module on the host", securityOf(t, wire.TypeModule, onHost, wire.Security{}, "overlay"), "Kernel module loaded"},
		{"traced", securityOf(t, wire.TypePtrace, sh, wire.Security{Mode: 2, TargetTgid: 20}, ""), "Process traced"},
		{"looked at in /proc", securityOf(t, wire.TypePtrace, sh, wire.Security{Mode: 1, TargetTgid: 20}, ""), ""},
		{"itself", securityOf(t, wire.TypePtrace, sh, wire.Security{Mode: 2, TargetTgid: sh.PID}, ""), ""},
		{"raw socket", ev(t, wire.TypeSocket, sh, wire.Net{Family: 2, Kind: 3, Protocol: 1}), "Raw or packet socket opened"},
		{"packet socket", ev(t, wire.TypeSocket, sh, wire.Net{Family: 17, Kind: 2}), "Raw or packet socket opened"},
		{"netlink raw socket", ev(t, wire.TypeSocket, sh, wire.Net{Family: 16, Kind: 3}), ""},
		{"moved out", ev(t, wire.TypeCgroupAttach, sh, wire.Cgroup{Id: 3, Tgid: 30}), "Process left its container's cgroup"},
		{"passed socket", ev(t, wire.TypePassedSocket, sh, wire.Net{Family: 2, SocketCgroup: 5}), "Socket of another container used"},
	} {
		t.Run(c.name, func(t *testing.T) {
			matches := detect.New(detect.Config{}).Match(c.ev)
			var got []string
			for _, m := range matches {
				got = append(got, m.Rule.Name)
				alert := detect.Alert(m, c.ev)
				if alert.Rule != m.Rule.Name || !strings.Contains(alert.Output, "by /") || alert.Count != 1 {
					t.Errorf("alert %v", alert)
				}
			}
			if strings.Join(got, ",") != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestOneDeedIsOneAlert(t *testing.T) {
	engine := detect.New(detect.Config{Window: 10})
	sh := child("/bin/sh")
	created := fileOf(t, wire.TypeCreate, sh, 0, "/usr/bin/x", "")
	opened := fileOf(t, wire.TypeOpen, sh, 1, "/usr/bin/x", "")
	other := fileOf(t, wire.TypeOpen, sh, 1, "/usr/bin/y", "")
	if len(engine.Match(created)) != 1 || len(engine.Match(opened)) != 0 || len(engine.Match(other)) != 1 {
		t.Error("the creation and the opening of one file are not one alert, or two files are")
	}
	opened.Time += 10
	if m := engine.Match(opened); len(m) != 1 || m[0].Count != 2 {
		t.Errorf("after the window: %v", m)
	}
	if engine.Folded() != 1 {
		t.Errorf("%d folded", engine.Folded())
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	engine := detect.New(detect.Config{})
	sh := child("/bin/sh")
	events := []*event.Event{
		execOf(t, sh, wire.FileOverlay|wire.FileUpper, wire.StdinSocket, 5),
		fileOf(t, wire.TypeOpen, sh, 0, "/etc/shadow", ""), fileOf(t, wire.TypeOpen, sh, 1, "/usr/bin/x", ""),
		connectOf(t, sh, "169.254.169.254"), connectOf(t, sh, "10.0.0.1"),
		securityOf(t, wire.TypePtrace, sh, wire.Security{Mode: 2, TargetTgid: 20}, ""),
	}
	if n := testing.AllocsPerRun(1000, func() {
		for _, e := range events {
			engine.Match(e)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestOutputEscapesWhatAttackersWrite(t *testing.T) {
	p := child("/tmp/\x1b[31mx\n")
	m := detect.New(detect.Config{}).Match(execOf(t, p, wire.FileOverlay|wire.FileUpper, 0, 5))
	if len(m) != 1 {
		t.Fatal("no match")
	}
	if out := detect.Alert(m[0], execOf(t, p, wire.FileUpper, 0, 5)).Output; strings.ContainsAny(out, "\x1b\n") {
		t.Errorf("%q", out)
	}
}

func TestWatchesCoverTheRules(t *testing.T) {
	w := detect.Watch()
	covered := w.Containers.All | w.Containers.Watched | 1<<wire.TypeExec | 1<<wire.TypeFork
	for _, r := range detect.New(detect.Config{}).Rules() {
		if r.Name == "" || r.Description == "" || len(r.Tags) == 0 || r.Priority == 0 {
			t.Errorf("rule %q is not described", r.Name)
		}
		if missing := r.Types() &^ covered; missing != 0 {
			t.Errorf("rule %q: the kernel is not asked for the classes %b", r.Name, missing)
		}
	}
}

// findingsIntro stands before what is found in what is sent.
const findingsIntro = `## What is sent and received

These tell what was found in the content of connections, or in what was done with data ([exfiltration.md](exfiltration.md)), where the modes
` + "`dlp` and `waf` ask for it ([modes.md](modes.md), [content.md](content.md))" + `.
Their priority is the severity of what found it: a detector of [dlp.md](dlp.md), a rule of [waf.md](waf.md). The ` + "`finding`" + ` of the alert has the
particulars; what was found is in it only as its detector masks it.
`

// verdictsIntro stands before what policies do not allow.
const verdictsIntro = `## What a workload's policy does not allow

The kernel has decided these; the alert tells what it was, why, and what was done: would have been blocked, blocked, or killed. Where
a detection of the list above sees the same deed, the alert is one, has the tags of both and the higher priority. What one session of
a container tries again and again with one program, even from ever new processes, is one alert in ten seconds, with a count. The
` + "`violation`" + ` of the alert holds what is needed to find the entry that is missing.
`

func documented(heading string, r detect.Rule) string {
	return fmt.Sprintf("\n%s %s\n\n%s\n\nPriority %s. Tags: %s.\n", heading, r.Name, r.Description,
		strings.ToLower(strings.TrimPrefix(r.Priority.String(), "PRIORITY_")), strings.Join(r.Tags, ", "))
}

// TestRulesAreDocumented holds docs/rules.md to the table: what follows its first rule is made from it.
func TestRulesAreDocumented(t *testing.T) {
	const path = "../../docs/rules.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	intro, _, _ := strings.Cut(string(text), "\n## ")
	var want strings.Builder
	want.WriteString(strings.TrimSuffix(intro, "\n") + "\n")
	engine := detect.New(detect.Config{})
	for _, r := range engine.Rules() {
		want.WriteString(documented("##", r))
	}
	want.WriteString("\n" + findingsIntro)
	for _, r := range engine.Findings() {
		want.WriteString(documented("###", r))
	}
	want.WriteString("\n" + verdictsIntro)
	for _, r := range engine.Verdicts() {
		want.WriteString(documented("###", r))
	}
	golden.Compare(t, path, []byte(want.String()))
}
