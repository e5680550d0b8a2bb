// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// sweepAfter is how long an admitted address must have been over before it is taken out. The kernel may admit it again
// between the look and the removal; so late that is as good as never.
const sweepAfter = time.Minute

// SweepAdmitted takes out the addresses whose admission has been over for a minute in all containers, and gives their
// number. Nobody is admitted by them any more; it makes room. RunFlows does it.
func (s *Sensor) SweepAdmitted() (int, error) {
	return s.sweepAdmitted(bootNow())
}

func (s *Sensor) sweepAdmitted(now uint64) (int, error) {
	var (
		key   wire.AdmitKey
		value wire.Admitted
		over  []wire.AdmitKey
		m     = s.policies.Admitted
	)
	entries := m.Iterate()
	for entries.Next(&key, &value) {
		if isOver(&value, now) {
			over = append(over, key)
		}
	}
	if err := entries.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return 0, fmt.Errorf("map admitted: read: %w", err)
	}
	swept := 0
	for _, key := range over {
		// It may have been admitted again since.
		err := m.Lookup(key, &value)
		if err == nil && isOver(&value, now) {
			err = m.Delete(key)
		}
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return swept, fmt.Errorf("map admitted: address %x of container %d: %w", key.Addr, key.Container, err)
		}
		if err == nil {
			swept++
		}
	}
	return swept, nil
}

// isOver tells an address that no name has stood for since long.
func isOver(a *wire.Admitted, now uint64) bool {
	for _, until := range a.Until {
		if until+uint64(sweepAfter) > now {
			return false
		}
	}
	return true
}
