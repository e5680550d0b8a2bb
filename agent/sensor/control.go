// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// Interest says which classes of a container's events are read, as bits 1 << type.
type Interest = wire.Interest

// Bit gives the bit of a class.
func Bit(types ...wire.Type) uint64 {
	var bits uint64
	for _, t := range types {
		bits |= 1 << t
	}
	return bits
}

// SetDefaultInterest sets what is read of the host and of containers that have no interest of their own.
func (s *Sensor) SetDefaultInterest(host, containers Interest) error {
	m := s.loader.maps["interest_default"]
	return s.changeInterest(func(i *interests) { i.defaults = [2]Interest{host, containers} }, func() error {
		if err := m.Put(uint32(interestHost), host); err != nil {
			return fmt.Errorf("map interest_default: host: %w", err)
		}
		if err := m.Put(uint32(interestContainers), containers); err != nil {
			return fmt.Errorf("map interest_default: containers: %w", err)
		}
		return nil
	})
}

// SetInterest sets what is read of one container, by its cgroup2 id.
func (s *Sensor) SetInterest(container uint64, interest Interest) error {
	return s.changeInterest(func(i *interests) { i.of[container] = interest }, func() error {
		if err := s.loader.maps["interest_by_container"].Put(container, interest); err != nil {
			return fmt.Errorf("map interest_by_container: container %d: %w", container, err)
		}
		return nil
	})
}

// ClearInterest gives a container the default again. One that has none is no error.
func (s *Sensor) ClearInterest(container uint64) error {
	return s.changeInterest(func(i *interests) { delete(i.of, container) }, func() error {
		err := s.loader.maps["interest_by_container"].Delete(container)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("map interest_by_container: container %d: %w", container, err)
		}
		return nil
	})
}

// PlaceCgroup tells the kernel side that a cgroup belongs to a container, for those that were made before the programs
// were attached and for those whose name does not show it. What the kernel found itself stays.
func (s *Sensor) PlaceCgroup(cgroup, container uint64) error {
	err := s.loader.maps["container_by_cgroup"].Update(cgroup, container, ebpf.UpdateNoExist)
	if err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
		return fmt.Errorf("map container_by_cgroup: cgroup %d: %w", cgroup, err)
	}
	return nil
}

// Counters reads what the kernel side lost or could not do, by cause.
func (s *Sensor) Counters() (map[wire.Counter]uint64, error) {
	values := make(map[wire.Counter]uint64, wire.Counters)
	for c := range wire.Counters {
		n, err := sumPerCPU(s.loader.maps["counters"], uint32(c))
		if err != nil {
			return nil, err
		}
		if n > 0 {
			values[c] = n
		}
	}
	return values, nil
}

// Counted reads how many events of each class stayed in the kernel because nothing asked for them.
func (s *Sensor) Counted() (map[wire.Type]uint64, error) {
	values := make(map[wire.Type]uint64, wire.TypeLimit)
	for t := range wire.TypeLimit {
		n, err := sumPerCPU(s.loader.maps["counted"], uint32(t))
		if err != nil {
			return nil, err
		}
		if n > 0 {
			values[t] = n
		}
	}
	return values, nil
}

func sumPerCPU(m *ebpf.Map, key uint32) (uint64, error) {
	var values []uint64
	if err := m.Lookup(key, &values); err != nil {
		return 0, fmt.Errorf("map %s: index %d: %w", strings.TrimSuffix(m.String(), "#"), key, err)
	}
	var sum uint64
	for _, v := range values {
		sum += v
	}
	return sum, nil
}
