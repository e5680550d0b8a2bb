// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/agent/policy"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Cluster knows what the names of a cluster stand for. Its methods must not block.
type Cluster interface {
	policy.Resolver
	// Want says that what is in force names a workload, NAMESPACE/KIND/NAME, or that one less does.
	Want(workload string, wanted bool)
	// Told reports whether what it says of a name, as Moved has it, is what Kubernetes says: all of it has come once.
	Told(name string) bool
}

// Names of the cluster, as Moved has them, begin with these.
const (
	movedService  = "service "
	movedWorkload = "workload "
)

// Moved takes note that names of the cluster stand for other addresses than before: what refers to them is worked out anew
// and put in force within a tick. Names are "service NAMESPACE/NAME" and "workload NAMESPACE/KIND/NAME"; none stand for all.
func (g *Guard) Moved(names []string) {
	moved := make(map[string]bool, len(names))
	for _, name := range names {
		moved[name] = true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range g.workloads {
		w.stale = w.stale || len(names) == 0 && len(w.cluster) > 0 || slices.ContainsFunc(w.cluster, func(name string) bool { return moved[name] })
	}
}

// clusterNames are the names of the cluster that a profile lets be contacted, in order.
func clusterNames(allowed *profile.Profile) []string {
	var names []string
	for i := range allowed.Processes {
		for _, e := range allowed.Processes[i].Egress {
			switch {
			case !e.Seen.Allows():
			case e.Service != "":
				names = append(names, movedService+e.Service)
			case e.Workload != "":
				names = append(names, movedWorkload+e.Workload)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// refer notes what names a workload refers to now, and tells the cluster which workloads are wanted. mu is held.
func (g *Guard) refer(w *workload, names []string) {
	before := w.cluster
	w.cluster = names
	if g.cfg.Services == nil {
		return
	}
	tell := func(list, other []string, wanted bool) {
		for _, name := range list {
			workload, is := strings.CutPrefix(name, movedWorkload)
			if _, found := slices.BinarySearch(other, name); is && !found {
				g.cfg.Services.Want(workload, wanted)
			}
		}
	}
	tell(names, before, true)
	tell(before, names, false)
}
