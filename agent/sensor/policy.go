// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// PolicyMaps are the maps that verdicts are taken from, as bpf/include/policy.h describes them. They are there from New to
// Close; whoever has them may read and write them at any time, from any goroutine.
type PolicyMaps struct {
	// ByContainer maps a container's cgroup2 id (uint64) to its wire.Policy; ByName does so for wire.ContainerName.
	ByContainer *ebpf.Map
	ByName      *ebpf.Map
	// Allow maps wire.AllowKey to wire.Allow; Tree maps wire.TreeKey and Egress wire.EgressKey to the same, as tries.
	Allow  *ebpf.Map
	Tree   *ebpf.Map
	Egress *ebpf.Map
	// Admitted maps wire.AdmitKey to wire.Admitted.
	Admitted *ebpf.Map
	// HashKey has the wire.HashKey of this sensor's maps at index 0, random since New.
	HashKey *ebpf.Map
	// Tally maps a policy's id (uint32) to its wire.Tally. Whoever makes a policy makes the entry.
	Tally *ebpf.Map
	// Root maps a container's cgroup2 id to the device of its root file system, as the kernel counts devices (uint32).
	// An entry is made at the first exec in the container's own mounts.
	Root *ebpf.Map
	// Processes maps a process's id, as the first pid namespace counts, (uint32) to its wire.Process: what runs already
	// when a policy comes. Only the programs write it.
	Processes *ebpf.Map
}

// Policies gives the maps that verdicts are taken from. Valid from New on.
func (s *Sensor) Policies() PolicyMaps { return s.policies }

// Process gives what the programs know of a living process, by its id as the first pid namespace counts; false when they
// know none. Valid from New to Close, from any goroutine.
func (s *Sensor) Process(pid uint32) (wire.Process, bool) {
	var p wire.Process
	err := s.policies.Processes.Lookup(pid, &p)
	return p, err == nil
}

// policyObject has every map of policies and the key of the hashes.
const policyObject = "text"

// makePolicies creates the maps, before any program is loaded that reads them.
func (l *loader) makePolicies() (PolicyMaps, error) {
	var p PolicyMaps
	for name, field := range map[string]**ebpf.Map{
		"policy_by_container": &p.ByContainer,
		"policy_by_name":      &p.ByName,
		"allow":               &p.Allow,
		"allow_tree":          &p.Tree,
		"allow_egress":        &p.Egress,
		"admitted":            &p.Admitted,
		"hash_key":            &p.HashKey,
		"tally_by_policy":     &p.Tally,
		"root_by_container":   &p.Root,
		"process_by_tgid":     &p.Processes,
	} {
		m, err := l.mapOf(policyObject, name)
		if err != nil {
			return p, err
		}
		*field = m
	}
	return p, fillHashKey(p.HashKey)
}

// fillHashKey makes the secret of the hashes, unless the map has one.
func fillHashKey(m *ebpf.Map) error {
	var key wire.HashKey
	if err := m.Lookup(uint32(0), &key); err != nil {
		return fmt.Errorf("map hash_key: %w", err)
	}
	if key != (wire.HashKey{}) {
		return nil
	}
	if err := binary.Read(rand.Reader, binary.NativeEndian, key.Word[:]); err != nil {
		return fmt.Errorf("make the key of the hashes: %w", err)
	}
	if err := m.Put(uint32(0), key); err != nil {
		return fmt.Errorf("map hash_key: %w", err)
	}
	return nil
}
