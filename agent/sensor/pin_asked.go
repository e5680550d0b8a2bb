// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// asked is what this sensor has entered into maps that outlive it, by map and key: what else is there was asked for by
// an earlier one, and is dropped when this one has settled.
type asked struct {
	mu   sync.Mutex
	keys map[string]map[any]bool
}

func (a *asked) note(name string, key any, wanted bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.keys == nil {
		a.keys = map[string]map[any]bool{}
	}
	if a.keys[name] == nil {
		a.keys[name] = map[any]bool{}
	}
	if wanted {
		a.keys[name][key] = true
	} else {
		delete(a.keys[name], key)
	}
}

func (a *asked) has(name string, key any) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.keys[name][key]
}

// dropUnasked takes out of the maps what was asked for by an earlier sensor and not by this one, and what containers that
// are gone have left.
func (s *Sensor) dropUnasked() error {
	s.watching.Lock()
	defer s.watching.Unlock()
	return errors.Join(
		dropEntries(s, "watched_names", func(key wire.WatchName, how uint32) bool { return s.unasked("watched_names", key, how) }),
		dropEntries(s, "watched_paths", func(key wire.WatchKey, how uint32) bool { return s.unasked("watched_paths", key, how) }),
		dropEntries(s, "watched_addresses", func(key wire.WatchAddr, _ uint32) bool { return !s.own.has("watched_addresses", key) }),
		dropEntries(s, "interest_by_container", func(container uint64, _ Interest) bool { return s.gone(container) }),
		dropEntries(s, "policy_by_container", func(container uint64, _ wire.Policy) bool { return s.gone(container) }),
		dropEntries(s, "root_by_container", func(container uint64, _ uint32) bool { return s.gone(container) }),
		dropEntries(s, "admitted", func(key wire.AdmitKey, _ wire.Admitted) bool { return s.gone(key.Container) }),
		s.dropCalls(),
		s.readInterests(), s.fillFilter(),
	)
}

// unasked spares entries that are more than watched: they are a policy's.
func (s *Sensor) unasked(name string, key any, how uint32) bool {
	return !s.own.has(name, key) && how&^uint32(wire.WatchRead|wire.WatchWrite) == 0
}

// gone reports whether the kernel knows of no such container.
func (s *Sensor) gone(container uint64) bool {
	var of uint64
	return errors.Is(s.loader.maps["container_by_cgroup"].Lookup(container, &of), ebpf.ErrKeyNotExist)
}

// dropEntries deletes the entries of a map that fit.
func dropEntries[K, V any](s *Sensor, name string, fits func(K, V) bool) error {
	m, ok := s.loader.maps[name]
	if !ok {
		return nil
	}
	var key K
	var value V
	var drop []K
	entries := m.Iterate()
	for entries.Next(&key, &value) {
		if fits(key, value) {
			drop = append(drop, key)
		}
	}
	if err := entries.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("map %s: read what was asked for: %w", name, err)
	}
	for _, key := range drop {
		if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("map %s: drop what is asked for no more: %w", name, err)
		}
	}
	return nil
}

// dropCalls empties the rows of system calls that an earlier sensor had reported and this one has not asked for.
func (s *Sensor) dropCalls() error {
	table, ok := s.loader.maps["syscalls"]
	if !ok {
		return nil
	}
	var errs []error
	for number := range table.MaxEntries() {
		var row wire.SyscallRow
		if err := table.Lookup(number, &row); err != nil {
			return fmt.Errorf("map syscalls: number %d: %w", number, err)
		}
		asked := row
		if !s.own.has("syscalls native", number) {
			asked.Native = wire.Syscall{}
		}
		if !s.own.has("syscalls compat", number) {
			asked.Compat = wire.Syscall{}
		}
		if asked != row {
			errs = append(errs, table.Put(number, asked))
		}
	}
	return errors.Join(errs...)
}
