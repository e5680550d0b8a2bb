// SPDX-License-Identifier: Apache-2.0

package tail

import (
	"fmt"
	"slices"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/workload"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// maxPids is how many processes a filter may name.
const maxPids = 1000

// filter is a compiled EventFilter.
type filter struct {
	// classes are bits 1 << wire.Type; named says that the filter lists them.
	classes uint64
	named   bool
	pattern workload.Pattern
	pids    []uint32
}

// compile checks a filter. A class that this agent does not know is an error: a watcher should not wait for what never
// comes.
func compile(from *apiv1.EventFilter) (filter, error) {
	f := filter{classes: ^uint64(0)}
	if len(from.GetTypes()) > 0 {
		f.classes, f.named = 0, true
	}
	for _, name := range from.GetTypes() {
		t, ok := event.Parse(name)
		if !ok {
			return filter{}, fmt.Errorf("%.80q is no event class that this agent knows", name)
		}
		f.classes |= 1 << t
	}
	var err error
	if f.pattern, err = workload.Compile(from.GetWorkload()); err != nil {
		return filter{}, err
	}
	if n := len(from.GetPids()); n > maxPids {
		return filter{}, fmt.Errorf("%d processes are more than %d", n, maxPids)
	}
	f.pids = slices.Clone(from.GetPids())
	slices.Sort(f.pids)
	return f, nil
}

// match reports whether an event is watched. An event whose container is not known matches patterns for everything only.
// It allocates nothing.
func (f *filter) match(ev *event.Event) bool {
	if f.classes&(1<<ev.Type) == 0 {
		return false
	}
	if len(f.pids) > 0 {
		if _, ok := slices.BinarySearch(f.pids, ev.Head.Tgid); !ok {
			return false
		}
	}
	if ev.Container == nil {
		return f.pattern.Everything()
	}
	return f.pattern.Match(ev.Container)
}
