// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// many is the health of a node with so many workloads, whose modes somebody has given a long reason for.
func many(n int) *apiv1.Health {
	h := &apiv1.Health{TimeNs: 1, Events: map[string]uint64{"exec": 5}}
	for i := range n {
		w := &apiv1.WorkloadState{
			Key:        &apiv1.ProfileKey{Namespace: "shop", Kind: "Deployment", Name: fmt.Sprintf("workload-%04d", i), Container: "main"},
			Containers: 3, Known: 1e6,
		}
		for _, signal := range []string{"process", "file", "egress", "protect"} {
			w.Signals = append(w.Signals, &apiv1.SignalState{
				Signal: signal, Mode: "enforce", State: "stable", Source: "collector setting: " + strings.Repeat("ä", 2000),
			})
		}
		h.Workloads = append(h.Workloads, w)
	}
	for i := range 1024 {
		h.Switches = append(h.Switches, &apiv1.ModeSwitch{
			TimeNs: int64(i), Key: h.Workloads[0].Key, Signal: "process", From: "learn", To: "enforce", Reason: strings.Repeat("r", 1000),
		})
	}
	return h
}

// heard is what a collector knows after messages.
type heard struct {
	workloads map[string]*apiv1.WorkloadState
	switches  []*apiv1.ModeSwitch
}

func (c *heard) hear(t *testing.T, m *apiv1.Health) {
	t.Helper()
	if size := proto.Size(m); size > 2*maxHealth+64<<10 {
		t.Errorf("a message of %d bytes", size)
	}
	if !m.GetPartial() {
		*c = heard{workloads: map[string]*apiv1.WorkloadState{}}
	}
	for _, w := range m.GetWorkloads() {
		c.workloads[keyText(w.GetKey())] = w
		if w.GetContainers() == 0 {
			delete(c.workloads, keyText(w.GetKey()))
		}
	}
	c.switches = append(c.switches, m.GetSwitches()...)
}

// TestTeller tells of a thousand workloads, whose messages would be too large for the collector, in messages that are not.
func TestTeller(t *testing.T) {
	h := many(1000)
	if proto.Size(h) < maxMessage {
		t.Fatal("what is to be told fits one message: the test shows nothing")
	}
	before := proto.CloneOf(h)
	var tell teller
	var c heard
	more, messages := true, 0
	for ; more; messages++ {
		if messages == 50 {
			t.Fatal("it does not end")
		}
		var m *apiv1.Health
		m, more = tell.tell(h)
		if m.GetPartial() != (messages > 0) || m.GetEvents()["exec"] != 5 {
			t.Errorf("message %d: %v", messages, m)
		}
		c.hear(t, m)
	}
	if !proto.Equal(h, before) {
		t.Error("what was told has changed")
	}
	if len(c.workloads) != 1000 || !slices.EqualFunc(c.switches, h.Switches, func(a, b *apiv1.ModeSwitch) bool { return proto.Equal(a, b) }) {
		t.Errorf("after %d messages: %d workloads, %d switches", messages, len(c.workloads), len(c.switches))
	}
	m, more := tell.tell(h)
	if len(m.GetWorkloads()) != 0 || len(m.GetSwitches()) != 0 || more {
		t.Errorf("nothing has changed, and told are %d workloads, %d switches", len(m.GetWorkloads()), len(m.GetSwitches()))
	}

	// All counts change, one mode does, one workload is new, one is gone, a switch is new and the oldest is forgotten.
	h = proto.CloneOf(h)
	for _, w := range h.Workloads {
		w.Known++
	}
	h.Workloads[700].Signals[1].Mode = "monitor"
	gone := h.Workloads[3]
	h.Workloads = slices.Delete(h.Workloads, 3, 4)
	h.Workloads = append(h.Workloads, many(1001).Workloads[1000])
	h.Switches = append(h.Switches[1:], &apiv1.ModeSwitch{TimeNs: 5000, To: "monitor"})
	m, _ = tell.tell(h)
	c.hear(t, m)
	if c.workloads[keyText(gone.Key)] != nil || len(c.workloads) != 1000 || c.workloads[keyText(h.Workloads[699].Key)].Signals[1].Mode != "monitor" {
		t.Errorf("what is new or gone is not told first: %d workloads", len(c.workloads))
	}
	if len(m.Switches) != 1 || m.Switches[0].TimeNs != 5000 {
		t.Errorf("%d switches are told, want the new one", len(m.Switches))
	}
	for range 10 {
		m, _ = tell.tell(h)
		c.hear(t, m)
	}
	for _, w := range h.Workloads {
		if got := c.workloads[keyText(w.Key)]; got.GetKnown() != w.Known {
			t.Fatalf("of %s, %d is known, want %d", w.Key.Name, got.GetKnown(), w.Known)
		}
	}
}
