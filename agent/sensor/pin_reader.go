// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"encoding/binary"
	"fmt"
	"slices"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// resume takes up the positions in the map, and keeps them there from now on: it is memory shared with the kernel, so
// what is written is there after a kill. The positions within the rings are the kernel's own.
func (r *reader) resume(m *ebpf.Map) error {
	memory, err := m.Memory()
	if err != nil {
		return fmt.Errorf("map %s: %w", readPositions, err)
	}
	for at := range r.next {
		if _, err := memory.ReadAt(r.word[:], int64(at)*8); err != nil {
			return fmt.Errorf("map %s: %w", readPositions, err)
		}
		r.next[at] = binary.NativeEndian.Uint64(r.word[:])
	}
	r.saved, r.resumed = memory, true
	return nil
}

// save notes, where it outlives the reader, that a record was handed out. Those of one position come in the order of their
// numbers, but for the report of the processes that are there, which may be handed out again.
func (r *reader) save(raw []byte) {
	head := (*wire.Head)(unsafe.Pointer(unsafe.SliceData(raw)))
	if r.saved == nil || wire.Type(head.Type) == wire.TypeTask {
		return
	}
	binary.NativeEndian.PutUint64(r.word[:], head.Seq+1)
	// The map has a place for each.
	_, _ = r.saved.WriteAt(r.word[:], int64(positionOf(head))*8)
}

// makeRoom lets the rings hold the report of the processes that are there, beside what they hold already, which is to be
// handed out after it. Where that leaves no room, it is taken out.
func (r *reader) makeRoom() {
	for _, from := range []*ring{r.urgent, r.bulk} {
		if from.waiting() <= from.size()/2 {
			continue
		}
		for end := from.at + from.size(); from.at < end; {
			raw, _ := from.next()
			if raw == nil {
				break
			}
			if r.check(raw) {
				r.batch = append(r.batch, record{raw: slices.Clone(raw)})
			}
		}
		from.commit(from.at)
	}
}
