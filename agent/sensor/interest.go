// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"
)

// interests are what is read, and their sum, which programs ask first (bpf/include/interest.h). Safe for concurrent use.
type interests struct {
	mu       sync.Mutex
	defaults [2]Interest
	of       map[uint64]Interest
}

const (
	interestHost       = 0
	interestContainers = 1
)

func (i *interests) sum() Interest {
	var sum Interest
	for _, interest := range i.defaults {
		sum.All |= interest.All
		sum.Watched |= interest.Watched
	}
	for _, interest := range i.of {
		sum.All |= interest.All
		sum.Watched |= interest.Watched
	}
	return sum
}

// change puts interests into force by the function, which writes their map: the sum grows before and shrinks after it.
func (s *Sensor) changeInterest(note func(i *interests), write func() error) error {
	i := &s.interests
	i.mu.Lock()
	defer i.mu.Unlock()
	before := i.sum()
	note(i)
	after := i.sum()
	both := Interest{All: before.All | after.All, Watched: before.Watched | after.Watched}
	if err := s.putSum(both); err != nil {
		return err
	}
	if err := write(); err != nil {
		return err
	}
	return s.putSum(after)
}

func (s *Sensor) putSum(sum Interest) error {
	m, err := s.loader.mapOf(fileObject, "interest_any")
	if err != nil {
		return err
	}
	if err := m.Put(uint32(0), sum); err != nil {
		return fmt.Errorf("map interest_any: %w", err)
	}
	return nil
}

// readInterests takes over what an earlier sensor has left in the maps.
func (s *Sensor) readInterests() error {
	i := &s.interests
	i.mu.Lock()
	defer i.mu.Unlock()
	defaults, err := s.loader.mapOf(fileObject, "interest_default")
	if err != nil {
		return err
	}
	for index := range i.defaults {
		if err := defaults.Lookup(uint32(index), &i.defaults[index]); err != nil {
			return fmt.Errorf("map interest_default: %w", err)
		}
	}
	by, err := s.loader.mapOf(fileObject, "interest_by_container")
	if err != nil {
		return err
	}
	i.of = map[uint64]Interest{}
	var container uint64
	var interest Interest
	entries := by.Iterate()
	for entries.Next(&container, &interest) {
		i.of[container] = interest
	}
	if err := entries.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("map interest_by_container: read what is there: %w", err)
	}
	return s.putSum(i.sum())
}
