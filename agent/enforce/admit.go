// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"fmt"
	"net/netip"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// Admission is an address that a container was told for a name, in lower case and without a dot at its end, and until when
// the name stands for it, nanoseconds of the boot clock.
type Admission struct {
	Address netip.Addr
	Name    string
	Until   uint64
}

// Admit lets the names that a policy lists stand for addresses in a container, as if they were answered now: answers that
// came before the policy listed the name, or before it held for the container, went by unheeded. It returns how many were
// admitted; names that the policy does not list are not, nor what there is no room for.
func (e *Enforcer) Admit(id uint32, cgroup uint64, told []Admission) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, err := e.policy(id)
	if err != nil {
		return 0, err
	}
	var stores []store
	for _, a := range told {
		key := wire.AdmitKey{Container: cgroup, Addr: a.Address.As16()}
		for _, name := range p.set.Listed(e.hasher, a.Name) {
			stores = append(stores, store{key: append(append([]byte(nil), bytesOf(&key)...), bytesOf(&name)...), word: a.Until})
		}
	}
	if len(stores) == 0 {
		return 0, nil
	}
	missing, err := e.apply(e.programs.ApplyAdmit, stores)
	if err != nil {
		return 0, fmt.Errorf("map admitted: container %d: %w", cgroup, err)
	}
	return len(stores) - len(missing), nil
}
