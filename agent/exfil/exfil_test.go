// SPDX-License-Identifier: Apache-2.0

package exfil_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/exfil"
	"github.com/holdfast-project/holdfast/agent/proc"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/rules/waf"
	"github.com/holdfast-project/holdfast/tests/golden"
)

const cgroup = 7

const labels = `
labels:
  - {label: customers, paths: [/data/customers.csv, "/export/*.csv", /secret/]}
`

// world is what a transcript's commands act on, with the answers that a joiner asks for.
type world struct {
	t        *testing.T
	now      time.Duration
	table    *proc.Table
	joiner   *exfil.Joiner
	filter   *waf.Filter
	attacks  *dlp.Attacks
	off      bool
	learning bool
	held     map[string]bool
	labelled []string
	argv     string
	cookies  map[string]uint64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	l, err := exfil.ParseLabels("labels.yaml", []byte(labels))
	if err != nil {
		t.Fatal(err)
	}
	l.Protect([]string{"shadow", "*.key"})
	filter, err := waf.Compile(waf.Config{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, now: time.Second, table: proc.New(proc.Config{}), filter: filter, attacks: dlp.NewAttacks(dlp.AttacksConfig{}), held: map[string]bool{},
		cookies: map[string]uint64{},
	}
	w.joiner = exfil.New(exfil.Config{World: w, Labels: l})
	return w
}

func (w *world) Asked(of uint64) (dlp, waf bool) {
	return of == cgroup && !w.off, of == cgroup && !w.off
}

func (w *world) Holds(ev *event.Event, names []string) bool {
	n := ev.Net()
	return w.held[netip.AddrFrom4([4]byte(n.Remote[:4])).String()] || slices.ContainsFunc(names, func(n string) bool { return w.held[n] })
}

func (w *world) Settled(uint64, profile.Signal) bool { return !w.learning }

func (w *world) Internal(a netip.Addr) bool { return a.IsPrivate() }

func (w *world) Labelled(r dlp.Read, _ uint64) { w.labelled = append(w.labelled, r.File) }

// record makes one of process a in the container, and gives what the joiner makes of it.
func record[T any](w *world, typ wire.Type, pid string, flags wire.Flag, body T, texts ...string) []dlp.Finding {
	w.t.Helper()
	head := (*wire.Head)(unsafe.Pointer(&body))
	head.Type, head.Flags, head.Origin, head.Cgroup, head.Time = uint16(typ), uint16(flags), cgroup, cgroup, uint64(w.now)
	head.Tgid, head.Tid, head.Start = number(pid), number(pid), 1000+uint64(number(pid))
	raw := append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(&body)), unsafe.Sizeof(body))...)
	raw = append(raw, strings.Join(texts, "")...)
	// Records stand at multiples of eight.
	words := make([]uint64, len(raw)/8+1)
	aligned := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), len(raw))
	copy(aligned, raw)
	var ev event.Event
	if err := ev.Decode(aligned); err != nil {
		w.t.Fatal(err)
	}
	switch typ {
	case wire.TypeFork:
		w.table.Fork(ev.Fork())
	case wire.TypeExec:
		ev.Process = w.table.Exec(ev.Head, proc.Kin{}, &proc.Image{Exe: texts[0], Argv: w.argv})
	}
	if ev.Process == nil {
		ev.Process = w.table.Find(ev.Head)
	}
	ev.Container = &container.Container{Cgroup: cgroup, ID: "app", Workload: "web", Name: "app", Namespace: "shop", WorkloadKind: "Deployment"}
	return w.joiner.Take(&ev)
}

func number(word string) uint32 {
	n, err := strconv.ParseUint(word, 10, 32)
	if err != nil {
		panic(err)
	}
	return uint32(n)
}

func remote(word string) (raw [16]uint8) {
	four := netip.MustParseAddr(word).As4()
	copy(raw[:], four[:])
	return raw
}

// run carries out one command.
func (w *world) run(verb string, a []string) []dlp.Finding {
	w.t.Helper()
	has := func(word string) bool { return slices.Contains(a, word) }
	var flags wire.Flag
	switch {
	case has("learn"):
		flags = wire.FlagLearn
	case has("would_block"):
		flags = wire.FlagWouldBlock
	}
	switch verb {
	case "wait":
		d, err := time.ParseDuration(a[0])
		if err != nil {
			w.t.Fatal(err)
		}
		w.now += d
	case "off":
		w.off = true
	case "learning":
		w.learning = true
	case "holds":
		w.held[a[0]] = true
	case "fork":
		return record(w, wire.TypeFork, a[0], 0, wire.Fork{ChildTgid: number(a[1]), ChildStart: 1000 + uint64(number(a[1])), ChildOrigin: cgroup})
	case "exec":
		w.argv = strings.Join(a[1:], "\x00")
		if len(a) > 2 {
			w.argv = a[2]
		}
		return record(w, wire.TypeExec, a[0], flags, wire.Exec{ExeLen: uint16(len(a[1]))}, a[1])
	case "exit":
		return record(w, wire.TypeExit, a[0], 0, wire.Exit{})
	case "open":
		f := wire.FileOp{PathLen: uint16(len(a[1]))}
		if has("write") {
			f.Flags = 1
		}
		return record(w, wire.TypeOpen, a[0], wire.FlagWatched, f, a[1])
	case "create":
		return record(w, wire.TypeCreate, a[0], 0, wire.FileOp{PathLen: uint16(len(a[1]))}, a[1])
	case "connect":
		return record(w, wire.TypeConnect, a[0], flags, wire.Net{Family: 2, Protocol: 6, Remote: remote(a[1]), RemotePort: 443})
	case "flow":
		return w.flow(a, has)
	case "answer":
		return w.answer(a)
	case "asks":
		return w.asks(a)
	case "request":
		return w.request(a)
	default:
		w.t.Fatalf("unknown command %s", verb)
	}
	return nil
}

// flow is "flow PROCESS ADDRESS BYTES [closed] [in]": bytes since the flow began.
func (w *world) flow(a []string, has func(string) bool) []dlp.Finding {
	name := a[0] + " " + a[1]
	if w.cookies[name] == 0 {
		w.cookies[name] = uint64(len(w.cookies) + 1)
	}
	n := wire.Net{Cookie: w.cookies[name], Family: 2, Protocol: 6, Remote: remote(a[1]), RemotePort: 443, BytesOut: uint64(number(a[2])), NetFlags: uint16(wire.NetOutbound)}
	if has("in") {
		n.NetFlags = 0
	}
	if has("closed") {
		n.NetFlags |= uint16(wire.NetClosed)
	}
	return record(w, wire.TypeFlow, a[0], 0, n)
}

// message builds one of DNS.
func message(t *testing.T, name string, kind dnsmessage.Type, addr string) string {
	t.Helper()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 1, Response: addr != ""},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name + "."), Type: kind, Class: dnsmessage.ClassINET}},
	}
	if addr != "" {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 60},
			Body:   &dnsmessage.AResource{A: netip.MustParseAddr(addr).As4()},
		}}
	}
	packed, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return string(packed)
}

// answer is "answer PROCESS NAME ADDRESS".
func (w *world) answer(a []string) []dlp.Finding {
	text := message(w.t, a[1], dnsmessage.TypeA, a[2])
	return record(w, wire.TypeDns, a[0], 0, wire.Dns{Family: 2, Protocol: 17, MessageLen: uint16(len(text))}, text)
}

// asks is "asks PROCESS N DOMAIN": so many names below the domain that hold data.
func (w *world) asks(a []string) []dlp.Finding {
	var all []dlp.Finding
	for n := range number(a[1]) {
		text := message(w.t, fmt.Sprintf("%016x%016x.%s", uint64(n+1)*0x9e3779b97f4a7c15, uint64(n+7)*0xbf58476d1ce4e5b9, a[2]), dnsmessage.TypeTXT, "")
		w.now += 100 * time.Millisecond
		all = append(all, record(w, wire.TypeDns, a[0], 0, wire.Dns{Family: 2, Protocol: 17, Outbound: 1, MessageLen: uint16(len(text))}, text)...)
	}
	return all
}

// request is "request TARGET [ago DURATION]": what the filter finds in one comes to the joiner, as of so long ago.
func (w *world) request(a []string) []dlp.Finding {
	at := w.now
	if len(a) == 3 {
		d, err := time.ParseDuration(a[2])
		if err != nil {
			w.t.Fatal(err)
		}
		at -= d
	}
	hits := w.attacks.Hits(nil, &dlp.Target{
		Time: int64(at), Process: dlp.Process{PID: 1, Start: 1001}, Lineage: cgroup,
		Peer: dlp.Peer{Addr: netip.MustParseAddrPort("198.51.100.9:5000")}, App: "http/1.1", Path: a[0],
	}, w.filter.Text(nil, waf.Query, nil, []byte(a[0])))
	if len(hits) == 0 {
		w.t.Fatalf("%s is no attack", a[0])
	}
	var all []dlp.Finding
	for i := range hits {
		all = append(all, w.joiner.Attacked(&hits[i])...)
	}
	return all
}

// TestTranscripts carries out the commands of testdata and compares what comes of them, which stands behind each as lines
// that begin with two spaces.
func TestTranscripts(t *testing.T) {
	golden.Transcripts(t, "testdata/*.txt", func(t *testing.T, text string) string {
		w := newWorld(t)
		var out strings.Builder
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "  ") {
				continue
			}
			out.WriteString(line)
			words := strings.Fields(line)
			if len(words) == 0 || words[0] == "#" {
				continue
			}
			for _, f := range w.run(words[0], words[1:]) {
				fmt.Fprintf(&out, "  %s %s pid=%d exe=%s peer=%s host=%q known=%v bytes=%d file=%s label=%s detector=%s\n", f.Reason, f.Severity, f.Process.PID,
					f.Executable, f.Peer.Addr, f.Peer.Host, f.Peer.Known, f.Bytes, f.File, f.Label, f.Detector)
				for _, s := range f.Chain {
					fmt.Fprintf(&out, "    %s by %d %s: %s\n", s.What, s.Process.PID, s.Executable, s.Object)
				}
			}
			for _, file := range w.labelled {
				fmt.Fprintf(&out, "  labelled %s\n", file)
			}
			w.labelled = nil
		}
		return out.String()
	})
}

// TestMatchedFiles has a labelled file be found in what is sent: the story of its read tells that, and where nobody is seen
// to have read it, the finding does.
func TestMatchedFiles(t *testing.T) {
	w := newWorld(t)
	w.run("exec", []string{"2", "/usr/bin/curl"})
	matched := func(pid, to string) bool {
		n := wire.Net{Family: 2, Protocol: 6, Remote: remote(to), RemotePort: 443}
		head := wire.Head{Type: uint16(wire.TypeConnect), Origin: cgroup, Tgid: number(pid), Start: 1000 + uint64(number(pid)), Time: uint64(w.now)}
		n.Head = head
		words := make([]uint64, unsafe.Sizeof(n)/8)
		raw := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), unsafe.Sizeof(n))
		copy(raw, unsafe.Slice((*byte)(unsafe.Pointer(&n)), unsafe.Sizeof(n)))
		var ev event.Event
		if err := ev.Decode(raw); err != nil {
			t.Fatal(err)
		}
		ev.Process = w.table.Find(ev.Head)
		f := dlp.Matched(dlp.Read{File: "/data/customers.csv"}, &dlp.Send{Time: int64(w.now), Peer: dlp.Peer{Addr: netip.AddrPortFrom(netip.MustParseAddr(to), 443)}})
		return w.joiner.Matched(&f, &ev)
	}
	if !matched("2", "203.0.113.9") {
		t.Error("a file that somebody else had read is not told")
	}
	w.run("holds", []string{"192.0.2.1"})
	if matched("2", "192.0.2.1") {
		t.Error("it is told of a destination that the profile holds")
	}
	w.run("open", []string{"2", "/data/customers.csv"})
	if matched("2", "203.0.113.9") {
		t.Error("it is told beside the story of the read")
	}
}

// TestFlowsAreBounded has more flows than are followed: those beyond count when they end, and none twice.
func TestFlowsAreBounded(t *testing.T) {
	w := newWorld(t)
	w.run("exec", []string{"2", "/usr/bin/curl"})
	for cookie := range uint64(16384 + 10) {
		record(w, wire.TypeFlow, "2", 0, wire.Net{Cookie: 100 + cookie, Family: 2, Protocol: 6, Remote: remote("203.0.113.9"), RemotePort: 443, BytesOut: 1, NetFlags: uint16(wire.NetOutbound)})
	}
	if full := w.joiner.Stats().Full; full != 10 {
		t.Errorf("%d flows are beyond, 10 expected", full)
	}
}

// TestForgottenIsCounted has a program send to more destinations than have a usual amount.
func TestForgottenIsCounted(t *testing.T) {
	w := newWorld(t)
	w.joiner = exfil.New(exfil.Config{World: w, Volume: dlp.VolumeConfig{Flows: 4}})
	w.run("exec", []string{"2", "/usr/bin/curl"})
	for n := range 10 {
		w.run("flow", []string{"2", fmt.Sprintf("198.51.100.%d", n), "100", "closed"})
	}
	w.now += time.Second
	w.run("exec", []string{"2", "/usr/bin/curl"})
	if n := w.joiner.Stats().Forgotten; n != 6 {
		t.Errorf("%d are forgotten, 6 expected", n)
	}
}

func TestLabelsAreStrict(t *testing.T) {
	for text, want := range map[string]string{
		"labels: [{label: a, paths: [data]}]":                               "begins with /",
		"labels: [{label: a, paths: ['/a/**/b']}]":                          "last component",
		"labels: [{label: a, paths: ['/a/*b']}]":                            "at least 4 characters",
		"labels: [{label: a, paths: ['/*']}]":                               "need its name",
		"labels: [{label: a, paths: ['/a/b*c']}]":                           "a star stands nowhere",
		"labels: [{paths: [/a/b]}]":                                         "a label and paths",
		"label: []":                                                         "field label not found",
		"exceptions: [{}]":                                                  "an executable, a host or a detector",
		"exceptions: [{executable: billing}]":                               "begins with /",
		"exceptions: [{host: '*.bank.example'}]":                            "a dot before it",
		"exceptions: [{host: 'bank.example:443'}]":                          "without a port",
		"labels: [{label: a, paths: ['/" + strings.Repeat("a", 48) + "']}]": "at most 47",
	} {
		_, err := exfil.ParseLabels("x.yaml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "x.yaml") {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	l, err := exfil.ParseLabels("x.yaml", []byte("labels: [{label: a, paths: [/data/x, '/data/*.sqlite', '**/id', /keys/]}]\nexceptions: [{host: .bank.example}]"))
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Names(); !slices.Equal(got, []string{"x", "*lite", "id", "keys"}) || len(l.Exceptions()) != 1 {
		t.Errorf("watched: %q, exceptions %v", got, l.Exceptions())
	}
	for path, want := range map[string]bool{
		"/data/x": true, "/data/y": false, "/x": false, "/data/a.sqlite": true, "/data/b/a.sqlite": false, "/any/id": true, "/id": true, "/keys/a": true,
		"/keys/a/b": false, "/other/keys/a": false,
	} {
		if _, got := l.Of(path); got != want {
			t.Errorf("%s: labelled %v, want %v", path, got, want)
		}
	}
}

// TestAnswersHaveABaseline has a server answer about as much in every minute for an hour, and then very much in one, each
// time to somebody else: that is told once, as served.
func TestAnswersHaveABaseline(t *testing.T) {
	w := newWorld(t)
	w.run("exec", []string{"2", "/usr/sbin/nginx"})
	answers := func(n, bytes int) (all []dlp.Finding) {
		for range 10 {
			all = append(all, w.run("flow", []string{"2", fmt.Sprintf("198.51.100.%d", n), strconv.Itoa(bytes), "closed", "in"})...)
		}
		return all
	}
	for n := range 62 {
		if all := answers(n, 100_000+n*1000); len(all) > 0 {
			t.Fatalf("minute %d: %+v", n, all)
		}
		w.now += time.Minute
	}
	all := answers(200, 4_000_000)
	if len(all) != 1 || all[0].Reason != dlp.VolumeUnusual || !all[0].Inbound || all[0].Bytes < 16<<20 || all[0].Executable != "/usr/sbin/nginx" || all[0].Usual == 0 {
		t.Fatalf("%+v", all)
	}
}
