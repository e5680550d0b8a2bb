// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Modes is what is done about a deed that a policy does not list: wire.Mode by wire.Signal.
type Modes [wire.Signals]uint8

// ModesOf gives modes as the maps have them. A signal that is missing is off.
func ModesOf(modes profile.Modes) (Modes, error) {
	var m Modes
	for signal, mode := range modes {
		at, ok := signals()[signal]
		if !ok {
			return m, fmt.Errorf("signal %q is not known", signal)
		}
		value, ok := modeValues()[mode]
		if !ok {
			return m, fmt.Errorf("mode %q of signal %s is not known", mode, signal)
		}
		m[at] = uint8(value)
	}
	return m, nil
}

// Profile is the inverse of ModesOf, with every signal.
func (m Modes) Profile() profile.Modes {
	modes := profile.Modes{}
	for signal, at := range signals() {
		modes[signal] = profile.ModeOff
		for mode, value := range modeValues() {
			if uint8(value) == m[at] {
				modes[signal] = mode
			}
		}
	}
	return modes
}

func signals() map[profile.Signal]wire.Signal {
	return map[profile.Signal]wire.Signal{
		profile.SignalProcess: wire.SignalProcess, profile.SignalFile: wire.SignalFile,
		profile.SignalEgress: wire.SignalEgress, profile.SignalProtect: wire.SignalProtect,
		profile.SignalDLP: wire.SignalDlp, profile.SignalWAF: wire.SignalWaf,
	}
}

func modeValues() map[profile.Mode]wire.Mode {
	return map[profile.Mode]wire.Mode{
		profile.ModeOff: wire.ModeOff, profile.ModeLearn: wire.ModeLearn,
		profile.ModeMonitor: wire.ModeMonitor, profile.ModeEnforce: wire.ModeEnforce,
	}
}

// Container is a container by one or both of what is known of it.
type Container struct {
	// Cgroup is the cgroup2 id of its folder, 0 before it is made.
	Cgroup uint64
	// Name is its id, 64 hexadecimal digits, as the runtime names the cgroup; empty where it is not known. By its name, a
	// container has its policy from its first process on, if it is assigned before it is made.
	Name string
}

// Assignment is what holds for a container.
type Assignment struct {
	Container Container
	Policy    uint32
	Modes     Modes
}

// Assign lets a policy and modes hold for a container. For one that has the policy already, or the modes, the change is
// one store: each deed is judged by the old or by the new. ErrFull says that there are as many as the maps can hold.
func (e *Enforcer) Assign(c Container, id uint32, modes Modes) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, err := e.policy(id)
	if err != nil {
		return err
	}
	name, err := nameOf(c.Name)
	if err != nil {
		return err
	}
	h := held{policy: id, modes: modes}
	if c.Name != "" {
		if err := hold(e, e.cfg.Maps.ByName, e.programs.ApplyName, name, p, h); err != nil {
			return fmt.Errorf("map policy_by_name: container %s: %w", c.Name, err)
		}
		e.names[name] = h
	}
	if c.Cgroup != 0 {
		if err := hold(e, e.cfg.Maps.ByContainer, e.programs.ApplyContainer, c.Cgroup, p, h); err != nil {
			return fmt.Errorf("map policy_by_container: container %d: %w", c.Cgroup, err)
		}
		e.containers[c.Cgroup] = h
	}
	return nil
}

// nameOf checks a name, as which anything may be given that a runtime calls a container.
func nameOf(text string) (wire.ContainerName, error) {
	var name wire.ContainerName
	if text == "" {
		return name, nil
	}
	if len(text) != len(name.Id) {
		return name, fmt.Errorf("container id %q: has %d characters, not %d", text, len(text), len(name.Id))
	}
	for _, b := range []byte(text) {
		if (b < '0' || b > '9') && (b < 'a' || b > 'f') {
			return name, fmt.Errorf("container id %q: is not of lower-case hexadecimal digits", text)
		}
	}
	copy(name.Id[:], text)
	return name, nil
}

// hold writes what holds for a container into one of the two maps.
func hold[K comparable](e *Enforcer, m *ebpf.Map, program *ebpf.Program, key K, p *state, h held) error {
	var was wire.Policy
	err := m.Lookup(&key, &was)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return err
	}
	there := err == nil
	identity, modes := was.Id == p.id && was.Generation == p.generation, was.Mode == h.modes
	switch {
	case there && identity && modes:
		return nil
	case there && modes:
		_, err = e.apply(program, []store{{bytesOf(&key), generationWord(p.id, p.generation), atGeneration}})
		return err
	case there && identity:
		_, err = e.apply(program, []store{{bytesOf(&key), modesWord(h.modes), atModes}})
		return err
	default:
		return full(m.Put(&key, &wire.Policy{Id: p.id, Generation: p.generation, Mode: h.modes}))
	}
}

// Unassign lets nothing hold for a container any more, by each part of it that is given. One that has nothing is no error.
func (e *Enforcer) Unassign(c Container) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	name, err := nameOf(c.Name)
	if err != nil {
		return err
	}
	if c.Name != "" {
		if err := e.cfg.Maps.ByName.Delete(&name); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("map policy_by_name: container %s: %w", c.Name, err)
		}
		delete(e.names, name)
	}
	if c.Cgroup != 0 {
		if err := e.cfg.Maps.ByContainer.Delete(c.Cgroup); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("map policy_by_container: container %d: %w", c.Cgroup, err)
		}
		delete(e.containers, c.Cgroup)
	}
	return nil
}

// Retain lets nothing hold any more for the containers that are not known: after a restart, those that went meanwhile.
func (e *Enforcer) Retain(known func(Container) bool) error {
	var errs []error
	for _, a := range e.Assignments() {
		if !known(a.Container) {
			errs = append(errs, e.Unassign(a.Container))
		}
	}
	return errors.Join(errs...)
}

// Assignments gives what holds for which containers: one line by cgroup and one by name. After New, it tells which
// containers had which policy under the agent before.
func (e *Enforcer) Assignments() []Assignment {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]Assignment, 0, len(e.containers)+len(e.names))
	for cgroup, h := range e.containers {
		list = append(list, Assignment{Container{Cgroup: cgroup}, h.policy, h.modes})
	}
	for name, h := range e.names {
		list = append(list, Assignment{Container{Name: string(name.Id[:])}, h.policy, h.modes})
	}
	slices.SortFunc(list, func(a, b Assignment) int {
		return cmp.Or(cmp.Compare(a.Container.Cgroup, b.Container.Cgroup), cmp.Compare(a.Container.Name, b.Container.Name))
	})
	return list
}
