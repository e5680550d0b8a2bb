// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/wire"
)

const (
	// batchMax bounds the records taken from one ring before they are handed on.
	batchMax = 2048
	// keepMax is the largest buffer that is kept for the next record.
	keepMax = 2048
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

type reader struct {
	cfg    Config
	urgent *ringbuf.Reader
	bulk   *ringbuf.Reader
	batch  []ringbuf.Record
	used   int
	// next is the sequence number that is expected, by positionOf.
	next []uint64
	// saved has the same where it outlives the reader; nil where not.
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
	if r.urgent, err = ringbuf.NewReader(maps["ring_urgent"]); err != nil {
		return nil, fmt.Errorf("open the urgent ring: %w", err)
	}
	if r.bulk, err = ringbuf.NewReader(maps["ring_bulk"]); err != nil {
		return nil, errors.Join(fmt.Errorf("open the bulk ring: %w", err), r.urgent.Close())
	}
	// A deadline in the past: take what there is, never wait.
	r.bulk.SetDeadline(time.Unix(1, 0))
	return r, nil
}

// Run hands records to the handler until the context ends, then what is left in the rings.
func (s *Sensor) Run(ctx context.Context, handle Handler) error {
	stop := context.AfterFunc(ctx, func() { _ = s.reader.urgent.Flush() })
	defer stop()
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
		pause = s.nextPause(pause, n, held)
	}
	for {
		n, _, err := s.reader.cycle(0, handle, true)
		handle.Settle()
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
	before := r.used
	r.urgent.SetDeadline(time.Now().Add(pause))
	cutoff := bootNow() - uint64(settle)
	first := r.used
	if err := r.take(r.urgent, batchMax); err != nil {
		return 0, 0, fmt.Errorf("read the urgent ring: %w", err)
	}
	// The wait may have been long; what came meanwhile has settled unless it is very young.
	if r.used-first < batchMax {
		cutoff = max(cutoff, bootNow()-uint64(settle))
	}
	cutoff = r.limit(cutoff, first, batchMax)
	first = r.used
	if err := r.take(r.bulk, batchMax); err != nil {
		return 0, 0, fmt.Errorf("read the bulk ring: %w", err)
	}
	cutoff = r.limit(cutoff, first, batchMax)
	read = r.used - before
	if last {
		cutoff = ^uint64(0)
	}
	return read, r.hand(cutoff, handle), nil
}

// limit lowers the cutoff when a ring was not read to its end: records younger than its last one may still be in it.
func (r *reader) limit(cutoff uint64, first, most int) uint64 {
	if r.used-first < most {
		return cutoff
	}
	return min(cutoff, timeOf(r.batch[r.used-1].RawSample))
}

// take reads up to most records. The urgent ring waits for its first until the reader's deadline; nothing waits after.
func (r *reader) take(ring *ringbuf.Reader, most int) error {
	for range most {
		if r.used == len(r.batch) {
			r.batch = append(r.batch, ringbuf.Record{})
		}
		record := &r.batch[r.used]
		if cap(record.RawSample) > keepMax {
			record.RawSample = nil
		}
		if err := ring.ReadInto(record); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, ringbuf.ErrFlushed) {
				return nil
			}
			return err
		}
		if !r.check(record.RawSample) {
			continue
		}
		r.used++
		if ring == r.urgent && ring.AvailableBytes() == 0 {
			return nil
		}
	}
	return nil
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
	r.records.Add(1)
	if next := r.next[at]; head.Seq > next {
		r.gaps[head.Ring].Add(head.Seq - next)
	}
	r.next[at] = head.Seq + 1
	r.save(at)
	return true
}

// positionOf is the place of a record's sequence in the positions.
func positionOf(head *wire.Head) int {
	return (int(head.Cpu)*slots+int(head.Slot))*2 + int(head.Ring)
}

// hand gives out the records up to the cutoff in the order of time and keeps the rest. It gives the number kept.
func (r *reader) hand(cutoff uint64, handle Handler) int {
	batch := r.batch[:r.used]
	slices.SortStableFunc(batch, func(a, b ringbuf.Record) int {
		return cmp.Compare(r.timeOf(a.RawSample), r.timeOf(b.RawSample))
	})
	n := 0
	for n < len(batch) && r.timeOf(batch[n].RawSample) <= cutoff {
		handle.Record(batch[n].RawSample)
		n++
	}
	// Swapped, not copied, so that every buffer stays in the batch once.
	for i := n; i < len(batch); i++ {
		batch[i-n], batch[i] = batch[i], batch[i-n]
	}
	r.used -= n
	if len(r.batch) > 4*batchMax && r.used <= 2*batchMax {
		// A long queue of before is read: its buffers are not needed again.
		r.batch = slices.Clone(r.batch[:r.used])
	}
	return r.used
}

func (r *reader) close() error {
	return errors.Join(r.urgent.Close(), r.bulk.Close())
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
