// SPDX-License-Identifier: Apache-2.0

package guard

import "github.com/holdfast-project/holdfast/agent/policy"

// count gives the learner what the kernel has counted since it was last called: without it, how far learning is could not
// be told, since what is known is seen no more.
func (g *Guard) count() {
	g.mu.Lock()
	var inForce []*workload
	for _, w := range g.workloads {
		if w.policy != 0 {
			inForce = append(inForce, w)
		}
	}
	g.mu.Unlock()
	for _, w := range inForce {
		if err := g.countOf(w); err != nil {
			g.log.Error("what the kernel has counted was not taken in", "workload", w.key.String(), "error", err)
		}
	}
}

func (g *Guard) countOf(w *workload) error {
	g.compiling.Lock()
	defer g.compiling.Unlock()
	hits, err := g.cfg.Enforcer.Hits(w.policy)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	before := w.hits
	if w.hits = hits; before.Allow == nil {
		// What was counted before the agent started has been taken in then.
		return nil
	}
	return g.learner.Count(w.key, g.options(w), func(part *policy.Set) uint64 {
		return since(part.Allow, hits.Allow, before.Allow) + since(part.Tree, hits.Tree, before.Tree) +
			since(part.Egress, hits.Egress, before.Egress)
	}, g.now())
}

// since adds up what was counted of some entries beyond an earlier count. An entry that was made anew counts from zero.
func since[K comparable](of map[K]uint16, now, before map[K]uint64) uint64 {
	var sum uint64
	for key := range of {
		if n := now[key]; n >= before[key] {
			sum += n - before[key]
		} else {
			sum += n
		}
	}
	return sum
}

// options are what the profile of a workload is compiled with. mu is held, or nobody else changes its resolvers.
func (g *Guard) options(w *workload) policy.Options {
	o := policy.Options{Hasher: g.cfg.Enforcer.Hasher(), Resolvers: w.resolvers}
	if g.cluster != nil {
		o.Cluster = g.cluster
	}
	return o
}
