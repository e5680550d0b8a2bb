// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"math"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ring reads a BPF ring buffer in place. The space of what it has read is given back to the kernel by commit alone: what
// a reader that is killed has not dealt with is there for the next one. The layout is of kernel/bpf/ringbuf.c.
type ring struct {
	// control has the consumer's position, shared has the producer's and, from the second page on, the data. The kernel would
	// show them twice, so that no record is cut by the end; but then each page would count twice in the resident set.
	control, shared []byte
	// cut holds the record that is cut by the end: one a round, so that it is given back before the next.
	cut  []uint64
	page int
	mask uint64
	// at is the position of the next record to read, in all bytes since the ring was made.
	at   uint64
	poll int
}

const (
	ringBusy    = 1 << 31
	ringDiscard = 1 << 30
	ringHead    = 8
)

func newRing(m *ebpf.Map) (*ring, error) {
	size := int(m.MaxEntries())
	r := &ring{page: os.Getpagesize(), mask: uint64(size) - 1, poll: -1}
	var err error
	if r.control, err = unix.Mmap(m.FD(), 0, r.page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("map the consumer's position: %w", err)
	}
	r.shared, err = unix.Mmap(m.FD(), int64(r.page), r.page+size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map the data: %w", err), r.close())
	}
	if r.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, errors.Join(fmt.Errorf("make a poller: %w", err), r.close())
	}
	// By edge: what is read and not given back would else wake at once.
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET}
	if err := unix.EpollCtl(r.poll, unix.EPOLL_CTL_ADD, m.FD(), &event); err != nil {
		return nil, errors.Join(fmt.Errorf("poll: %w", err), r.close())
	}
	r.at = r.position(r.control).Load()
	return r, nil
}

// position is the counter at the begin of a page. It is read and written by the kernel as a word of the machine.
func (r *ring) position(page []byte) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(unsafe.SliceData(page)))
}

// next gives the next record, which is valid until it is committed, and its position; nil when there is none that is
// complete.
func (r *ring) next() (raw []byte, start uint64) {
	data := r.shared[r.page:]
	for end := r.position(r.shared).Load(); r.at < end; {
		at := int(r.at & r.mask)
		length := atomic.LoadUint32((*uint32)(unsafe.Pointer(&data[at])))
		if length&ringBusy != 0 {
			return nil, 0
		}
		size := int(length &^ ringDiscard)
		start = r.at
		r.at += uint64(ringHead+size+7) &^ 7
		if length&ringDiscard == 0 {
			return r.record(data, at+ringHead, size), start
		}
	}
	return nil, 0
}

// record gives the bytes at an offset of the data, which may go on at the beginning.
func (r *ring) record(data []byte, at, size int) []byte {
	if at == len(data) {
		at = 0
	}
	if at+size <= len(data) {
		return data[at : at+size : at+size]
	}
	if words := (size + 7) / 8; len(r.cut) < words {
		r.cut = make([]uint64, words)
	}
	whole := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(r.cut))), 8*len(r.cut))[:size:size]
	copy(whole[copy(whole, data[at:]):], data)
	return whole
}

// waiting is how many bytes are yet to be read.
func (r *ring) waiting() uint64 { return r.position(r.shared).Load() - r.at }

// size is how many bytes the ring has for records.
func (r *ring) size() uint64 { return r.mask + 1 }

// commit gives back what was read before the position.
func (r *ring) commit(position uint64) { r.position(r.control).Store(position) }

// wait returns when a record wakes it that came since the last wait, or after the time.
func (r *ring) wait(most time.Duration) error {
	if most <= 0 || r.waiting() > 0 {
		return nil
	}
	var events [1]unix.EpollEvent
	milliseconds := min(int64(math.MaxInt32), int64((most+time.Millisecond-1)/time.Millisecond))
	if _, err := unix.EpollWait(r.poll, events[:], int(milliseconds)); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait for a record: %w", err)
	}
	return nil
}

// close does not give back what was read and not committed.
func (r *ring) close() error {
	var errs []error
	for _, memory := range [][]byte{r.control, r.shared} {
		if memory != nil {
			errs = append(errs, unix.Munmap(memory))
		}
	}
	r.control, r.shared = nil, nil
	if r.poll >= 0 {
		errs = append(errs, unix.Close(r.poll))
		r.poll = -1
	}
	return errors.Join(errs...)
}
