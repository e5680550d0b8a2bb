// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// ContentHandler takes what Content.Run reads. It is called from one goroutine.
type ContentHandler interface {
	// Content takes a piece. Both are valid until it returns. Pieces come in the order in which they were put on the ring: those
	// of one TLS connection and direction in the order of the calls, those of packets as they passed.
	Content(piece *wire.Content, text []byte)
	// Settle is called after each batch, and at least every few tens of milliseconds while a container is inspected. All pieces
	// that were taken before now have been handed out; now is of the clock of records, CLOCK_BOOTTIME in nanoseconds.
	Settle(now int64)
}

// ContentStats counts since Content was made.
type ContentStats struct {
	// Records and the Bytes in them were handed out.
	Records, Bytes uint64
	// Gaps are sequence numbers that never came: the ring was full.
	Gaps uint64
	// Malformed records were not as their head says.
	Malformed uint64
	// Containers that are inspected now.
	Containers int
	// Files that have probes now, and Probes in all of them.
	Files, Probes int
	// Refused are files that could not be read or probed, and those beyond the bound; Unlooked are programs that began while too
	// many others waited to be looked at.
	Refused, Unlooked uint64
	// Resets are connections that were ended because of what they were to carry; Unreset those that could not be, which carry
	// nothing more and stay.
	Resets, Unreset uint64
}

type contentCounts struct {
	records, bytes, gaps, bad atomic.Uint64
}

func (c *contentCounts) add(other *contentCounts) {
	c.records.Add(other.records.Load())
	c.bytes.Add(other.bytes.Load())
	c.gaps.Add(other.gaps.Load())
	c.bad.Add(other.bad.Load())
}

// Stats may be called from any goroutine.
func (c *Content) Stats() ContentStats {
	// The lock of files may be held for long, and what is read does not wait for it.
	files, probes := c.files.size()
	c.mu.Lock()
	defer c.mu.Unlock()
	var sum contentCounts
	sum.add(&c.counts)
	if c.taking != nil {
		sum.add(&c.taking.reader.counts)
	}
	return ContentStats{
		Records: sum.records.Load(), Bytes: sum.bytes.Load(), Gaps: sum.gaps.Load(), Malformed: sum.bad.Load(),
		Containers: len(c.asked), Refused: c.files.refused.Load(), Unlooked: c.files.unlooked.Load(),
		Resets: c.resets.Load(), Unreset: c.unreset.Load(), Files: files, Probes: probes,
	}
}

// Spent tells what became of the budget of a container that is inspected; false for any other.
func (c *Content) Spent(container uint64) (wire.ContentSpent, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var spent wire.ContentSpent
	if _, asked := c.asked[container]; !asked || c.taking == nil {
		return spent, false
	}
	err := c.taking.maps["content_spent"].Lookup(container, &spent)
	return spent, err == nil
}

// contentReader reads the ring of content.
type contentReader struct {
	ring *ring
	// next is the sequence number that is expected, by CPU and slot.
	next   []uint64
	counts contentCounts
	// told is when everything was handed out that had been taken before.
	told int64
}

// ringContent is what the head of its records says, RING_CONTENT of bpf/include/record.h.
const ringContent = 2

func newContentReader(m *ebpf.Map) (*contentReader, error) {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count the CPUs: %w", err)
	}
	r := &contentReader{next: make([]uint64, cpus*slots)}
	r.ring, err = newRing(m)
	return r, err
}

// cycle waits up to the pause, or less when a record is to be seen at once, and hands out a batch.
func (r *contentReader) cycle(pause time.Duration, handle ContentHandler, c *Content) error {
	if err := r.ring.wait(pause); err != nil {
		return err
	}
	now := int64(bootNow())
	for range batchMax {
		raw, _ := r.ring.next()
		if raw == nil {
			r.told = now
			break
		}
		r.hand(raw, handle, c)
		r.ring.commit(r.ring.at)
	}
	r.ring.commit(r.ring.at)
	return nil
}

func (r *contentReader) hand(raw []byte, handle ContentHandler, content *Content) {
	head := r.check(raw)
	if head == nil {
		r.counts.bad.Add(1)
		return
	}
	files := content.files
	who := look{pid: head.Tgid, start: head.Start, container: head.Origin}
	switch wire.Type(head.Type) {
	case wire.TypeContentExec:
		if len(raw) != int(unsafe.Sizeof(wire.ContentExec{})) {
			r.counts.bad.Add(1)
			return
		}
		files.look(who)
	case wire.TypeContentRefused:
		if len(raw) != int(unsafe.Sizeof(wire.Content{})) {
			r.counts.bad.Add(1)
			return
		}
		content.refused((*wire.Content)(unsafe.Pointer(head)))
	case wire.TypeContent:
		if len(raw) < int(unsafe.Sizeof(wire.Content{})) {
			r.counts.bad.Add(1)
			return
		}
		c := (*wire.Content)(unsafe.Pointer(head))
		if len(raw) != int(unsafe.Sizeof(*c))+int(c.Length) {
			r.counts.bad.Add(1)
			return
		}
		r.counts.records.Add(1)
		r.counts.bytes.Add(uint64(c.Length))
		if flags := wire.ContentFlag(c.ContentFlags); flags&wire.ContentTls != 0 && flags&wire.ContentSeen == 0 {
			who.opaque = true
			files.look(who)
		}
		if wire.Via(c.Via) != wire.ViaPacket {
			files.seen(head.Tgid)
		}
		handle.Content(c, raw[unsafe.Sizeof(*c):])
	default:
		r.counts.bad.Add(1)
	}
}

// check verifies the head and follows the sequence; nil for a record that is not as it should be.
func (r *contentReader) check(raw []byte) *wire.Head {
	if len(raw) < int(unsafe.Sizeof(wire.Head{})) {
		return nil
	}
	head := (*wire.Head)(unsafe.Pointer(unsafe.SliceData(raw)))
	at := int(head.Cpu)*slots + int(head.Slot)
	if int(head.Size) != len(raw) || head.Slot >= slots || head.Ring != ringContent || at >= len(r.next) {
		return nil
	}
	if head.Seq > r.next[at] {
		r.counts.gaps.Add(head.Seq - r.next[at])
	}
	r.next[at] = head.Seq + 1
	return head
}
