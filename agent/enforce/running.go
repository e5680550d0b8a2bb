// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// Unlisted is a process that runs in a container and that the policy of the container would not let start.
type Unlisted struct {
	// PID is the process's id as the first pid namespace counts, Start when it started, nanoseconds of the boot clock.
	PID   uint32
	Start uint64
	// Executable is its subject, as policy.Hasher.Exe gives it.
	Executable uint64
	// Reason is wire.ReasonExecutable, ReasonDrift or ReasonFileless.
	Reason wire.Reason
}

// ErrNothingListed is what Unlisted returns for a policy that lists no executable.
var ErrNothingListed = errors.New("the policy lists no executable")

// Holds reports whether something holds for a container already: by what an agent before has written, or by its name.
func (e *Enforcer) Holds(cgroup uint64) (bool, error) {
	var p wire.Policy
	err := e.cfg.Maps.ByContainer.Lookup(cgroup, &p)
	switch {
	case errors.Is(err, ebpf.ErrKeyNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("map policy_by_container: container %d: %w", cgroup, err)
	default:
		return true, nil
	}
}

// Unlisted lists the processes of a container whose program started before a moment, nanoseconds of the boot clock, and
// that its policy would not let start. What runs in the container is what was born in it, wherever it has gone since.
// ErrNothingListed says that the policy lets nothing start: it is still to come.
func (e *Enforcer) Unlisted(cgroup, before uint64) ([]Unlisted, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	h, ok := e.containers[cgroup]
	if !ok {
		return nil, fmt.Errorf("container %d has no policy", cgroup)
	}
	p, err := e.policy(h.policy)
	if err != nil {
		return nil, err
	}
	running := p.set.Running()
	if len(running) == 0 {
		return nil, ErrNothingListed
	}
	var list []Unlisted
	err = each(e.cfg.Maps.Processes, func(pid uint32, process wire.Process) {
		if process.Origin != cgroup || max(process.Start, process.ExecTime) >= before {
			return
		}
		if reason := running.Judge(&process); reason != wire.ReasonNone {
			list = append(list, Unlisted{PID: pid, Start: process.Start, Executable: process.Exe, Reason: reason})
		}
	})
	if err != nil {
		return nil, fmt.Errorf("map process_by_tgid: %w", err)
	}
	return list, nil
}

// Runs reports whether a process still runs the same program.
func (e *Enforcer) Runs(u Unlisted) bool {
	var p wire.Process
	err := e.cfg.Maps.Processes.Lookup(u.PID, &p)
	return err == nil && p.Start == u.Start && p.Exe == u.Executable
}
