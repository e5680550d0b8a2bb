// SPDX-License-Identifier: Apache-2.0

package dlp_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/rules/waf"
)

// content is a file's: lines of records, different for each seed.
func content(seed uint64, size int) []byte {
	g := rand.New(rand.NewPCG(seed, 9))
	var b []byte
	for len(b) < size {
		b = fmt.Appendf(b, "%d,customer %d,%x,%d.%02d\n", g.Uint32(), g.IntN(9999), g.Uint64(), g.IntN(999), g.IntN(99))
	}
	return b[:size]
}

// TestPrints finds files again in what is sent: whole, from their middle on, within other text, in small parts; not
// others, not after they are forgotten.
func TestPrints(t *testing.T) {
	p := dlp.NewPrints(dlp.PrintsConfig{Files: 8}, 0x1234567)
	file := content(1, 16<<10)
	if !p.Read(dlp.Read{File: "/data/customers.csv", Label: "customers"}, file) {
		t.Fatal("the file was not remembered")
	}
	if p.Read(dlp.Read{File: "/data/empty"}, nil) || p.Read(dlp.Read{File: "/data/zeros"}, make([]byte, 8<<10)) {
		t.Error("a file without anything of its own was remembered")
	}
	id := uint64(0)
	sent := func(text []byte, step int) bool {
		id++
		found := 0
		for len(text) > 0 {
			n := min(step, len(text))
			read, ok := p.Text(id, text[:n], n == len(text))
			if ok && read.File != "/data/customers.csv" {
				t.Fatalf("found %q", read.File)
			}
			if ok {
				found++
			}
			text = text[n:]
		}
		if found > 1 {
			t.Errorf("one text was found %d times", found)
		}
		return found == 1
	}
	for _, step := range []int{1, 7, 100, 4096} {
		if !sent(file, step) {
			t.Errorf("the whole file in parts of %d: not found", step)
		}
		if !sent(file[3333:6000], step) {
			t.Errorf("a part of the file in parts of %d: not found", step)
		}
		if !sent(append([]byte(`{"note":"`), file[100:5000]...), step) {
			t.Errorf("the file in a document in parts of %d: not found", step)
		}
		if sent(content(2, 64<<10), step) || sent(file[:60], step) {
			t.Errorf("something else in parts of %d: found", step)
		}
	}
	for seed := range uint64(8) {
		p.Read(dlp.Read{File: "/data/other"}, content(100+seed, 8<<10))
	}
	if sent(file, 4096) {
		t.Error("a forgotten file was found")
	}
	f := dlp.Matched(dlp.Read{File: "/data/customers.csv", Label: "customers", Time: 5}, &dlp.Send{Time: 9, Peer: dlp.Peer{Host: "evil.example"}})
	if f.Severity != dlp.Critical || f.Reason != dlp.FileMatch || len(f.Chain) != 2 || f.File != "/data/customers.csv" {
		t.Errorf("finding %+v", f)
	}
}

// TestBounds floods everything and checks that what was given up is counted, and that what comes afterwards still works.
func TestBounds(t *testing.T) {
	const flood = 20_000
	l := dlp.NewLineage(dlp.LineageConfig{Processes: 100, Files: 10, Reads: 2})
	c := dlp.NewCounter(dlp.CounterConfig{Windows: 100, Values: 8, Detectors: []dlp.Detector{{ID: "a", Threshold: dlp.Threshold{Count: 3}}}})
	v := dlp.NewVolume(dlp.VolumeConfig{Flows: 100})
	u := dlp.NewTunnels(dlp.TunnelConfig{Domains: 100, Peers: 10, Names: 100})
	a := dlp.NewAttacks(dlp.AttacksConfig{Lineages: 100, Hits: 2})
	filter, err := waf.Compile(waf.Config{})
	if err != nil {
		t.Fatal(err)
	}
	hits := filter.Text(nil, waf.Param, []byte("q"), []byte("${jndi:ldap://e/a}"))
	for i := range flood {
		p := dlp.Process{PID: uint32(i + 1)}
		l.Fork(dlp.Process{PID: uint32(i)}, p)
		for n := range 3 {
			l.Read(dlp.Read{Time: int64(i), Process: p, File: fmt.Sprint(i, n)})
		}
		l.Wrote(p, "", fmt.Sprint("w", i), int64(i))
		host := fmt.Sprintf("h%d.example", i)
		send := &dlp.Send{Time: int64(i), Process: p, Peer: dlp.Peer{Host: host}, Bytes: 100}
		l.Sent(nil, send)
		v.Sent(nil, send)
		c.Sighting(nil, &dlp.Sighting{Time: int64(i), Process: p, Peer: dlp.Peer{Host: host}, Hash: uint64(i)})
		u.Query(nil, &dlp.Query{Time: int64(i), Name: host})
		u.Echo(nil, &dlp.Echo{Time: int64(i), Peer: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})})
		a.Hits(nil, &dlp.Target{Time: int64(i), Lineage: uint64(i)}, hits)
	}
	for _, n := range []uint64{
		l.Stats().EvictedProcesses, l.Stats().EvictedFiles, l.Stats().DroppedReads, c.Stats().Evicted, v.Stats().Evicted, u.Stats().Evicted, a.Stats().Evicted,
	} {
		if n == 0 {
			t.Errorf("something was given up and not counted: %+v %+v %+v %+v %+v", l.Stats(), c.Stats(), v.Stats(), u.Stats(), a.Stats())
			break
		}
	}
	if f := a.Behaved(nil, &dlp.Behaviour{Time: flood, Lineage: flood - 1, What: "exec"}); len(f) != 1 {
		t.Errorf("after the flood: %v", f)
	}
	later := flood + int64(24*time.Hour)
	l.Advance(later)
	c.Advance(later)
	u.Advance(later)
	a.Advance(later)
	if f := a.Behaved(nil, &dlp.Behaviour{Time: later, Lineage: flood - 1, What: "exec"}); len(f) != 0 {
		t.Errorf("a day later: %v", f)
	}
}

// TestSteadyAllocates checks that values, sends and queries of what is known already take no memory.
func TestSteadyAllocates(t *testing.T) {
	c := dlp.NewCounter(dlp.CounterConfig{Detectors: []dlp.Detector{{ID: "a", Threshold: dlp.Threshold{Count: 1 << 30, Window: time.Minute}}}})
	v := dlp.NewVolume(dlp.VolumeConfig{})
	p := dlp.NewPrints(dlp.PrintsConfig{}, 99)
	p.Read(dlp.Read{File: "/data/a"}, content(1, 8<<10))
	other := content(5, 4<<10)
	at := int64(0)
	s := dlp.Sighting{Peer: dlp.Peer{Host: "a.example"}}
	send := dlp.Send{Peer: dlp.Peer{Host: "a.example", Known: true}, Bytes: 10}
	p.Text(1, other, false)
	work := func() {
		at += int64(time.Second)
		s.Time, send.Time = at, at
		c.Sighting(nil, &s)
		v.Sent(nil, &send)
		p.Text(1, other, false)
	}
	for range 100 {
		work()
	}
	if n := testing.AllocsPerRun(1000, work); n > 0 {
		t.Errorf("%.1f allocations a round", n)
	}
}

// TestPoisoning checks that a leak does not become usual by going on: growth past the limit is learned as the limit only.
func TestPoisoning(t *testing.T) {
	v := dlp.NewVolume(dlp.VolumeConfig{Minutes: 60})
	now, found := int64(0), 0
	minute := func(bytes uint64) {
		now += int64(time.Minute)
		found += len(v.Sent(nil, &dlp.Send{Time: now, Executable: "/a", Peer: dlp.Peer{Host: "h", Known: true}, Bytes: bytes}))
	}
	for range 600 {
		minute(10 << 20)
	}
	for range 5 {
		minute(1 << 30)
	}
	if found != 5 {
		t.Errorf("%d of 5 minutes of a gibibyte were found", found)
	}
}
