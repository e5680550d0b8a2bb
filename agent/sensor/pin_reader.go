// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
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

// save writes a position where it outlives the reader.
func (r *reader) save(at int) {
	if r.saved == nil {
		return
	}
	binary.NativeEndian.PutUint64(r.word[:], r.next[at])
	// The map has a place for each.
	_, _ = r.saved.WriteAt(r.word[:], int64(at)*8)
}

// drain takes what the rings hold now, to be handed out by Run. It is bounded by their sizes.
func (r *reader) drain() error {
	r.urgent.SetDeadline(time.Unix(1, 0))
	for _, ring := range []*ringbuf.Reader{r.urgent, r.bulk} {
		left := ring.AvailableBytes()
		for left > 0 {
			first := r.used
			if err := r.take(ring, batchMax); err != nil {
				return fmt.Errorf("read what the rings hold: %w", err)
			}
			if r.used == first {
				break
			}
			for _, record := range r.batch[first:r.used] {
				left -= len(record.RawSample)
			}
		}
	}
	return nil
}
