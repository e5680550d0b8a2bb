// SPDX-License-Identifier: Apache-2.0

package learn_test

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/learn"
	"github.com/holdfast-project/holdfast/agent/proc"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/golden"
)

// TestTranscripts runs the commands of testdata/*.txt. A line is a command; the lines after it that begin with a blank are
// what it printed: new, when the observed profile has a new entry.
//
//	container CGROUP NAMESPACE KIND WORKLOAD NAME DIGEST [ANNOTATION=VALUE]
//	end CGROUP                               the container is gone
//	task PID PARENT ORIGIN FLAGS EXE ARGV…   a process that was there before
//	fork PARENT CHILD ORIGIN
//	introduce PID PARENT ORIGIN EXE          a process that did what is listed until now
//	told PID PARENT BEFORE ORIGIN EXE ARGV…  an exec that is the first that is told of a process; - for not known
//	stub PID ORIGIN                          a process of which nothing more is known
//	exec PID MNT FLAGS EXE ARGV…             FLAGS are hf_file_flag
//	open PID FLAGS PATH, read PID PATH (of a protected file)
//	create, unlink, rename, link, symlink, chmod, truncate, mount PID PATH [TARGET]
//	mmap_exec PID FLAGS PATH
//	connect, sendto PID PROTOCOL ADDRESS PORT
//	metadata PID ADDRESS                     a connect to it
//	ask PID NAME; answer PID NAME TTL ADDRESS…
//	listen, bind PID PROTOCOL PORT; socket PID FAMILY KIND
//	peer ADDRESS service|pod NAMESPACE NAME  what addresses belong to from now on
//	asked POD yes|no                         whether its owner is still being asked for
//	foresee CGROUP EXE ARGV…                 what will be run as one
//	commands CGROUP ARGV…                    the pod's specification has it as a probe or a hook
//	hits PROCESS COUNT cidr|file|parent ENTRY
//	incident CGROUP SECONDS, probe CGROUP ARGV…, lost CAUSE, wait SECONDS
//	anew CGROUP                              what was learned of the container's workload is forgotten
//	dirty, states, show, stats, restart (a new learner that has the profiles of the old one)
//
// A deed with "known" before it is not flagged to be learned.
func TestTranscripts(t *testing.T) {
	golden.Transcripts(t, "testdata/*.txt", transcript)
}

func transcript(t *testing.T, text string) string {
	n := newNode(t, learn.Config{})
	return golden.Lines(text, func(line string) string { return n.run(strings.Fields(line)) })
}

// node is a learner with what feeds it.
type node struct {
	t          *testing.T
	cfg        learn.Config
	learner    *learn.Learner
	table      *proc.Table
	containers map[uint64]*container.Container
	peers      map[string]container.Endpoint
	// asked are the pods whose owners are not known yet.
	asked map[string]bool
	now   int64
}

func newNode(t *testing.T, cfg learn.Config) *node {
	cfg.Node = "n1"
	asked := map[string]bool{}
	cfg.Owner = func(pod container.Endpoint) (container.Owner, container.OwnerAnswer) {
		name, _, ok := strings.Cut(pod.Name, "-")
		switch {
		case !ok:
			return container.Owner{}, container.OwnerUnknown
		case asked[pod.Name]:
			return container.Owner{}, container.OwnerAsked
		default:
			return container.Owner{Kind: "Deployment", Name: name}, container.OwnerKnown
		}
	}
	return &node{
		t: t, asked: asked, cfg: cfg, learner: learn.New(cfg), table: proc.New(proc.Config{}),
		containers: map[uint64]*container.Container{}, peers: map[string]container.Endpoint{}, now: 1_800_000_000e9,
	}
}

func (n *node) int(text string) int {
	n.t.Helper()
	v, err := strconv.ParseInt(text, 0, 64)
	if err != nil {
		n.t.Fatal(err)
	}
	return int(v)
}

func (n *node) at() time.Time { return time.Unix(0, n.now) }

func (n *node) run(words []string) string {
	n.t.Helper()
	flags := wire.FlagLearn
	if words[0] == "known" {
		flags, words = 0, words[1:]
	}
	word, rest := words[0], words[1:]
	switch word {
	case "container":
		n.container(rest)
	case "end":
		n.learner.Ended(uint64(n.int(rest[0])))
	case "fork":
		n.table.Fork(&wire.Fork{
			Head: n.head(rest[0], 0), ChildTgid: uint32(n.int(rest[1])), ChildStart: uint64(n.int(rest[1])) * 1000,
			ChildOrigin: uint64(n.int(rest[2])),
		})
	case "introduce":
		h := n.head(rest[0], uint64(n.int(rest[2])))
		parent := n.head(rest[1], 0)
		n.table.Existing(&h, proc.Kin{PPID: parent.Tgid, ParentStart: parent.Start}, &proc.Image{
			Exe: rest[3], Argv: rest[3] + "\x00", ExecTime: 1, File: wire.File{Device: 7},
		})
	case "stub":
		h := n.head(rest[0], uint64(n.int(rest[1])))
		n.table.Find(&h)
	case "peer":
		kind := map[string]container.EndpointKind{"service": container.EndpointService, "pod": container.EndpointPod}[rest[1]]
		n.peers[rest[0]] = container.Endpoint{Kind: kind, Namespace: rest[2], Name: rest[3]}
	case "foresee":
		if n.learner.Foresee(uint64(n.int(rest[0])), rest[1], rest[2:], n.at()) {
			return "  new\n"
		}
	case "commands":
		c := *n.containers[uint64(n.int(rest[0]))]
		c.Commands = append(c.Commands, rest[1:])
		n.containers[c.Cgroup] = &c
		n.learner.Began(&c, n.at())
	case "asked":
		n.asked[rest[0]] = rest[1] == "yes"
	case "incident":
		n.learner.Incident(uint64(n.int(rest[0])), n.at().Add(time.Duration(n.int(rest[1]))*time.Second))
	case "probe":
		n.learner.Probes(uint64(n.int(rest[0])), [][]string{rest[1:]})
	case "lost":
		n.learner.Lost(rest[0], n.at())
	case "wait":
		n.now += int64(n.int(rest[0])) * 1e9
	case "dirty":
		return fmt.Sprintf("  %v\n", n.learner.Dirty(n.at()))
	case "stats":
		return fmt.Sprintf("  %+v\n", n.learner.Stats())
	case "show":
		return n.show()
	case "states":
		var text string
		for _, key := range n.learner.Keys() {
			p, _ := n.learner.Profile(key)
			for _, signal := range profile.Deeds() {
				text += fmt.Sprintf("  %s %s\n", signal, p.Signals[signal].State)
			}
		}
		return text
	case "anew":
		c := n.containers[uint64(n.int(rest[0]))]
		key := profile.Key{Namespace: c.Namespace, Kind: c.WorkloadKind, Name: c.Workload, Container: c.Name}
		return fmt.Sprintf("  %v\n", n.learner.Anew(key))
	case "restart":
		n.restart()
	case "hits":
		n.hits(rest)
	default:
		return n.observe(n.event(word, rest), flags)
	}
	return ""
}

func (n *node) observe(e *event.Event, flags wire.Flag) string {
	e.Head.Flags |= uint16(flags)
	learned := false
	if e.Type == wire.TypeTask {
		learned = n.learner.Existing(e)
	} else {
		learned = n.learner.Observe(e)
	}
	if learned {
		return "  new\n"
	}
	return ""
}

func (n *node) container(rest []string) {
	c := &container.Container{
		State: container.StateResolved, Kind: container.KindContainer, Cgroup: uint64(n.int(rest[0])), ID: "c" + rest[0],
		Namespace: rest[1], WorkloadKind: rest[2], Workload: rest[3], Name: rest[4], ImageDigest: rest[5], Image: "registry/" + rest[3],
	}
	if len(rest) > 6 {
		name, value, _ := strings.Cut(strings.Join(rest[6:], " "), "=")
		c.Annotations = map[string]string{name: value}
	}
	n.containers[c.Cgroup] = c
	n.learner.Began(c, n.at())
}

// head names a process; its start is a thousand times its pid.
func (n *node) head(pid string, origin uint64) wire.Head {
	return wire.Head{Tgid: uint32(n.int(pid)), Start: uint64(n.int(pid)) * 1000, Origin: origin}
}

// event makes an enriched event of a deed.
func (n *node) event(class string, rest []string) *event.Event {
	n.t.Helper()
	switch class {
	case "task":
		image := &proc.Image{Exe: rest[4], Argv: strings.Join(rest[5:], "\x00") + "\x00", File: wire.File{Flags: uint32(n.int(rest[3])), Device: 7}}
		h := n.head(rest[0], uint64(n.int(rest[2])))
		p := n.table.Existing(&h, proc.Kin{PPID: uint32(n.int(rest[1])), ParentStart: uint64(n.int(rest[1])) * 1000}, image)
		return record(n, p, wire.TypeTask, wire.Exec{File: image.File, ExeLen: uint16(len(image.Exe))}, image.Exe)
	case "told":
		image := &proc.Image{Exe: rest[4], Argv: strings.Join(rest[5:], "\x00") + "\x00", ExecTime: 1, File: wire.File{Device: 7}}
		h, parent := n.head(rest[0], uint64(n.int(rest[3]))), n.head(rest[1], 0)
		kin := proc.Kin{PPID: parent.Tgid, ParentStart: parent.Start, Before: &proc.Image{Exe: rest[2]}}
		if rest[2] == "-" {
			kin.Before = nil
		}
		p := n.table.Exec(&h, kin, image)
		return record(n, p, wire.TypeExec, wire.Exec{File: image.File, ExeLen: uint16(len(image.Exe))}, image.Exe)
	case "exec":
		image := &proc.Image{
			Exe: rest[3], Argv: strings.Join(rest[4:], "\x00") + "\x00", ExecTime: 1,
			Spaces: wire.Spaces{Mnt: uint32(n.int(rest[1]))}, File: wire.File{Flags: uint32(n.int(rest[2])), Device: 7},
		}
		h := n.head(rest[0], 0)
		h.Origin = n.table.Find(&h).Origin
		p := n.table.Exec(&h, proc.Kin{}, image)
		return record(n, p, wire.TypeExec, wire.Exec{File: image.File, ExeLen: uint16(len(image.Exe))}, image.Exe)
	}
	h := n.head(rest[0], 0)
	p := n.table.Find(&h)
	switch class {
	case "ask", "answer":
		message := question(rest[1])
		if class == "answer" {
			message = answer(rest[1], n.int(rest[2]), rest[3:])
		}
		body := wire.Dns{Family: 2, Protocol: 17, RemotePort: 53, Remote: [16]uint8{10, 96, 0, 10}, MessageLen: uint16(len(message))}
		if class == "ask" {
			body.Outbound = 1
		}
		return record(n, p, wire.TypeDns, body, message)
	case "open":
		return record(n, p, wire.TypeOpen, wire.FileOp{Flags: uint32(n.int(rest[1])), PathLen: uint16(len(rest[2]))}, rest[2])
	case "read":
		e := record(n, p, wire.TypeOpen, wire.FileOp{PathLen: uint16(len(rest[1]))}, rest[1])
		e.Head.Reason = uint8(wire.ReasonProtectedFile)
		return e
	case "metadata":
		e := n.contact(p, "connect", []string{rest[0], "6", rest[1], "80"})
		e.Head.Reason = uint8(wire.ReasonMetadata)
		return e
	case "mmap_exec":
		return record(n, p, wire.TypeMmapExec, wire.FileOp{File: wire.File{Flags: uint32(n.int(rest[1]))}, PathLen: uint16(len(rest[2]))}, rest[2])
	case "listen", "bind", "socket":
		body := wire.Net{Family: 2, Kind: 1}
		typ, _ := event.Parse(class)
		if class == "socket" {
			body.Family, body.Kind = uint16(n.int(rest[1])), uint16(n.int(rest[2]))
		} else {
			body.Protocol, body.LocalPort = uint16(n.int(rest[1])), uint16(n.int(rest[2]))
		}
		return record(n, p, typ, body, "")
	case "connect", "sendto":
		return n.contact(p, class, rest)
	}
	typ, ok := event.Parse(class)
	if !ok {
		n.t.Fatalf("unknown command %q", class)
	}
	target := strings.Join(rest[2:], " ")
	return record(n, p, typ, wire.FileOp{PathLen: uint16(len(rest[1])), TargetLen: uint16(len(target))}, rest[1]+target)
}

func (n *node) contact(p *proc.Process, class string, rest []string) *event.Event {
	typ, _ := event.Parse(class)
	body := wire.Net{Family: 10, Kind: 1, Protocol: uint16(n.int(rest[1])), RemotePort: uint16(n.int(rest[3]))}
	addr := netip.MustParseAddr(rest[2])
	if addr.Is4() {
		four := addr.As4()
		body.Family = 2
		copy(body.Remote[:], four[:])
	} else {
		body.Remote = addr.As16()
	}
	e := record(n, p, typ, body, "")
	e.Peer = n.peers[rest[2]]
	return e
}

// record makes an event of a body and its texts.
func record[T any](n *node, p *proc.Process, typ wire.Type, body T, texts string) *event.Event {
	n.t.Helper()
	head := (*wire.Head)(unsafe.Pointer(&body))
	head.Type, head.Tgid, head.Start, head.Origin = uint16(typ), p.PID, p.Start, p.Origin
	raw := append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(&body)), unsafe.Sizeof(body))...)
	e := new(event.Event)
	if err := e.Decode(append(raw, texts...)); err != nil {
		n.t.Fatal(err)
	}
	e.Process, e.Time, e.Container = p, n.now, n.containers[p.Origin]
	return e
}

func labels(name string) string {
	var m strings.Builder
	for _, label := range strings.Split(name, ".") {
		m.WriteByte(byte(len(label)))
		m.WriteString(label)
	}
	return m.String() + "\x00"
}

func question(name string) string {
	return "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels(name) + "\x00\x01\x00\x01"
}

// answer answers by way of an alias, at which the addresses are.
func answer(name string, ttl int, addresses []string) string {
	alias := labels("edge.cdn.example")
	text := "\x12\x34\x81\x80\x00\x01\x00" + string(rune(len(addresses)+1)) + "\x00\x00\x00\x00" + labels(name) + "\x00\x01\x00\x01"
	seconds := string([]byte{byte(ttl >> 24), byte(ttl >> 16), byte(ttl >> 8), byte(ttl)})
	text += "\xc0\x0c\x00\x05\x00\x01" + seconds + "\x00" + string(rune(len(alias))) + alias
	for _, address := range addresses {
		raw := netip.MustParseAddr(address).AsSlice()
		typ := "\x00\x01"
		if len(raw) == 16 {
			typ = "\x00\x1c"
		}
		text += alias + typ + "\x00\x01" + seconds + "\x00" + string(rune(len(raw))) + string(raw)
	}
	return text
}

// show prints all profiles, each of which must be one that others can read.
func (n *node) show() string {
	var out strings.Builder
	for _, key := range n.learner.Keys() {
		p, _ := n.learner.Profile(key)
		if err := p.Validate(); err != nil {
			fmt.Fprintf(&out, "  not valid: %v\n", err)
		}
		text := profile.Encode(p)
		if read, err := profile.DecodeOne("profile", text); err != nil || string(profile.Encode(read)) != string(text) {
			fmt.Fprintf(&out, "  read back it is another one: %v\n", err)
		}
		for line := range strings.Lines(string(text)) {
			out.WriteString("  " + line)
		}
	}
	return out.String()
}

// restart gives the profiles to a new learner, which must have the same.
func (n *node) restart() {
	n.t.Helper()
	next := learn.New(n.cfg)
	for _, key := range n.learner.Keys() {
		p, _ := n.learner.Profile(key)
		if err := next.Restore(p); err != nil {
			n.t.Fatal(err)
		}
		again, _ := next.Profile(key)
		if got, want := string(profile.Encode(again)), string(profile.Encode(p)); got != want {
			n.t.Errorf("restored:\n%s\nwant:\n%s", got, want)
		}
	}
	if got, want := next.Stats().Entries, n.learner.Stats().Entries; got != want {
		n.t.Errorf("restored with %d entries, want %d", got, want)
	}
	n.learner = next
}

func (n *node) hits(rest []string) {
	n.t.Helper()
	part := &profile.Process{Path: rest[0], Seen: profile.Provenance{Origin: profile.Context}}
	switch rest[2] {
	case "cidr":
		part.Egress = []profile.Egress{{CIDR: rest[3], Protocol: "tcp", Port: uint16(n.int(rest[4]))}}
	case "file":
		part.Files = []profile.File{{Path: rest[3], Access: profile.Write}}
	case "parent":
		part.Parents = []profile.Parent{{Path: rest[3]}}
	}
	for _, key := range n.learner.Keys() {
		if err := n.learner.Hits(key, part, uint64(n.int(rest[1])), n.at()); err != nil {
			n.t.Error(err)
		}
	}
}
