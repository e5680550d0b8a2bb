// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/holdfast-project/holdfast/agent/policy"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// ErrFull is that a map has no room for what it should hold. Nothing was changed.
var ErrFull = errors.New("map is full")

// word is since, was and now of an entry as the programs read them.
func word(since uint32, was, now uint16) uint64 {
	return uint64(since) | uint64(was)<<32 | uint64(now)<<48
}

// bytesOf gives the memory of a key without padding.
func bytesOf[T any](v *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}

// table is one of the maps of entries.
type table[K comparable] struct {
	name string
	m    *ebpf.Map
	// change is the program that changes elements of the map.
	change *ebpf.Program
	// raw gives the key in the map.
	raw func(k K, policy uint32) []byte
	// used is how many entries the map holds, of all policies.
	used int
}

func newTables(m Maps) (*table[policy.Key], *table[policy.Tree], *table[policy.Contact]) {
	return &table[policy.Key]{name: "allow", m: m.Allow, raw: func(k policy.Key, id uint32) []byte {
			w := k.Wire(id)
			return bytesOf(&w)
		}},
		&table[policy.Tree]{name: "allow_tree", m: m.Tree, raw: func(k policy.Tree, id uint32) []byte {
			w := k.Wire(id)
			return bytesOf(&w)
		}},
		&table[policy.Contact]{name: "allow_egress", m: m.Egress, raw: func(k policy.Contact, id uint32) []byte {
			w := k.Wire(id)
			return bytesOf(&w)
		}}
}

// room returns ErrFull unless the new ones of the changes fit in.
func (t *table[K]) room(id uint32, changes []policy.Change[K]) error {
	needs := 0
	for _, c := range changes {
		if !c.Old {
			needs++
		}
	}
	if free := int(t.m.MaxEntries()) - t.used; needs > free {
		return fmt.Errorf("map %s: policy %d needs %d more entries, %d of %d are free: %w",
			t.name, id, needs, free, t.m.MaxEntries(), ErrFull)
	}
	return nil
}

// insert makes an entry that is not there.
func (t *table[K]) insert(id uint32, k K, value uint64) error {
	v := wire.Allow{Since: uint32(value), Was: uint16(value >> 32), Now: uint16(value >> 48)}
	if err := t.m.Update(t.raw(k, id), &v, ebpf.UpdateNoExist); err != nil {
		return fmt.Errorf("map %s: insert an entry of policy %d: %w", t.name, id, full(err))
	}
	t.used++
	return nil
}

// remove deletes an entry. One that is not there is no error: nothing else deletes, but a crash may have come between.
func (t *table[K]) remove(id uint32, k K) error {
	err := t.m.Delete(t.raw(k, id))
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("map %s: delete an entry of policy %d: %w", t.name, id, err)
	}
	t.used--
	return nil
}

// hits reads how often an entry was used.
func (t *table[K]) hits(id uint32, k K) (uint64, error) {
	var v wire.Allow
	err := t.m.Lookup(t.raw(k, id), &v)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return 0, fmt.Errorf("map %s: read an entry of policy %d: %w", t.name, id, err)
	}
	return v.Hits, nil
}

// full says of the kernel's two ways to refuse an element of a full map that it is full.
func full(err error) error {
	if errors.Is(err, errTooBig) || errors.Is(err, errNoSpace) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// batch is apply_batch of bpf/apply.bpf.c.
type batch struct {
	count, _ uint32
	changes  [batchSize]stored
}

// stored is apply_change.
type stored struct {
	key  [128]byte
	word uint64
	at   uint32
	done uint32
}

const batchSize = 128

// store is one word of an element that is to be changed.
type store struct {
	key  []byte
	word uint64
	at   uint32
}

// Words of a wire.Policy.
const (
	atGeneration = 0
	atModes      = 1
)

// generationWord is the first word of a wire.Policy, modesWord the second.
func generationWord(id, generation uint32) uint64 { return uint64(id) | uint64(generation)<<32 }

func modesWord(m Modes) uint64 { return binary.NativeEndian.Uint64(m[:]) }

// apply changes words of elements in the map of a program, each by one store. It returns the index of each that was not
// there. After an error, some of the words may have been changed.
func (e *Enforcer) apply(program *ebpf.Program, stores []store) (missing []int, err error) {
	b := &e.batch
	for from := 0; from < len(stores); from += batchSize {
		part := stores[from:min(from+batchSize, len(stores))]
		for i, s := range part {
			c := &b.changes[i]
			clear(c.key[copy(c.key[:], s.key):])
			c.word, c.at, c.done = s.word, s.at, 0
		}
		b.count = uint32(len(part))
		if err := e.batches.Put(uint32(0), bytesOf(b)); err != nil {
			return missing, fmt.Errorf("map apply_batches: %w", err)
		}
		// The least that the kernel takes as a packet. A program that is run twice does the same again.
		all, err := program.Run(&ebpf.RunOptions{Data: make([]byte, 14)})
		if err != nil {
			return missing, fmt.Errorf("run %s: %w", program, err)
		}
		if all == 1 {
			continue
		}
		if err := e.batches.Lookup(uint32(0), bytesOf(b)); err != nil {
			return missing, fmt.Errorf("map apply_batches: %w", err)
		}
		for i := range part {
			if b.changes[i].done == 0 {
				missing = append(missing, from+i)
			}
		}
	}
	return missing, nil
}

// applyAll is apply for elements that must be there.
func (e *Enforcer) applyAll(name string, program *ebpf.Program, stores []store) error {
	missing, err := e.apply(program, stores)
	if err != nil {
		return fmt.Errorf("map %s: %w", name, err)
	}
	if len(missing) > 0 {
		return fmt.Errorf("map %s: %d of %d entries are not there", name, len(missing), len(stores))
	}
	return nil
}
