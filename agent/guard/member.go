// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/enforce"
	"github.com/holdfast-project/holdfast/agent/mode"
	"github.com/holdfast-project/holdfast/agent/report"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Container has Run give a container its workload's policy and modes: one that has got its name, or of which more is known
// than before. The host and the containers that hold pods' namespaces have none.
func (g *Guard) Container(c *container.Container) {
	g.tell(func() error { return g.arrived(c) })
}

func (g *Guard) arrived(c *container.Container) error {
	key, ok := report.Key(c)
	if !ok || c.Kind != container.KindContainer || key.Validate() != nil {
		return nil
	}
	g.compiling.Lock()
	defer g.compiling.Unlock()
	w, switches, err := g.enter(c, key)
	if err != nil {
		return fmt.Errorf("policy of %s: %w", key, err)
	}
	if w == nil {
		return nil
	}
	if w.stale {
		if err := g.apply(w); err != nil {
			return fmt.Errorf("policy of %s: %w", key, err)
		}
	}
	held, err := g.cfg.Enforcer.Holds(c.Cgroup)
	if err != nil {
		return err
	}
	if err := errors.Join(g.assignMember(c.Cgroup), g.switched(switches)); err != nil {
		return err
	}
	g.came(c.Cgroup, !held)
	return g.judgeLate(c.Cgroup)
}

// Expect has Run give a container that the runtime has announced its policy and modes by name, so that they hold from its
// first process on. One that never comes is forgotten after a while.
func (g *Guard) Expect(c *container.Container) {
	g.tell(func() error { return g.expect(c) })
}

func (g *Guard) expect(c *container.Container) error {
	key, ok := report.Key(c)
	name := enforcerName(c).Name
	if !ok || c.Kind != container.KindContainer || key.Validate() != nil || name == "" {
		return nil
	}
	g.compiling.Lock()
	defer g.compiling.Unlock()
	g.mu.Lock()
	w, err := g.policyOf(key, enforce.Container{Name: name})
	var modes profile.Modes
	if err == nil {
		g.resolve(w, c.Resolvers...)
		g.expected[name] = g.now().Add(expectation)
		var annotated error
		if modes, annotated = g.modes.Expected(mode.Container{Container: c, Key: key}, g.now()); annotated != nil {
			g.log.Warn("annotation ignored", "error", annotated)
		}
	}
	g.mu.Unlock()
	if err != nil {
		return fmt.Errorf("policy of %s: %w", key, err)
	}
	if w.stale {
		if err := g.apply(w); err != nil {
			return fmt.Errorf("policy of %s: %w", key, err)
		}
	}
	return g.assign(enforce.Container{Name: name}, w.policy, modes)
}

// expectation is how long a container may be announced before it is there.
const expectation = 10 * time.Minute

// Settled takes away what the agent before held of containers that went while nobody watched: those that were not taken
// up, and whose cgroup is not there, as a function tells.
func (g *Guard) Settled(there func(cgroup uint64) bool) error {
	g.mu.Lock()
	known := map[enforce.Container]bool{}
	for name := range g.expected {
		known[enforce.Container{Name: name}] = true
	}
	for _, m := range g.members {
		c := enforcerName(m.container)
		known[enforce.Container{Cgroup: c.Cgroup}], known[enforce.Container{Name: c.Name}] = true, true
	}
	g.mu.Unlock()
	err := g.cfg.Enforcer.Retain(func(c enforce.Container) bool { return known[c] || c.Cgroup != 0 && there(c.Cgroup) })
	if err != nil {
		return fmt.Errorf("forget containers that are gone: %w", err)
	}
	return nil
}

// forgetExpected takes away what holds for containers that were announced and did not come.
func (g *Guard) forgetExpected() {
	g.mu.Lock()
	now := g.now()
	var late []string
	for name, until := range g.expected {
		if now.After(until) {
			late = append(late, name)
			delete(g.expected, name)
		}
	}
	g.mu.Unlock()
	for _, name := range late {
		if err := g.cfg.Enforcer.Unassign(enforce.Container{Name: name}); err != nil {
			g.log.Error("the policy of a container that did not come was not taken away", "container", name, "error", err)
		}
	}
}

// policyOf finds the workload of a key and sees to it that it has a policy: the one that a container of it had under the
// agent before, if there was one. mu is held.
func (g *Guard) policyOf(key profile.Key, c enforce.Container) (*workload, error) {
	w := g.workloads[key]
	if w == nil && len(g.workloads) >= profile.MaxProfiles && !g.forgetOne() {
		return nil, fmt.Errorf("%d workloads have profiles already", profile.MaxProfiles)
	}
	w = g.workloadOf(key)
	if w.policy != 0 {
		return w, nil
	}
	id, ok := g.cfg.Enforcer.Adopt(c)
	if !ok {
		var err error
		if id, err = g.cfg.Enforcer.Create(); err != nil {
			return nil, err
		}
	}
	w.policy, w.stale = id, true
	return w, nil
}

// enter notes a container and finds its workload, which then has a policy; nil when there is nothing to do. compiling is
// held.
func (g *Guard) enter(c *container.Container, key profile.Key) (*workload, []mode.Switch, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.members[c.Cgroup]
	if m != nil && m.container == c {
		return nil, nil, nil
	}
	w, err := g.policyOf(key, enforcerName(c))
	if err != nil {
		return nil, nil, err
	}
	next := &member{container: c, workload: w}
	if m != nil {
		m.workload.containers--
		next.since, next.judged = m.since, m.judged
	}
	delete(g.expected, enforcerName(c).Name)
	g.members[c.Cgroup] = next
	w.containers++
	g.resolve(w)
	if m != nil && m.workload != w {
		g.resolve(m.workload)
	}
	g.learner.Began(c, g.now())
	g.foresee(c)
	switches, err := g.modes.Start(mode.Container{Container: c, Key: key}, g.now())
	if err != nil {
		g.log.Warn("modes of a container", "container", c.ID, "error", err)
	}
	g.due = g.modes.Next(g.now())
	if w.containers == 1 {
		g.signal()
	}
	return w, switches, nil
}

// forgetOne drops a workload that has no containers and that no file or collector speaks of. mu is held.
func (g *Guard) forgetOne() bool {
	for key, w := range g.workloads {
		if w.containers > 0 || w.written != nil || w.effective != nil || w.unsent || w.unsaved {
			continue
		}
		if w.policy != 0 {
			if err := g.cfg.Enforcer.Release(w.policy); err != nil {
				g.log.Error("policy not released", "workload", key.String(), "error", err)
				continue
			}
		}
		g.learner.Drop(key)
		g.refer(w, nil)
		delete(g.workloads, key)
		return true
	}
	return false
}

// assignMember lets its workload's policy hold for a container that is there, with the modes of the moment. compiling is
// held.
func (g *Guard) assignMember(cgroup uint64) error {
	g.mu.Lock()
	m := g.members[cgroup]
	if m == nil {
		g.mu.Unlock()
		return nil
	}
	named, id, modes := enforcerName(m.container), m.workload.policy, g.modes.Modes(cgroup)
	g.mu.Unlock()
	// Before the modes hold, so that nothing is refused that was told before.
	err := errors.Join(g.admit(cgroup), g.assign(named, id, modes))
	g.tellModes(cgroup, modes)
	return err
}

func (g *Guard) tellModes(cgroup uint64, modes profile.Modes) {
	if g.cfg.OnModes != nil {
		g.cfg.OnModes(cgroup, modes)
	}
}

// Mode gives the mode that holds for a signal of a container; off for one that is not there.
func (g *Guard) Mode(cgroup uint64, signal profile.Signal) profile.Mode {
	g.mu.Lock()
	defer g.mu.Unlock()
	if mode, ok := g.modes.Modes(cgroup)[signal]; ok {
		return mode
	}
	return profile.ModeOff
}

func (g *Guard) assign(c enforce.Container, id uint32, wanted profile.Modes) error {
	modes, err := enforce.ModesOf(wanted)
	if err != nil {
		return fmt.Errorf("modes of a container: %w", err)
	}
	if err := g.cfg.Enforcer.Assign(c, id, modes); err != nil {
		return fmt.Errorf("assign a policy: %w", err)
	}
	return nil
}

// enforcerName is a container as the enforcer knows it. Ids that are not 64 hexadecimal digits name no cgroup.
func enforcerName(c *container.Container) enforce.Container {
	named := enforce.Container{Cgroup: c.Cgroup}
	if len(c.ID) == 64 {
		named.Name = c.ID
	}
	return named
}

// Gone has Run forget a container whose cgroup is gone. What was learned from it stays.
func (g *Guard) Gone(cgroup uint64) {
	g.tell(func() error { return g.left(cgroup) })
}

func (g *Guard) left(cgroup uint64) error {
	g.compiling.Lock()
	defer g.compiling.Unlock()
	g.mu.Lock()
	m := g.members[cgroup]
	delete(g.births, cgroup)
	var switches []mode.Switch
	if m != nil {
		delete(g.members, cgroup)
		m.workload.containers--
		g.resolve(m.workload)
		g.learner.Ended(cgroup)
		switches = g.modes.Stop(cgroup, g.now())
		g.signal()
	}
	g.mu.Unlock()
	if m == nil {
		return nil
	}
	g.tellModes(cgroup, nil)
	return errors.Join(g.cfg.Enforcer.Unassign(enforcerName(m.container)), g.switched(switches))
}

// eachOf does something for each container of a workload, of all where it is nil, in the order of their cgroups. mu is not
// held.
func (g *Guard) eachOf(w *workload, do func(cgroup uint64) error) error {
	g.mu.Lock()
	var cgroups []uint64
	for cgroup, m := range g.members {
		if w == nil || m.workload == w {
			cgroups = append(cgroups, cgroup)
		}
	}
	g.mu.Unlock()
	slices.Sort(cgroups)
	var errs []error
	for _, cgroup := range cgroups {
		errs = append(errs, do(cgroup))
	}
	return errors.Join(errs...)
}
