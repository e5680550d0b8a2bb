// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"fmt"
	"hash/fnv"
	"time"

	"github.com/holdfast-project/holdfast/agent/enforce"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// incidentTime is for how long after a critical alert all that a container shows waits for a person.
const incidentTime = 10 * time.Minute

// Incident says that something critical was done in a container, by its cgroup: what it shows from then on, for a time, is
// not learned as normal.
func (g *Guard) Incident(cgroup uint64, at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.learner.Incident(cgroup, at.Add(incidentTime))
}

// names gives a sum of the names that a profile lets be contacted.
func names(p *profile.Profile) uint64 {
	sum := fnv.New64a()
	for i := range p.Processes {
		for j := range p.Processes[i].Egress {
			if e := &p.Processes[i].Egress[j]; e.Name != "" && e.Seen.Allows() {
				_, _ = sum.Write([]byte(e.Name + "\n"))
			}
		}
	}
	return sum.Sum64()
}

// admitAll does admit for the containers of a workload. compiling is held.
func (g *Guard) admitAll(w *workload) error { return g.eachOf(w, g.admit) }

// admit lets the names that a container's policy lists stand for the addresses that the container was told for them. The
// kernel does so when an answer comes; of those that came before the name was listed, or before the policy held, the learner
// knows. So a program may go on using what it was told while it learned. compiling is held.
func (g *Guard) admit(cgroup uint64) error {
	g.mu.Lock()
	m := g.members[cgroup]
	if m == nil {
		g.mu.Unlock()
		return nil
	}
	if mode := g.modes.Modes(cgroup)[profile.SignalEgress]; mode == profile.ModeOff || mode == "" {
		g.mu.Unlock()
		return nil
	}
	now, boot := g.now(), g.boot()
	answers, id := g.learner.Answers(cgroup, now), m.workload.policy
	g.mu.Unlock()
	told := make([]enforce.Admission, 0, len(answers))
	for _, a := range answers {
		told = append(told, enforce.Admission{Address: a.Address, Name: a.Name, Until: boot + uint64(a.Until.Sub(now))})
	}
	if _, err := g.cfg.Enforcer.Admit(id, cgroup, told); err != nil {
		return fmt.Errorf("addresses that a container was told before: %w", err)
	}
	return nil
}
