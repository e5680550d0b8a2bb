// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"slices"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// maxSwitches is how many switches of modes are remembered of a node, the newest.
const maxSwitches = 1024

// withHealth gives what is known of a node's health after a message, whose lists may add to those before. Messages that were
// handed out are not changed.
func withHealth(before, h *apiv1.Health) *apiv1.Health {
	workloads, switches := h.GetWorkloads(), h.GetSwitches()
	if h.GetPartial() {
		workloads = slices.Concat(before.GetWorkloads(), workloads)
		switches = slices.Concat(before.GetSwitches(), switches)
	}
	h.Workloads, h.Switches = newest(workloads), switches[max(0, len(switches)-maxSwitches):]
	return h
}

// newest leaves of each workload what was said last, unless it is gone, by key, and no more than a node may have.
func newest(workloads []*apiv1.WorkloadState) []*apiv1.WorkloadState {
	byKey := make(map[profile.Key]*apiv1.WorkloadState, len(workloads))
	for _, w := range workloads {
		key := keyOf(w.GetKey())
		if w.GetContainers() == 0 {
			delete(byKey, key)
		} else if _, known := byKey[key]; known || len(byKey) < profile.MaxProfiles {
			byKey[key] = w
		}
	}
	list := make([]*apiv1.WorkloadState, 0, len(byKey))
	for _, w := range byKey {
		list = append(list, w)
	}
	slices.SortFunc(list, func(a, b *apiv1.WorkloadState) int {
		x, y := a.GetKey(), b.GetKey()
		return cmp.Or(cmp.Compare(x.GetNamespace(), y.GetNamespace()), cmp.Compare(x.GetKind(), y.GetKind()),
			cmp.Compare(x.GetName(), y.GetName()), cmp.Compare(x.GetContainer(), y.GetContainer()))
	})
	return list
}
