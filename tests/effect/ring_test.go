// SPDX-License-Identifier: Apache-2.0

package effect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Operations of io_uring (include/uapi/linux/io_uring.h).
const (
	ringConnect = 16
	ringOpenat  = 18
	ringSending = 26
)

// submission is struct io_uring_sqe, as far as these operations use it.
type submission struct {
	op      uint8
	_       [3]uint8
	fd      int32
	offset  uint64
	addr    uint64
	length  uint32
	opFlags uint32
	_       [32]byte
}

type ringParams struct {
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

// ring takes one request at a time.
type ring struct {
	fd       int
	params   ringParams
	sq, cq   []byte
	requests []byte
}

func newRing() (*ring, error) {
	r := &ring{}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&r.params)), 0)
	if errno == unix.ENOSYS || errno == unix.EPERM {
		return nil, &missing{"io_uring", "a kernel where it is not switched off"}
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

// do has the kernel do a request, and gives what comes of it.
func (r *ring) do(what string, s submission) (int, error) {
	*(*submission)(unsafe.Pointer(&r.requests[0])) = s
	binary.NativeEndian.PutUint32(r.sq[r.params.sq.array:], 0)
	atomic.AddUint32((*uint32)(unsafe.Pointer(&r.sq[r.params.sq.tail])), 1)
	// IORING_ENTER_GETEVENTS.
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), 1, 1, 1, 0, 0); errno != 0 {
		return 0, fmt.Errorf("io_uring_enter: %w", errno)
	}
	head := (*uint32)(unsafe.Pointer(&r.cq[r.params.cq.head]))
	mask := binary.NativeEndian.Uint32(r.cq[r.params.cq.mask:])
	entry := r.params.cq.cqes + 16*(*head&mask)
	result := int32(binary.NativeEndian.Uint32(r.cq[entry+8:]))
	atomic.AddUint32(head, 1)
	if result < 0 {
		return 0, os.NewSyscallError("io_uring "+what, unix.Errno(-result))
	}
	return int(result), nil
}

// ringOpen opens a file.
func ringOpen(path string, flags uint32) (int, error) {
	r, err := newRing()
	if err != nil {
		return 0, err
	}
	name, err := unix.BytePtrFromString(path)
	if err != nil {
		return 0, err
	}
	// Addresses are given as numbers, so nothing else keeps what is there.
	defer runtime.KeepAlive(name)
	return r.do("open", submission{
		op: ringOpenat, fd: unix.AT_FDCWD, addr: uint64(uintptr(unsafe.Pointer(name))), opFlags: flags,
	})
}

// ringSend connects and sends.
func ringSend(fd int, to unix.Sockaddr) error {
	r, err := newRing()
	if err != nil {
		return err
	}
	name, length := rawAddress(to)
	defer runtime.KeepAlive(name)
	_, err = r.do("connect", submission{
		op: ringConnect, fd: int32(fd), addr: uint64(uintptr(unsafe.Pointer(name))), offset: uint64(length),
	})
	if err != nil {
		return err
	}
	_, err = r.do("send", submission{
		op: ringSending, fd: int32(fd), addr: uint64(uintptr(unsafe.Pointer(&word[0]))), length: uint32(len(word)),
	})
	return err
}
