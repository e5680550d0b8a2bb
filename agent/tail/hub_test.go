// SPDX-License-Identifier: Apache-2.0

package tail

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/wire"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

var web = &container.Container{State: container.StateResolved, Namespace: "shop", Workload: "web", Name: "nginx"}

// forkEvent is an event as the pipeline has it once it is enriched.
func forkEvent(t testing.TB, pid uint32, c *container.Container) *event.Event {
	t.Helper()
	raw := &wire.Fork{}
	raw.Head.Type, raw.Head.Tgid = uint16(wire.TypeFork), pid
	ev := &event.Event{}
	if err := ev.Decode(unsafe.Slice((*byte)(unsafe.Pointer(raw)), unsafe.Sizeof(*raw))); err != nil {
		t.Fatal(err)
	}
	ev.Container = c
	return ev
}

func start(t testing.TB, h *Hub, id uint64, f *apiv1.EventFilter) {
	t.Helper()
	if err := h.Start(id, f); err != nil {
		t.Fatal(err)
	}
}

func message(comm string) func() *apiv1.Event {
	return func() *apiv1.Event { return &apiv1.Event{Type: "fork", Process: &apiv1.Process{Comm: comm}} }
}

func TestFilter(t *testing.T) {
	host := &container.Container{State: container.StateResolved, Kind: container.KindHost, Workload: "node-1", Name: "node-1"}
	for _, test := range []struct {
		name   string
		filter *apiv1.EventFilter
		pid    uint32
		where  *container.Container
		want   bool
	}{
		{"nothing set", &apiv1.EventFilter{}, 1, web, true},
		{"no filter", nil, 1, nil, true},
		{"type", &apiv1.EventFilter{Types: []string{"exec", "fork"}}, 1, web, true},
		{"other type", &apiv1.EventFilter{Types: []string{"exec"}}, 1, web, false},
		{"workload", &apiv1.EventFilter{Workload: "shop/w*"}, 1, web, true},
		{"other workload", &apiv1.EventFilter{Workload: "shop/db"}, 1, web, false},
		{"host", &apiv1.EventFilter{Workload: "/node-1"}, 1, host, true},
		{"no name yet, a pattern", &apiv1.EventFilter{Workload: "shop"}, 1, nil, false},
		{"no name yet, everything", &apiv1.EventFilter{Workload: "*"}, 1, nil, true},
		{"pid", &apiv1.EventFilter{Pids: []uint32{9, 1, 5}}, 5, web, true},
		{"other pid", &apiv1.EventFilter{Pids: []uint32{9, 1, 5}}, 6, web, false},
		{"all must match", &apiv1.EventFilter{Types: []string{"fork"}, Workload: "shop", Pids: []uint32{2}}, 1, web, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := New()
			start(t, h, 1, test.filter)
			asked := 0
			h.Offer(forkEvent(t, test.pid, test.where), func() *apiv1.Event {
				asked++
				return &apiv1.Event{Type: "fork"}
			})
			if got := h.Take() != nil; got != test.want {
				t.Errorf("shown: %v, expected %v", got, test.want)
			}
			if want := map[bool]int{true: 1, false: 0}[test.want]; asked != want {
				t.Errorf("described %d times, expected %d", asked, want)
			}
		})
	}
}

func TestBadFilter(t *testing.T) {
	for says, filter := range map[string]*apiv1.EventFilter{
		`"teleport"`:   {Types: []string{"fork", "teleport"}},
		"syntax error": {Workload: "["},
		"more than":    {Pids: make([]uint32, maxPids+1)},
	} {
		h := New()
		if err := h.Start(7, filter); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "tail 7") {
			t.Errorf("%v: expected an error that says %s", err, says)
		}
		if h.Active() {
			t.Errorf("%s: a tail was begun", says)
		}
	}
}

func TestStartAndStop(t *testing.T) {
	h := New()
	if h.Active() || h.Take() != nil || h.Classes() != 0 {
		t.Error("a new hub is watched")
	}
	h.Stop(1)
	for id := range uint64(MaxTails) {
		start(t, h, id, &apiv1.EventFilter{Types: []string{"exec"}})
	}
	if err := h.Start(99, nil); !errors.Is(err, ErrTooMany) {
		t.Errorf("one tail too many: %v", err)
	}
	// The same id begins anew.
	start(t, h, 3, nil)
	h.Offer(forkEvent(t, 1, web), message("a"))
	if b := h.Take(); b.GetId() != 3 || len(b.GetEvents()) != 1 {
		t.Errorf("batch: %v", b)
	}
	if h.Take() != nil {
		t.Error("there is more")
	}
	if want := uint64(1) << wire.TypeExec; h.Classes() != want {
		t.Errorf("classes %#x, expected %#x", h.Classes(), want)
	}
	h.Offer(forkEvent(t, 1, web), message("b"))
	h.StopAll()
	if h.Active() || h.Take() != nil || h.bytes != 0 {
		t.Errorf("after StopAll: active %v, %d bytes", h.Active(), h.bytes)
	}
}

// TestShed offers more than a queue holds: what is shown and what is shed is what was offered, in order, and batches are
// bounded.
func TestShed(t *testing.T) {
	h := New()
	start(t, h, 1, nil)
	const offered = maxQueued + 500
	asked := 0
	for range offered {
		h.Offer(forkEvent(t, 1, web), func() *apiv1.Event { asked++; return &apiv1.Event{} })
	}
	if asked != maxQueued {
		t.Errorf("described %d events, expected %d: what is shed is not described", asked, maxQueued)
	}
	shown, shed := 0, uint64(0)
	for b := h.Take(); b != nil; b = h.Take() {
		if len(b.GetEvents()) > batchEvents {
			t.Errorf("batch of %d events", len(b.GetEvents()))
		}
		shown += len(b.GetEvents())
		shed += b.GetShed()
	}
	if shown != maxQueued || shed != offered-maxQueued {
		t.Errorf("%d shown and %d shed of %d", shown, shed, offered)
	}
	if s := h.Stats(); s.Sent != uint64(shown) || s.Shed != shed || s.Tails != 1 || h.bytes != 0 {
		t.Errorf("stats %+v, %d bytes", s, h.bytes)
	}
}

// TestBytes offers large events to several watchers: memory and batches stay within their bounds.
func TestBytes(t *testing.T) {
	h := New()
	for id := range uint64(4) {
		start(t, h, id, nil)
	}
	large := strings.Repeat("x", 100<<10)
	for range 200 {
		h.Offer(forkEvent(t, 1, web), message(large))
	}
	if h.bytes > maxBytes+4*(101<<10) {
		t.Errorf("%d bytes wait, bound is %d", h.bytes, maxBytes)
	}
	total, turns := uint64(0), map[uint64]int{}
	for b := h.Take(); b != nil; b = h.Take() {
		size := 0
		for _, e := range b.GetEvents() {
			size += len(e.GetProcess().GetComm())
		}
		if size > batchBytes {
			t.Errorf("batch of %d bytes", size)
		}
		total += uint64(len(b.GetEvents())) + b.GetShed()
		turns[b.GetId()]++
	}
	if total != 4*200 || h.bytes != 0 {
		t.Errorf("%d shown or shed of %d, %d bytes left", total, 4*200, h.bytes)
	}
	if len(turns) != 4 {
		t.Errorf("turns: %v", turns)
	}
}

// TestReady checks that what waits is told of, also after a part of it was taken.
func TestReady(t *testing.T) {
	h := New()
	start(t, h, 1, nil)
	start(t, h, 2, nil)
	h.Offer(forkEvent(t, 1, web), message("a"))
	for i := range 2 {
		select {
		case <-h.Ready():
		default:
			t.Fatalf("nothing is ready before batch %d", i+1)
		}
		if h.Take() == nil {
			t.Fatalf("no batch %d", i+1)
		}
	}
}

// TestConcurrent starts, stops, offers and takes at once. Nothing is left behind; the race detector watches.
func TestConcurrent(t *testing.T) {
	h := New()
	var group sync.WaitGroup
	for i := range uint64(4) {
		group.Go(func() {
			for range 500 {
				if err := h.Start(i, &apiv1.EventFilter{Workload: "shop"}); err != nil {
					t.Error(err)
				}
				h.Take()
				h.Stop(i)
			}
		})
	}
	ev := forkEvent(t, 1, web)
	for range 5000 {
		if h.Active() {
			h.Offer(ev, message("x"))
		}
	}
	group.Wait()
	if h.Active() || h.bytes != 0 {
		t.Errorf("active %v, %d bytes left", h.Active(), h.bytes)
	}
}

func TestOfferAllocatesNothingUnlessItMatches(t *testing.T) {
	h := New()
	ev := forkEvent(t, 1, web)
	describe := message("x")
	if n := testing.AllocsPerRun(1000, func() { h.Offer(ev, describe) }); n != 0 {
		t.Errorf("nobody watches: %v allocations", n)
	}
	start(t, h, 1, &apiv1.EventFilter{Workload: "shop/db", Pids: []uint32{1}})
	if n := testing.AllocsPerRun(1000, func() { h.Offer(ev, describe) }); n != 0 {
		t.Errorf("nothing matches: %v allocations", n)
	}
}
