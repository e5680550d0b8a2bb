// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"cmp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// maxHealth is how many bytes of workloads, and of switches, one message of health carries: some five hundred of each. More
// wait for the next.
const maxHealth = 256 << 10

// maxSource is how much of what decided a mode is told, bytes: the reason that somebody gave is in the setting.
const maxSource = 512

// teller makes of each description of how the agent is a message of bounded size: it says of workloads what has changed
// since it was last said on the stream, what is new of switches, and of both no more than fits. It belongs to one goroutine.
type teller struct {
	began bool
	// told is what was said last of each workload, turn when.
	told map[string]saying
	turn uint64
	// last is the newest switch that was told.
	last *apiv1.ModeSwitch
}

type saying struct {
	state *apiv1.WorkloadState
	turn  uint64
}

// tell gives the message, and whether there is something of which nothing was said yet. What it is given is not changed.
func (t *teller) tell(h *apiv1.Health) (m *apiv1.Health, more bool) {
	m = proto.CloneOf(&apiv1.Health{
		TimeNs: h.TimeNs, StartNs: h.StartNs, Events: h.Events, Losses: h.Losses, LagP50Ns: h.LagP50Ns, LagP99Ns: h.LagP99Ns,
		Containers: h.Containers, Processes: h.Processes, RssBytes: h.RssBytes, Spools: h.Spools, Capabilities: h.Capabilities,
		Counted: h.Counted, Partial: t.began, Opaque: h.Opaque,
	})
	t.began = true
	t.turn++
	var moreWorkloads, moreSwitches bool
	m.Workloads, moreWorkloads = t.workloads(h.GetWorkloads())
	m.Switches, moreSwitches = t.switches(h.GetSwitches())
	return m, moreWorkloads || moreSwitches
}

// workloads chooses what to say of workloads: first those whose modes have changed or that are new or gone, then those of
// which nothing was said for longest.
func (t *teller) workloads(now []*apiv1.WorkloadState) (said []*apiv1.WorkloadState, more bool) {
	if t.told == nil {
		t.told = map[string]saying{}
	}
	type news struct {
		key   string
		state *apiv1.WorkloadState
		first bool
		turn  uint64
	}
	var list []news
	here := make(map[string]bool, len(now))
	for _, state := range now {
		key := keyText(state.GetKey())
		here[key] = true
		before := t.told[key]
		if state = shortened(state); !proto.Equal(before.state, state) {
			list = append(list, news{key, state, !sameSignals(before.state, state), before.turn})
		}
	}
	for key, before := range t.told {
		if !here[key] {
			list = append(list, news{key, &apiv1.WorkloadState{Key: before.state.GetKey()}, true, before.turn})
		}
	}
	slices.SortFunc(list, func(a, b news) int {
		if a.first != b.first {
			return map[bool]int{true: -1, false: 1}[a.first]
		}
		return cmp.Or(cmp.Compare(a.turn, b.turn), strings.Compare(a.key, b.key))
	})
	size := 0
	for i, n := range list {
		if size += proto.Size(n.state); size > maxHealth && len(said) > 0 {
			return said, slices.ContainsFunc(list[i:], func(n news) bool { return n.turn == 0 })
		}
		said = append(said, n.state)
		t.told[n.key] = saying{n.state, t.turn}
		if n.state.GetContainers() == 0 {
			delete(t.told, n.key)
		}
	}
	return said, false
}

// switches gives those that were not told yet, oldest first.
func (t *teller) switches(now []*apiv1.ModeSwitch) (said []*apiv1.ModeSwitch, more bool) {
	from := 0
	for i := len(now) - 1; i >= 0 && t.last != nil; i-- {
		if proto.Equal(now[i], t.last) {
			from = i + 1
			break
		}
	}
	size := 0
	for _, s := range now[from:] {
		if size += proto.Size(s); size > maxHealth && len(said) > 0 {
			return said, true
		}
		said = append(said, s)
		t.last = s
	}
	return said, false
}

func keyText(k *apiv1.ProfileKey) string {
	return strings.Join([]string{k.GetNamespace(), k.GetKind(), k.GetName(), k.GetContainer()}, "\x00")
}

// shortened is a state without more of what decided its modes than is told.
func shortened(state *apiv1.WorkloadState) *apiv1.WorkloadState {
	state = proto.CloneOf(state)
	for _, s := range state.GetSignals() {
		if len(s.Source) > maxSource {
			s.Source = strings.ToValidUTF8(s.Source[:maxSource], "") + "…"
		}
	}
	return state
}

func sameSignals(a, b *apiv1.WorkloadState) bool {
	return a.GetContainers() > 0 && slices.EqualFunc(a.GetSignals(), b.GetSignals(), func(x, y *apiv1.SignalState) bool { return proto.Equal(x, y) })
}
