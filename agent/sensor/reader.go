// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/wire"
)

const (
	// batchMax bounds the records taken from one ring before they are handed on.
	batchMax = 2048
	// settle is how long a record may take from its time stamp to the ring. Younger ones wait for the next batch, so
	// that both rings come out in one order.
	settle = time.Millisecond
	// slots per CPU, SCRATCH_SLOTS of bpf/include/maps.h.
	slots = 4
)

// Handler takes what Run reads. It is called from one goroutine.
type Handler interface {
	// Record takes one record. The bytes are valid until it returns.
	Record(record []byte)
	// Settle is called after each batch, and at least every few tens of milliseconds.
	Settle()
}

// Stats counts what went through the reader since it was made.
type Stats struct {
	Records uint64
	// Gaps are sequence numbers that never came, by ring: urgent, bulk. They equal the kernel's own count of full rings.
	Gaps [2]uint64
	// Malformed records were shorter than their head says.
	Malformed uint64
}

// record is one that was read and not yet handed out. It lies in its ring, or in no ring when it was copied.
type record struct {
	raw   []byte
	ring  *ring
	start uint64
}

type reader struct {
	cfg    Config
	urgent *ring
	bulk   *ring
	// batch has what is not handed out yet.
	batch []record
	// next is the sequence number that is expected, by positionOf.
	next []uint64
	// saved has, where that outlives the reader, the number after the last that was handed out; nil where not.
	saved *ebpf.Memory
	word  [8]byte
	// resumed: what the rings held is older than the report of the processes that are there, and is handed out after it.
	resumed bool
	records atomic.Uint64
	gaps    [2]atomic.Uint64
	bad     atomic.Uint64
}

func newReader(cfg Config, maps map[string]*ebpf.Map) (*reader, error) {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count the CPUs: %w", err)
	}
	r := &reader{cfg: cfg, next: make([]uint64, cpus*slots*2)}
	if r.urgent, err = newRing(maps["ring_urgent"]); err != nil {
		return nil, fmt.Errorf("open the urgent ring: %w", err)
	}
	if r.bulk, err = newRing(maps["ring_bulk"]); err != nil {
		return nil, errors.Join(fmt.Errorf("open the bulk ring: %w", err), r.urgent.close())
	}
	return r, nil
}

// Run hands records to the handler until the context ends, then what is left in the rings.
func (s *Sensor) Run(ctx context.Context, handle Handler) error {
	pause := s.cfg.PollMax
	for ctx.Err() == nil {
		if err := s.self.beat(); err != nil {
			return err
		}
		n, held, err := s.reader.cycle(pause, handle, false)
		if err != nil {
			return err
		}
		handle.Settle()
		s.reader.commit()
		pause = s.nextPause(pause, n, held)
	}
	for {
		n, _, err := s.reader.cycle(0, handle, true)
		handle.Settle()
		s.reader.commit()
		if err != nil || n == 0 {
			return err
		}
	}
}

// nextPause waits less while there is much to read, and just long enough for records that are held back.
func (s *Sensor) nextPause(pause time.Duration, n, held int) time.Duration {
	switch {
	case n >= batchMax:
		return 0
	case held > 0:
		return 2 * settle
	case n > batchMax/8:
		return max(s.cfg.PollMin, pause/2)
	default:
		return min(s.cfg.PollMax, max(s.cfg.PollMin, pause*2))
	}
}

// Stats may be called from any goroutine.
func (s *Sensor) Stats() Stats {
	r := s.reader
	return Stats{
		Records:   r.records.Load(),
		Gaps:      [2]uint64{r.gaps[0].Load(), r.gaps[1].Load()},
		Malformed: r.bad.Load(),
	}
}

// cycle waits up to pause for an urgent record, takes a batch from both rings and hands out what has settled. It gives
// the number of records read and of those held back.
func (r *reader) cycle(pause time.Duration, handle Handler, last bool) (read, held int, err error) {
	if err := r.urgent.wait(pause); err != nil {
		return 0, 0, err
	}
	before := len(r.batch)
	// What comes while the rings are read has settled unless it is very young.
	cutoff := bootNow() - uint64(settle)
	for _, ring := range []*ring{r.urgent, r.bulk} {
		cutoff = min(cutoff, r.take(ring))
	}
	read = len(r.batch) - before
	if last {
		cutoff = ^uint64(0)
	}
	return read, r.hand(cutoff, handle), nil
}

// take reads a batch of a ring. When that is not all there is, records younger than the last may still be in it: it gives
// the time of that one, else the end of time.
func (r *reader) take(from *ring) uint64 {
	for range batchMax {
		raw, start := from.next()
		if raw == nil {
			return ^uint64(0)
		}
		if r.check(raw) {
			r.batch = append(r.batch, record{raw, from, start})
		}
	}
	if len(r.batch) == 0 {
		return ^uint64(0)
	}
	return timeOf(r.batch[len(r.batch)-1].raw)
}

// commit gives the rings back what is before the oldest record that is not handed out yet.
func (r *reader) commit() {
	for _, ring := range []*ring{r.urgent, r.bulk} {
		position := ring.at
		for _, held := range r.batch {
			if held.ring == ring {
				position = min(position, held.start)
			}
		}
		ring.commit(position)
	}
}

// check verifies the record's length against its head and follows the sequence.
func (r *reader) check(raw []byte) bool {
	if len(raw) < int(unsafe.Sizeof(wire.Head{})) {
		r.bad.Add(1)
		return false
	}
	head := (*wire.Head)(unsafe.Pointer(unsafe.SliceData(raw)))
	at := positionOf(head)
	if int(head.Size) != len(raw) || head.Slot >= slots || head.Ring > 1 || at >= len(r.next) {
		r.bad.Add(1)
		return false
	}
	next := r.next[at]
	if r.saved != nil && head.Seq < next {
		// The last reader has handed it out.
		return false
	}
	r.records.Add(1)
	if head.Seq > next {
		r.gaps[head.Ring].Add(head.Seq - next)
	}
	r.next[at] = head.Seq + 1
	return true
}

// positionOf is the place of a record's sequence in the positions.
func positionOf(head *wire.Head) int {
	return (int(head.Cpu)*slots+int(head.Slot))*2 + int(head.Ring)
}

// hand gives out the records up to the cutoff in the order of time and keeps the rest. It gives the number kept.
func (r *reader) hand(cutoff uint64, handle Handler) int {
	slices.SortStableFunc(r.batch, func(a, b record) int { return cmp.Compare(r.timeOf(a.raw), r.timeOf(b.raw)) })
	n := 0
	for n < len(r.batch) && r.timeOf(r.batch[n].raw) <= cutoff {
		handle.Record(r.batch[n].raw)
		r.save(r.batch[n].raw)
		n++
	}
	r.batch = slices.Delete(r.batch, 0, n)
	if cap(r.batch) > 8*batchMax && len(r.batch) <= batchMax {
		// A long queue of before is read: its room is not needed again.
		r.batch = slices.Clone(r.batch)
	}
	return len(r.batch)
}

func (r *reader) close() error {
	return errors.Join(r.urgent.close(), r.bulk.close())
}

// timeOf is the time by which a checked record is put in order.
func (r *reader) timeOf(raw []byte) uint64 {
	if r.resumed && binary.NativeEndian.Uint16(raw) == uint16(wire.TypeTask) {
		return 0
	}
	return timeOf(raw)
}

// timeOf reads hf_head.time of a checked record.
func timeOf(raw []byte) uint64 {
	return binary.NativeEndian.Uint64(raw[16:24])
}

// bootNow is CLOCK_BOOTTIME in nanoseconds, the clock of every record.
func bootNow() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return uint64(ts.Nano())
}
