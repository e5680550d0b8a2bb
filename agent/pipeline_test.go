// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unsafe"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/detect"
	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/exfil"
	"github.com/holdfast-project/holdfast/agent/guard"
	"github.com/holdfast-project/holdfast/agent/record"
	"github.com/holdfast-project/holdfast/agent/spool"
	"github.com/holdfast-project/holdfast/agent/tail"
	"github.com/holdfast-project/holdfast/agent/wire"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/rules/profile"
)

const testCgroup = 4711

// newPipeline makes a pipeline with real parts and a feed to name containers by.
func newPipeline(t testing.TB, recorded ...string) (*pipeline, *container.Feed) {
	t.Helper()
	p := &pipeline{
		log: slog.New(slog.DiscardHandler), resolved: make(chan uint64, 16), policy: record.New(recorded),
		tails: tail.New(), book: container.NewAddressBook(), engine: detect.New(detect.Config{}),
		cmdline:    func(uint32, uint64) string { return "" },
		running:    func(uint32) (wire.Process, bool) { return wire.Process{}, false },
		executable: func(uint64, uint64, string) (string, bool) { return "", false },
	}
	p.follows(0, 0)
	p.exfil = exfil.New(exfil.Config{World: unasked{}})
	var err error
	if p.guard, err = guard.New(guard.Config{Node: "node", Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	p.registry, err = container.New(container.Config{
		Node: "node", Walk: func(context.Context) ([]container.Birth, error) { return nil, nil },
		OnResolved: func(cgroup uint64, _ *container.Container) { p.post(cgroup) },
	})
	if err != nil {
		t.Fatal(err)
	}
	feed, err := p.registry.Feed("test", container.RankRuntime)
	if err != nil {
		t.Fatal(err)
	}
	p.registry.Born(container.Birth{Cgroup: 1})
	p.alerts, p.records = newSpool(t), newSpool(t)
	return p, feed
}

// unasked is a world in which nobody asks for anything.
type unasked struct{}

func (unasked) Asked(uint64) (dlp, waf bool)        { return false, false }
func (unasked) Holds(*event.Event, []string) bool   { return false }
func (unasked) Settled(uint64, profile.Signal) bool { return false }
func (unasked) Internal(netip.Addr) bool            { return false }
func (unasked) Labelled(dlp.Read, uint64)           {}

func newSpool(t testing.TB) *spool.Spool {
	t.Helper()
	s, err := spool.Open(spool.Config{Dir: t.TempDir() + "/spool"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// bytesOf gives the record of a body and its texts.
func bytesOf[T any](typ wire.Type, origin uint64, body T, texts ...string) []byte {
	head := (*wire.Head)(unsafe.Pointer(&body))
	head.Type, head.Origin, head.Cgroup, head.Tgid, head.Start = uint16(typ), origin, origin, 7, 70
	head.Seq = 1
	raw := append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(&body)), unsafe.Sizeof(body))...)
	return append(raw, strings.Join(texts, "")...)
}

func execBytes(origin uint64, exe string, flags wire.FileFlag) []byte {
	return bytesOf(wire.TypeExec, origin, wire.Exec{
		ExeLen: uint16(len(exe)), File: wire.File{Flags: uint32(flags)}, Spaces: wire.Spaces{Mnt: 5},
	}, exe)
}

// stored reads what a spool holds.
func stored(t *testing.T, s *spool.Spool) []*apiv1.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	done := make(chan error, 1)
	running, stop := context.WithCancel(ctx)
	go func() { done <- s.Run(running) }()
	defer func() {
		stop()
		<-done
	}()
	if err := s.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if s.Stats().Written == 0 {
		return nil
	}
	var batch spool.Batch
	if err := s.Next(ctx, &batch, 100, 1<<20); err != nil {
		t.Fatal(err)
	}
	var records []*apiv1.Record
	for _, r := range batch.Records {
		m := new(apiv1.Record)
		if err := proto.Unmarshal(r.Payload, m); err != nil {
			t.Fatal(err)
		}
		records = append(records, m)
	}
	return records
}

func TestEventsWaitForTheNameInOrder(t *testing.T) {
	p, feed := newPipeline(t, "exec", "open")
	id := strings.Repeat("ab", 32)
	p.Record(bytesOf(wire.TypeCgroupMkdir, 0, wire.Cgroup{Id: testCgroup, Parent: 1, NameLen: uint16(len(id))}, id))
	p.Record(execBytes(testCgroup, "/bin/a", wire.FileOverlay))
	p.Record(bytesOf(wire.TypeOpen, testCgroup, wire.FileOp{PathLen: 6}, "/tmp/1"))
	p.Record(bytesOf(wire.TypeOpen, testCgroup, wire.FileOp{PathLen: 6}, "/tmp/2"))
	p.Settle()
	if p.counts.recorded.Load() != 0 {
		t.Fatal("recorded before the container had its name")
	}
	feed.Up()
	feed.Put(container.Record{Key: container.Key{RuntimeNamespace: "k8s.io", ID: id}, Name: "web", Pod: "web-1", Namespace: "shop"})
	p.Settle()
	var got []string
	for _, r := range stored(t, p.records) {
		ev := r.GetEvent()
		got = append(got, ev.GetType()+" "+ev.GetFile().GetPath()+" "+ev.GetContainer().GetName())
	}
	if want := "exec  web|open /tmp/1 web|open /tmp/2 web"; strings.Join(got, "|") != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if p.parked.records != 0 || p.parked.bytes != 0 {
		t.Errorf("%d records, %d bytes still counted as parked", p.parked.records, p.parked.bytes)
	}
}

func TestAlertCarriesAncestry(t *testing.T) {
	p, _ := newPipeline(t)
	p.Record(execBytes(0, "/bin/parent", 0))
	p.Record(bytesOf(wire.TypeFork, 0, wire.Fork{ChildTgid: 8, ChildStart: 80}))
	raw := execBytes(0, "/memfd:x", wire.FileMemfd|wire.FileDeleted)
	head := (*wire.Head)(unsafe.Pointer(unsafe.SliceData(raw)))
	head.Tgid, head.Start = 8, 80
	p.Record(raw)
	records := stored(t, p.alerts)
	if len(records) != 1 {
		t.Fatalf("%d alerts", len(records))
	}
	process := records[0].GetAlert().GetEvent().GetProcess()
	if process.GetExe() != "/memfd:x" || len(process.GetAncestors()) != 1 || process.GetAncestors()[0].GetExe() != "/bin/parent" {
		t.Errorf("%v", process)
	}
}

// TestAnyBytesAreTold has a program whose path is not UTF-8.
func TestAnyBytesAreTold(t *testing.T) {
	p, _ := newPipeline(t, "exec")
	p.Record(execBytes(0, "/memfd:\xff", wire.FileMemfd|wire.FileDeleted))
	told, recorded := stored(t, p.alerts), stored(t, p.records)
	if len(told) != 1 || len(recorded) != 1 {
		t.Fatalf("%d alerts, %d records", len(told), len(recorded))
	}
	for _, ev := range []*apiv1.Event{told[0].GetAlert().GetEvent(), recorded[0].GetEvent()} {
		if exe := ev.GetProcess().GetExe(); exe != `/memfd:\xff` {
			t.Errorf("%q", exe)
		}
	}
}

func TestMalformedRecordsAreCounted(t *testing.T) {
	p, _ := newPipeline(t)
	p.Record(make([]byte, 10))
	p.Record(bytesOf(wire.TypeOpen, 0, wire.FileOp{PathLen: 60}, "short"))
	if n := p.counts.malformed.Load(); n != 2 {
		t.Errorf("%d", n)
	}
}

// TestKnownEventAllocatesNothing is the promise of the hot path: an event of a known process in a known container that
// no rule and nobody else asks for is decoded, enriched and matched without an allocation.
func TestKnownEventAllocatesNothing(t *testing.T) {
	p, _ := newPipeline(t)
	p.Record(execBytes(0, "/bin/a", 0))
	open := bytesOf(wire.TypeOpen, 0, wire.FileOp{PathLen: 11}, "/etc/passwd")
	connect := bytesOf(wire.TypeConnect, 0, wire.Net{Family: 2, RemotePort: 80})
	if n := testing.AllocsPerRun(1000, func() {
		p.Record(open)
		p.Record(connect)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestParkingIsBounded(t *testing.T) {
	p, _ := newPipeline(t, "open")
	id := strings.Repeat("cd", 32)
	p.Record(bytesOf(wire.TypeCgroupMkdir, 0, wire.Cgroup{Id: testCgroup, Parent: 1, NameLen: uint16(len(id))}, id))
	open := bytesOf(wire.TypeOpen, testCgroup, wire.FileOp{PathLen: 2000}, strings.Repeat("/x", 1000))
	for range 2 * parkedBytes / len(open) {
		p.Record(open)
	}
	if p.parked.bytes > parkedBytes || p.counts.parkedOver.Load() == 0 || p.counts.recorded.Load() == 0 {
		t.Errorf("%d bytes parked, %d went on", p.parked.bytes, p.counts.parkedOver.Load())
	}
}

func TestLagQuantiles(t *testing.T) {
	var l lag
	for range 98 {
		l.add(2000, 1000)
	}
	l.add(5_000_000, 0)
	l.add(5_000_000, 0)
	p50, p99 := l.quantiles()
	if p50 < 1000 || p50 > 1536 || p99 < 5_000_000 || p99 > 8_388_608 {
		t.Errorf("median %d, 99th percentile %d", p50, p99)
	}
	if a, b := l.quantiles(); a != 0 || b != 0 {
		t.Error("the second look is not empty")
	}
}
