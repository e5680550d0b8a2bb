// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// agentState has what the programs know of the agent.
const agentState = "agent_state"

// heartbeat is how often the agent gives a sign of life.
const heartbeat = time.Second

// self is the agent as the programs know it.
type self struct {
	mu    sync.Mutex
	m     *ebpf.Map
	state wire.Agent
}

// introduce tells the programs who the agent is, and leaves the work with those that have it.
func (s *Sensor) introduce() error {
	s.self.m = s.loader.maps[agentState]
	state := wire.Agent{
		Tgid: uint32(os.Getpid()), Alive: bootNow(), DeadAfter: uint64(s.cfg.DeadAfter), WhenDead: uint32(s.cfg.WhenDead),
	}
	switch {
	case s.pins == nil:
	case s.pins.replaces() && !s.pins.freshEra:
		value, err := stateBytes(s.self.m)
		if err != nil {
			return err
		}
		state.Generation = nativeUint32(value)
	case s.pins.freshEra && s.pins.before != "":
		// None is in force: the maps are not read before those of before have gone.
	default:
		state.Generation = s.pins.generation
	}
	return s.self.set(func(a *wire.Agent) { *a = state })
}

// set changes what the programs know of the agent, at once.
func (a *self) set(change func(*wire.Agent)) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.state)
	if err := a.m.Put(uint32(0), a.state); err != nil {
		return fmt.Errorf("map %s: %w", agentState, err)
	}
	return nil
}

// pass makes the programs of a generation those that do the work. They give verdicts before, and those of the last
// generation do after, so that at no time there is none that does.
func (a *self) pass(generation uint32) error {
	if a.state.Generation == generation {
		return nil
	}
	if err := a.set(func(a *wire.Agent) { a.Other = generation }); err != nil {
		return err
	}
	return a.set(func(a *wire.Agent) { a.Generation, a.Other, a.Since = generation, a.Generation, bootNow() })
}

// beat gives a sign of life, when it is time for one.
func (a *self) beat() error {
	now := bootNow()
	a.mu.Lock()
	late := now-a.state.Alive >= uint64(heartbeat)
	a.mu.Unlock()
	if !late {
		return nil
	}
	return a.set(func(a *wire.Agent) { a.Alive = now })
}

// closeEra takes the work from the programs of an era.
func closeEra(dir string) error {
	m, err := ebpf.LoadPinnedMap(filepath.Join(dir, "maps", agentState), nil)
	if err != nil {
		return fmt.Errorf("open the pinned map %s: %w", agentState, err)
	}
	value, err := stateBytes(m)
	if err == nil {
		binary.NativeEndian.PutUint32(value, ^uint32(0))
		err = m.Put(uint32(0), value)
	}
	return errors.Join(err, m.Close())
}

func stateBytes(m *ebpf.Map) ([]byte, error) {
	value, err := m.LookupBytes(uint32(0))
	if err != nil || len(value) < 4 {
		return nil, errors.Join(fmt.Errorf("map %s: read %d bytes", agentState, len(value)), err)
	}
	return value, nil
}

func nativeUint32(value []byte) uint32 { return binary.NativeEndian.Uint32(value) }
