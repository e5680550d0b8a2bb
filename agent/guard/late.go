// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/enforce"
	"github.com/holdfast-project/holdfast/agent/mode"
	"github.com/holdfast-project/holdfast/agent/report"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// What runs already when a policy comes into force was judged by nobody: the container was there before the agent, or its
// first processes were quicker than the runtime's news of it. It is judged then, once for each mode that says something
// about it: is the program one that the profile lets run, whoever started it, and does it come from where it should.

// Late is a process that ran already when the policy came into force, and that the policy would not have let start.
type Late struct {
	Container *container.Container
	PID       uint32
	// Start is when it started, nanoseconds of the boot clock.
	Start  uint64
	Signal wire.Signal
	Reason wire.Reason
	// Killed says that it was ended; else it would have been.
	Killed bool
	// Executable and Arguments are what /proc had of it, for a process of which no record was read.
	Executable string
	Arguments  string
}

// lateRounds bounds how often what a process forked while it was being ended is looked for.
const lateRounds = 16

// Watching says that every process that was there before the agent has been told of: from now on, what runs is known as
// soon as a policy comes into force, and what is in force already is held against it.
func (g *Guard) Watching() {
	g.tell(func() error {
		g.compiling.Lock()
		defer g.compiling.Unlock()
		g.mu.Lock()
		g.watching = true
		g.mu.Unlock()
		return g.eachOf(nil, g.judgeLate)
	})
}

// judgeLateOf does so in every container of a workload, whose policy has changed. compiling is held.
func (g *Guard) judgeLateOf(w *workload) error { return g.eachOf(w, g.judgeLate) }

// came notes since when something holds for a container, if it is the agent that brought it: first says so. compiling is
// held.
func (g *Guard) came(cgroup uint64, first bool) {
	now := g.boot()
	g.mu.Lock()
	defer g.mu.Unlock()
	if m := g.members[cgroup]; m != nil && first {
		m.since = now
	}
	born, known := g.births[cgroup]
	delete(g.births, cgroup)
	switch {
	case !known:
	case first:
		g.windows.note(time.Duration(now - min(born, now)))
	default:
		g.windows.note(0)
	}
}

// judgeLate holds what ran in a container before its policy came into force against the policy. compiling is held.
func (g *Guard) judgeLate(cgroup uint64) error {
	g.mu.Lock()
	m := g.members[cgroup]
	if m == nil || m.since == 0 || !g.watching {
		g.mu.Unlock()
		return nil
	}
	modes := g.modes.Modes(cgroup)
	strict := max(lateStrength(modes[profile.SignalProcess]), lateStrength(modes[profile.SignalProtect]))
	if strict <= m.judged {
		g.mu.Unlock()
		return nil
	}
	// What was forked since by what is judged for the first time was not judged either.
	first, since := m.judged == 0, m.since
	before := m.judged
	m.judged = strict
	g.mu.Unlock()
	done := map[enforce.Unlisted]bool{}
	var errs []error
	for range lateRounds {
		if first {
			since = g.boot()
		}
		found, err := g.cfg.Enforcer.Unlisted(cgroup, since)
		if errors.Is(err, enforce.ErrNothingListed) {
			// Its profile is still to come: nobody's application is ended for that.
			g.mu.Lock()
			m.judged = before
			g.mu.Unlock()
			return nil
		}
		if err != nil {
			return fmt.Errorf("what ran in a container before its policy: %w", err)
		}
		// What was ended takes a while to be gone.
		found = slices.DeleteFunc(found, func(u enforce.Unlisted) bool { return done[u] })
		killed, err := g.denyLate(m.container, found)
		errs = append(errs, err)
		if !killed {
			return errors.Join(errs...)
		}
		for _, u := range found {
			done[u] = true
		}
	}
	return errors.Join(append(errs,
		fmt.Errorf("container %s: what its policy does not let run starts itself anew faster than it is ended", m.container.ID))...)
}

// lateStrength orders the modes that say something about what runs.
func lateStrength(m profile.Mode) int {
	switch m {
	case profile.ModeMonitor:
		return 1
	case profile.ModeEnforce:
		return 2
	default:
		return 0
	}
}

// denyLate does what the modes say about processes, and reports whether any was ended. The brakes are asked before each, as
// after each deed that the kernel blocks: they may take the workload, and others, out of enforcement.
func (g *Guard) denyLate(c *container.Container, found []enforce.Unlisted) (killed bool, err error) {
	var errs []error
	for _, u := range found {
		late := g.describe(c, u)
		enforced, told, err := g.decideLate(&late)
		errs = append(errs, err)
		if enforced {
			gone, err := kill(u, g.cfg.Enforcer.Runs)
			if err != nil {
				errs = append(errs, fmt.Errorf("end process %d, which the policy of %s does not let run: %w", u.PID, c.ID, err))
			}
			// One that cannot be ended goes on, and is told of as such.
			late.Killed, told, killed = gone, gone || err != nil, killed || gone
		}
		if told {
			g.tellLate(late)
		}
	}
	return killed, errors.Join(errs...)
}

// decideLate says whether a process is to be ended, or told of.
func (g *Guard) decideLate(late *Late) (enforced, told bool, err error) {
	g.mu.Lock()
	cgroup := late.Container.Cgroup
	modes := g.modes.Modes(cgroup)
	late.Signal = lateSignal(late.Reason, modes)
	signal := report.SignalOf(late.Signal)
	var switches []mode.Switch
	if modes[signal] == profile.ModeEnforce {
		switches = g.modes.Blocked(cgroup, signal, g.now())
		modes = g.modes.Modes(cgroup)
	}
	g.mu.Unlock()
	err = g.switched(switches)
	return modes[signal] == profile.ModeEnforce, modes[signal] == profile.ModeMonitor, err
}

// lateSignal is the signal that a process is judged under: of drift, the stricter of the two that it concerns.
func lateSignal(reason wire.Reason, modes profile.Modes) wire.Signal {
	drift := reason == wire.ReasonDrift || reason == wire.ReasonFileless
	if drift && lateStrength(modes[profile.SignalProtect]) > lateStrength(modes[profile.SignalProcess]) {
		return wire.SignalProtect
	}
	return wire.SignalProcess
}

// describe takes from /proc what is known of a process, before it is ended.
func (g *Guard) describe(c *container.Container, u enforce.Unlisted) Late {
	exe, arguments := describe(u.PID)
	return Late{Container: c, PID: u.PID, Start: u.Start, Reason: u.Reason, Executable: exe, Arguments: arguments}
}

// tellLate counts a process and hands it on.
func (g *Guard) tellLate(late Late) {
	g.mu.Lock()
	if m := g.members[late.Container.Cgroup]; m != nil {
		count := &m.workload.late.WouldBlock
		if late.Killed {
			count = &m.workload.late.Blocked
		}
		count[late.Signal]++
	}
	g.mu.Unlock()
	g.log.Warn("a process ran that the policy does not let run", "container", late.Container.ID, "pid", late.PID,
		"executable", late.Executable, "reason", report.ReasonName(late.Reason), "killed", late.Killed)
	if g.cfg.OnLate != nil {
		g.cfg.OnLate(late)
	}
}

// bootClock is nanoseconds of the clock that kernel programs stamp records with.
func bootClock() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return uint64(ts.Nano())
}
