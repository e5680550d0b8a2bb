// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// How bpf/include/watch.h finds the bit of a name and of an ending.
const (
	spread       uint64 = 0x9e3779b97f4a7c15
	spreadEnding uint32 = 0x9e3779b1
)

// addName sets the bits of a watched name, which an ending is too.
func addName(f *wire.NameFilter, key *wire.WatchName) {
	name := key.Name[:]
	if end := bytes.IndexByte(name, 0); end >= 0 {
		name = name[:end]
	}
	var first [8]byte
	copy(first[:], name)
	bit := (binary.NativeEndian.Uint64(first[:]) ^ uint64(len(name))) * spread >> 52
	f.Names[bit/64] |= 1 << (bit % 64)
	if len(name) == watchEnding && name[0] == '*' {
		last := binary.NativeEndian.Uint32(name[1:]) * spreadEnding >> 24
		f.Endings[last/64] |= 1 << (last % 64)
		f.AnyEnding = 1
	}
}

// fillFilter makes the filter of watched names anew from their map. A name comes into the map after the filter knows it,
// which is what more is for, and leaves it before. The caller holds watching, but for New.
func (s *Sensor) fillFilter(more ...wire.WatchName) error {
	names, err := s.loader.mapOf(fileObject, "watched_names")
	if err != nil {
		return err
	}
	m, err := s.loader.mapOf(fileObject, "watched_filter")
	if err != nil {
		return err
	}
	var filter wire.NameFilter
	for _, key := range more {
		addName(&filter, &key)
	}
	var key wire.WatchName
	var how uint32
	entries := names.Iterate()
	for entries.Next(&key, &how) {
		addName(&filter, &key)
	}
	if err := entries.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("map watched_names: read what is watched: %w", err)
	}
	if err := m.Put(uint32(0), filter); err != nil {
		return fmt.Errorf("map watched_filter: %w", err)
	}
	return nil
}
