// SPDX-License-Identifier: Apache-2.0

package dlp_test

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/agent/inspect"
	"github.com/holdfast-project/holdfast/rules/waf"
	"github.com/holdfast-project/holdfast/tests/golden"
)

// world is what a transcript's commands act on.
type world struct {
	now       time.Duration
	exe       map[uint32]string
	counter   *dlp.Counter
	lineage   *dlp.Lineage
	volume    *dlp.Volume
	tunnels   *dlp.Tunnels
	attacks   *dlp.Attacks
	filter    *waf.Filter
	serial    uint64
	detectors []string
}

func newWorld(t *testing.T) *world {
	filter, err := waf.Compile(waf.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return &world{
		exe: make(map[uint32]string),
		counter: dlp.NewCounter(dlp.CounterConfig{
			Detectors: []dlp.Detector{
				{ID: "card", Class: "card", Severity: dlp.High, Threshold: dlp.Threshold{Count: 5, Distinct: 5, Window: 10 * time.Minute}, Confidence: 60},
				{ID: "private-key", Class: "key", Severity: dlp.Critical, Threshold: dlp.Threshold{Count: 1}},
			},
			Exceptions: []dlp.Exception{{Executable: "/usr/bin/billing", Host: ".bank.example", Detector: "card"}},
		}),
		detectors: []string{"card", "private-key"},
		lineage:   dlp.NewLineage(dlp.LineageConfig{}), volume: dlp.NewVolume(dlp.VolumeConfig{}),
		tunnels: dlp.NewTunnels(dlp.TunnelConfig{}), attacks: dlp.NewAttacks(dlp.AttacksConfig{}), filter: filter,
	}
}

// process is the one with an id; all began at the same time.
func process(word string) dlp.Process {
	pid, err := strconv.ParseUint(word, 10, 32)
	if err != nil {
		panic(err)
	}
	return dlp.Process{PID: uint32(pid), Start: 7}
}

func has(words []string, flag string) bool {
	for _, w := range words {
		if w == flag {
			return true
		}
	}
	return false
}

func size(word string) uint64 {
	unit := uint64(1)
	switch word[len(word)-1] {
	case 'K':
		unit = 1 << 10
	case 'M':
		unit = 1 << 20
	case 'G':
		unit = 1 << 30
	}
	n, err := strconv.ParseUint(strings.TrimRight(word, "KMG"), 10, 64)
	if err != nil {
		panic(err)
	}
	return n * unit
}

func peer(host string, flags []string) dlp.Peer {
	p := dlp.Peer{Host: host, Known: has(flags, "known"), Internal: has(flags, "internal"), Addr: netip.MustParseAddrPort("192.0.2.1:443")}
	if a, err := netip.ParseAddr(host); err == nil {
		p.Host, p.Addr = "", netip.AddrPortFrom(a, 443)
	}
	return p
}

// send is the command "send PROCESS HOST BYTES FLAGS…".
func (w *world) send(a []string) *dlp.Send {
	p := process(a[0])
	return &dlp.Send{
		Time: int64(w.now), Process: p, Executable: w.exe[p.PID], Workload: "shop/web", Peer: peer(a[1], a[3:]), Inbound: has(a[3:], "inbound"),
		Bytes: size(a[2]),
	}
}

// run carries out one command.
func (w *world) run(t *testing.T, verb string, a []string) []dlp.Finding {
	now := int64(w.now)
	switch verb {
	case "wait":
		d, err := time.ParseDuration(a[0])
		if err != nil {
			t.Fatal(err)
		}
		w.now += d
		for _, advance := range []func(int64){w.counter.Advance, w.lineage.Advance, w.tunnels.Advance, w.attacks.Advance} {
			advance(int64(w.now))
		}
	case "fork":
		w.lineage.Fork(process(a[0]), process(a[1]))
		w.exe[process(a[1]).PID] = w.exe[process(a[0]).PID]
	case "exec":
		w.exe[process(a[0]).PID] = a[1]
		w.lineage.Exec(process(a[0]), a[1], now)
	case "exit":
		w.lineage.Exit(process(a[0]))
	case "read":
		w.lineage.Read(dlp.Read{Time: now, Process: process(a[0]), Executable: w.exe[process(a[0]).PID], File: a[1], Label: a[2]})
	case "wrote":
		w.lineage.Wrote(process(a[0]), w.exe[process(a[0]).PID], a[1], now)
	case "opened":
		w.lineage.Opened(process(a[0]), w.exe[process(a[0]).PID], a[1], now)
	case "send":
		s := w.send(a)
		return w.volume.Sent(w.lineage.Sent(nil, s), s)
	case "minutes": // minutes N PROCESS HOST BYTES FLAGS…: so much in each of N minutes
		var all []dlp.Finding
		for range size(a[0]) {
			w.now += time.Minute
			all = w.volume.Sent(all, w.send(a[1:]))
		}
		return all
	case "values":
		return w.values(a)
	case "queries":
		return w.queries(a)
	case "pings":
		return w.pings(a)
	case "request":
		return w.request(a)
	case "behaved": // behaved PROCESS LINEAGE WHAT OBJECT
		return w.attacks.Behaved(nil, &dlp.Behaviour{
			Time: now, Process: process(a[0]), Executable: w.exe[process(a[0]).PID], Workload: "shop/web", Lineage: size(a[1]), What: a[2], Object: a[3],
		})
	default:
		t.Fatalf("no command %q", verb)
	}
	return nil
}

// values is "values DETECTOR N PROCESS HOST FLAGS…": N values, all the same with the flag same.
func (w *world) values(a []string) []dlp.Finding {
	var all []dlp.Finding
	for i := range size(a[1]) {
		p := process(a[2])
		w.serial++
		s := dlp.Sighting{
			Time: int64(w.now), Process: p, Executable: w.exe[p.PID], Workload: "shop/web", Peer: peer(a[3], a[4:]), Inbound: has(a[4:], "inbound"),
			Hash: w.serial, Confidence: 80, App: "http1", Part: "body", Path: []byte("/pay?card=4111"), Layers: []inspect.Layer{inspect.LayerGzip},
			Masked: fmt.Appendf(nil, "411111******%04d", i),
		}
		for n, d := range w.detectors {
			if d == a[0] {
				s.Detector = n
			}
		}
		if has(a[4:], "same") {
			s.Hash = 1
		}
		if has(a[4:], "unsure") {
			s.Confidence = 50
		}
		all = w.counter.Sighting(all, &s)
	}
	return all
}

// queries is "queries N SHAPE DOMAIN TYPE FLAGS…".
func (w *world) queries(a []string) []dlp.Finding {
	kinds := map[string]uint16{"A": 1, "TXT": 16, "NULL": 10}
	var all []dlp.Finding
	for range size(a[0]) {
		w.serial++
		random := w.serial * 0x9e3779b97f4a7c15
		name := ""
		switch a[1] {
		case "encoded":
			name = fmt.Sprintf("%016x%016x.%016x.", random, random*31, random*77)
		case "short":
			name = fmt.Sprintf("%012x.", random>>16)
		case "hosts":
			name = fmt.Sprintf("node-%d.", w.serial%400)
		case "same":
			name = "www."
		}
		q := dlp.Query{Time: int64(w.now), Process: process("9"), Executable: "/usr/bin/app", Workload: "shop/web", Name: name + a[2], Type: kinds[a[3]]}
		all = w.tunnels.Query(all, &q)
		if has(a[4:], "nxdomain") {
			q.Answer, q.Code = true, 3
			all = w.tunnels.Query(all, &q)
		}
		w.now += 100 * time.Millisecond
	}
	return all
}

// pings is "pings N SIZE HOST FLAGS…": each with the same payload, or data with the flag data.
func (w *world) pings(a []string) []dlp.Finding {
	var all []dlp.Finding
	for range size(a[0]) {
		w.serial++
		payload := make([]byte, size(a[1]))
		for i := range payload {
			payload[i] = byte(i)
			if has(a[3:], "data") {
				payload[i] = byte(w.serial * uint64(i+3) >> 3)
			}
		}
		e := dlp.Echo{Time: int64(w.now), Process: process("9"), Executable: "/usr/bin/ping", Workload: "shop/web", Peer: netip.MustParseAddr(a[2]), Payload: payload}
		all = w.tunnels.Echo(all, &e)
		w.now += time.Second
	}
	return all
}

// request is "request LINEAGE FROM TARGET": what the filter finds in it.
func (w *world) request(a []string) []dlp.Finding {
	hits := w.filter.Text(nil, waf.Query, nil, []byte(a[2]))
	path, _, _ := strings.Cut(a[2], "?")
	return w.attacks.Hits(nil, &dlp.Target{
		Time: int64(w.now), Process: process("20"), Executable: "/usr/sbin/nginx", Workload: "shop/web", Lineage: size(a[0]), Peer: peer(a[1], nil),
		App: "http1", Path: path,
	}, hits)
}

// show is a finding as transcripts have it.
func show(f *dlp.Finding) string {
	var b strings.Builder
	to := f.Peer.Host
	if to == "" {
		to = f.Peer.Addr.String()
	}
	fmt.Fprintf(&b, "%s %s confidence=%d pid=%d exe=%s peer=%s", f.Reason, f.Severity, f.Confidence, f.Process.PID, f.Executable, to)
	for _, field := range []struct {
		name  string
		value any
		show  bool
	}{
		{"inbound", f.Inbound, f.Inbound}, {"detector", f.Detector, f.Detector != ""}, {"class", f.Class, f.Class != ""},
		{"count", f.Count, f.Count > 0}, {"distinct", f.Distinct, f.Distinct > 0}, {"repeats", f.Repeats, f.Repeats > 0},
		{"bytes", f.Bytes, f.Bytes > 0}, {"usual", f.Usual, f.Usual > 0}, {"file", f.File, f.File != ""}, {"label", f.Label, f.Label != ""},
		{"path", f.Path, f.Path != ""}, {"layers", f.Layers, len(f.Layers) > 0}, {"masked", f.Masked, len(f.Masked) > 0}, {"join", f.Join, f.Join > 0},
	} {
		if field.show {
			fmt.Fprintf(&b, " %s=%v", field.name, field.value)
		}
	}
	for _, s := range f.Chain {
		fmt.Fprintf(&b, "\n    %v %s by %d %s: %s", time.Duration(s.Time), s.What, s.Process.PID, s.Executable, s.Object)
	}
	return b.String()
}

// TestTranscripts carries out the commands of testdata and compares what comes of them, which stands behind each.
func TestTranscripts(t *testing.T) {
	golden.Transcripts(t, "testdata/*.txt", func(t *testing.T, text string) string {
		w := newWorld(t)
		return golden.Lines(text, func(command string) string {
			words := strings.Fields(command)
			var out strings.Builder
			for _, f := range w.run(t, words[0], words[1:]) {
				fmt.Fprintf(&out, "  %s\n", show(&f))
			}
			return out.String()
		})
	})
}
