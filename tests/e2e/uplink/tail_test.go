// SPDX-License-Identifier: Apache-2.0

package uplink_test

import (
	"context"
	"fmt"
	"testing"
	"time"
	"unsafe"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/wire"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/authority"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// TestTail watches a node while events come faster than they can be shown: those that match are shown or counted as shed,
// to the last one, and the other lanes go on.
func TestTail(t *testing.T) {
	c := startCollector(t, t.TempDir(), "", 0)
	a := startAgent(t, t.TempDir(), node, c.address, c.token(t, authority.Grant{}))
	a.connected(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	batches, err := c.fleet.Tail(ctx, node, &apiv1.EventFilter{Types: []string{"fork"}, Workload: "shop/web", Pids: []uint32{7, 8}})
	if err != nil {
		t.Fatal(err)
	}
	wait.Until(t, patience, func() error {
		if !a.tails.Active() {
			return fmt.Errorf("the agent has not heard of the tail")
		}
		return nil
	})
	if want := uint64(1) << wire.TypeFork; a.tails.Classes() != want {
		t.Errorf("classes %#x, expected %#x", a.tails.Classes(), want)
	}

	web := &container.Container{State: container.StateResolved, Kind: container.KindContainer, Namespace: "shop", Workload: "web", Name: "nginx"}
	db := &container.Container{State: container.StateResolved, Kind: container.KindContainer, Namespace: "shop", Workload: "db", Name: "db"}
	const events = 20000
	matching := 0
	for i := range events {
		where, pid := web, uint32(7+i%3)
		if i%4 == 0 {
			where = db
		}
		if where == web && pid != 9 {
			matching++
		}
		a.tails.Offer(forkEvent(t, pid, where), func() *apiv1.Event {
			return &apiv1.Event{Type: "fork", Process: &apiv1.Process{Pid: pid}, Container: &apiv1.Container{Namespace: "shop", Workload: "web"}}
		})
	}
	a.alert(t, 0)
	shown, shed := 0, 0
	for deadline := time.After(patience); shown+shed < matching; {
		select {
		case b := <-batches:
			shown += len(b.GetEvents())
			shed += int(b.GetShed())
			for _, e := range b.GetEvents() {
				if p := e.GetProcess().GetPid(); p != 7 && p != 8 {
					t.Fatalf("an event of process %d was shown", p)
				}
			}
		case <-deadline:
			t.Fatalf("%d events were shown and %d shed, of %d", shown, shed, matching)
		}
	}
	if shown+shed != matching || shown == 0 {
		t.Errorf("%d events were shown and %d shed, of %d", shown, shed, matching)
	}
	t.Logf("%d of %d matching events were shown, %d counted as shed", shown, matching, shed)
	cancel()
	wait.Until(t, patience, func() error {
		if a.tails.Active() {
			return fmt.Errorf("the tail goes on after its watcher has left")
		}
		return nil
	})
	a.delivered(t)
	exactlyOnce(t, c.store, 1)
}

// forkEvent is an event as the pipeline has it once it is enriched.
func forkEvent(t *testing.T, pid uint32, c *container.Container) *event.Event {
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
