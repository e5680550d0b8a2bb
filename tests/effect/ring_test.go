// SPDX-License-Identifier: Apache-2.0

package effect

import (
	"errors"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/tests/rig/uring"
)

// byRing has the kernel do a request, and gives what comes of it.
func byRing(what string, request uring.Request) (int, error) {
	r, err := uring.New(0)
	if errors.Is(err, uring.ErrOff) {
		return 0, &missing{"io_uring", "a kernel where it is not switched off"}
	}
	if err != nil {
		return 0, err
	}
	result, err := r.Do(request)
	if err == nil && result < 0 {
		err = os.NewSyscallError("io_uring "+what, unix.Errno(-result))
	}
	return int(result), err
}

// ringOpen opens a file.
func ringOpen(path string, flags uint32) (int, error) {
	name, err := unix.BytePtrFromString(path)
	if err != nil {
		return 0, err
	}
	// Addresses are given as numbers, so nothing else keeps what is there.
	defer runtime.KeepAlive(name)
	return byRing("open", uring.Request{
		Op: uring.OpenAt, FD: unix.AT_FDCWD, Addr: uint64(uintptr(unsafe.Pointer(name))), Flags: flags,
	})
}

// ringSend connects and sends.
func ringSend(fd int, to unix.Sockaddr) error {
	name, length := rawAddress(to)
	defer runtime.KeepAlive(name)
	_, err := byRing("connect", uring.Request{
		Op: uring.Connect, FD: int32(fd), Addr: uint64(uintptr(unsafe.Pointer(name))), Offset: uint64(length),
	})
	if err != nil {
		return err
	}
	_, err = byRing("send", uring.Request{
		Op: uring.Send, FD: int32(fd), Addr: uint64(uintptr(unsafe.Pointer(&word[0]))), Length: uint32(len(word)),
	})
	return err
}
