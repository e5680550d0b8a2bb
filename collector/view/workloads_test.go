// SPDX-License-Identifier: Apache-2.0

package view

import (
	"slices"
	"testing"
	"time"
)

func TestSummarise(t *testing.T) {
	web, db := Workload{"shop", "Deployment", "web", "app"}, Workload{"shop", "StatefulSet", "db", "db"}
	late := time.Unix(1700000000, 0)
	list := Summarise([]WorkloadState{
		{Node: "b", Connected: true, Workload: web, Containers: 2, Known: 90, Learned: 5, LastBlock: late.Add(-time.Hour), Blocked: 1,
			Signals: []SignalState{{Signal: "process", Mode: "enforce", State: "stable"}, {Signal: "file", Mode: "learn", State: "partial"}}},
		{Node: "a", Workload: web, Containers: 3, Known: 2, WouldBlock: 2, Blocked: 0,
			Signals: []SignalState{{Signal: "process", Mode: "monitor", State: "stabilising"}, {Signal: "file", Mode: "learn", State: "stable"}}},
		{Node: "c", Connected: true, Workload: web, LastBlock: late,
			Signals: []SignalState{{Signal: "process", Mode: "enforce", State: "stable"}, {Signal: "file", Mode: "learn", State: ""}}},
		{Node: "a", Connected: true, Workload: db, Containers: 1},
	})
	if len(list) != 2 || list[0].Workload != db || list[0].Coverage != nil {
		t.Fatalf("%+v", list)
	}
	w := list[1]
	if w.Containers != 5 || !slices.Equal(w.Nodes, []string{"a", "b", "c"}) || !slices.Equal(w.Away, []string{"a"}) || !w.LastBlock.Equal(late) {
		t.Errorf("%+v", w)
	}
	if w.Known != 92 || w.Learned != 5 || w.WouldBlock != 2 || w.Blocked != 1 || *w.Coverage != 0.92 {
		t.Errorf("%+v, covered %v", w, *w.Coverage)
	}
	want := []SignalSummary{{"process", "monitor", true, "stabilising"}, {"file", "learn", false, "partial"}}
	if !slices.Equal(w.Signals, want) {
		t.Errorf("%+v, want %+v", w.Signals, want)
	}
}
