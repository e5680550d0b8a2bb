// SPDX-License-Identifier: Apache-2.0

// Package uring has the kernel do what tests want done by way of io_uring,
// which no system call of its own shows. A Ring takes one request at a time.
package uring

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Operations of io_uring (include/uapi/linux/io_uring.h).
const (
	Connect = 16
	OpenAt  = 18
	Send    = 26
	Socket  = 45
)

// Polled is IORING_SETUP_SQPOLL: a thread of the kernel takes the requests, without a system call.
const Polled = 2

// ErrOff says that the kernel has no io_uring, or does not let this process use it.
var ErrOff = errors.New("io_uring is off")

// Request is struct io_uring_sqe, as far as these operations use it. Addresses are numbers: the caller keeps alive what is
// there.
type Request struct {
	Op     uint8
	_      [3]uint8
	FD     int32
	Offset uint64
	Addr   uint64
	Length uint32
	Flags  uint32
	_      [32]byte
}

// params is struct io_uring_params.
type params struct {
	sqEntries, cqEntries, flags, cpu, idle, features, wq uint32
	_                                                    [3]uint32
	sq                                                   struct {
		head, tail, mask, entries, flags, dropped, array, _ uint32
		_                                                   uint64
	}
	cq struct {
		head, tail, mask, entries, overflow, cqes, flags, _ uint32
		_                                                   uint64
	}
}

// Ring takes one request at a time, of one goroutine. It lasts until the process ends.
type Ring struct {
	fd       int
	params   params
	sq, cq   []byte
	requests []byte
}

// New makes a ring; flags are those of io_uring_setup.
func New(flags uint32) (*Ring, error) {
	r := &Ring{params: params{flags: flags}}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&r.params)), 0)
	if errno == unix.ENOSYS || errno == unix.EPERM {
		return nil, ErrOff
	}
	if errno != 0 {
		return nil, fmt.Errorf("io_uring_setup: %w", errno)
	}
	r.fd = int(fd)
	var err [3]error
	r.sq, err[0] = unix.Mmap(r.fd, 0, int(r.params.sq.array+4*r.params.sqEntries), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	r.cq, err[1] = unix.Mmap(r.fd, 0x8000000, int(r.params.cq.cqes+16*r.params.cqEntries), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	r.requests, err[2] = unix.Mmap(r.fd, 0x10000000, 64, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return r, errors.Join(err[:]...)
}

// Do has the kernel do a request and gives its result: below 0 the number of an error.
func (r *Ring) Do(request Request) (int32, error) {
	*(*Request)(unsafe.Pointer(&r.requests[0])) = request
	binary.NativeEndian.PutUint32(r.sq[r.params.sq.array:], 0)
	atomic.AddUint32((*uint32)(unsafe.Pointer(&r.sq[r.params.sq.tail])), 1)
	// IORING_ENTER_GETEVENTS, and for a thread that may sleep IORING_ENTER_SQ_WAKEUP.
	enter := uintptr(1)
	if r.params.flags&Polled != 0 {
		enter |= 2
	}
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), 1, 1, enter, 0, 0); errno != 0 {
		return 0, fmt.Errorf("io_uring_enter: %w", errno)
	}
	head := (*uint32)(unsafe.Pointer(&r.cq[r.params.cq.head]))
	mask := binary.NativeEndian.Uint32(r.cq[r.params.cq.mask:])
	entry := r.params.cq.cqes + 16*(*head&mask)
	result := int32(binary.NativeEndian.Uint32(r.cq[entry+8:]))
	atomic.AddUint32(head, 1)
	return result, nil
}
