// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"strings"
	"testing"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// health is a message: workloads as NAME=CONTAINERS, and how many switches, from a time on.
func health(partial bool, workloads string, from, switches int) *apiv1.Health {
	h := &apiv1.Health{Partial: partial}
	for text := range strings.FieldsSeq(workloads) {
		w := &apiv1.WorkloadState{Key: &apiv1.ProfileKey{Kind: "Pod", Container: "c"}}
		if _, err := fmt.Sscanf(strings.Replace(text, "=", " ", 1), "%s %d", &w.Key.Name, &w.Containers); err != nil {
			panic(err)
		}
		h.Workloads = append(h.Workloads, w)
	}
	for i := range switches {
		h.Switches = append(h.Switches, &apiv1.ModeSwitch{TimeNs: int64(from + i)})
	}
	return h
}

func said(h *apiv1.Health) string {
	var all []string
	for _, w := range h.GetWorkloads() {
		all = append(all, fmt.Sprintf("%s=%d", w.Key.Name, w.Containers))
	}
	return strings.Join(all, " ")
}

func TestWithHealth(t *testing.T) {
	first := withHealth(nil, health(false, "b=1 a=2", 0, 3))
	second := withHealth(first, health(true, "c=1 b=0 a=3", 3, 2))
	if said(first) != "a=2 b=1" || said(second) != "a=3 c=1" || len(first.Switches) != 3 || len(second.Switches) != 5 {
		t.Errorf("%s, %d switches; then %s, %d switches", said(first), len(first.Switches), said(second), len(second.Switches))
	}
	anew := withHealth(second, health(false, "z=1", 9, 1))
	if said(anew) != "z=1" || len(anew.Switches) != 1 {
		t.Errorf("a new beginning: %s, %d switches", said(anew), len(anew.Switches))
	}
	all := second
	for i := range 30 {
		var text strings.Builder
		for k := range 100 {
			fmt.Fprintf(&text, "w%d-%d=1 ", i, k)
		}
		all = withHealth(all, health(true, text.String(), 10+100*i, 100))
	}
	if len(all.Workloads) != profile.MaxProfiles || len(all.Switches) != maxSwitches || all.Switches[maxSwitches-1].TimeNs != 10+100*29+99 {
		t.Errorf("%d workloads, %d switches are kept", len(all.Workloads), len(all.Switches))
	}
}
