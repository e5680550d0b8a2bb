// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/tests/rig/uring"
)

// newUring makes a ring of io_uring.
func newUring(flags uint32) (*uring.Ring, error) {
	r, err := uring.New(flags)
	if errors.Is(err, uring.ErrOff) {
		return nil, &missing{"io_uring", "a kernel where it is not switched off"}
	}
	return r, err
}

// deedUring connects and sends on TCP by io_uring alone.
func deedUring(s say) error {
	if err := listening(s); err != nil {
		return err
	}
	u, err := newUring(0)
	if err != nil {
		return err
	}
	c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	addr := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: [4]byte{127, 0, 0, 1}}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&addr.Port))[:], uint16(s["listen port"]))
	// The address is given as a number, so nothing else keeps it.
	defer runtime.KeepAlive(&addr)
	result, err := u.Do(uring.Request{
		Op: uring.Connect, FD: int32(c), Addr: uint64(uintptr(unsafe.Pointer(&addr))), Offset: unix.SizeofSockaddrInet4,
	})
	if err != nil || result != 0 {
		return fmt.Errorf("connect: %d, %w", result, err)
	}
	if s["connect port"], err = portOf(c); err != nil {
		return err
	}
	data := []byte("by a ring")
	defer runtime.KeepAlive(data)
	result, err = u.Do(uring.Request{
		Op: uring.Send, FD: int32(c), Addr: uint64(uintptr(unsafe.Pointer(&data[0]))), Length: uint32(len(data)),
	})
	if err != nil || int(result) != len(data) {
		return fmt.Errorf("send: %d, %w", result, err)
	}
	return unix.Close(c)
}

// deedUringFamily makes a packet socket by io_uring.
func deedUringFamily(s say) error {
	u, err := newUring(0)
	if err != nil {
		return err
	}
	result, err := u.Do(uring.Request{Op: uring.Socket, FD: unix.AF_PACKET, Offset: unix.SOCK_RAW})
	if err != nil {
		return err
	}
	if result == -int32(unix.EINVAL) {
		return &missing{"sockets made through io_uring", "5.19"}
	}
	if result < 0 {
		return fmt.Errorf("socket: %w", unix.Errno(-result))
	}
	return nil
}

// deedIA32 runs a program of 32-bit calls: a connection and a packet socket, both by socketcall.
func deedIA32(s say) error {
	if runtime.GOARCH != "amd64" {
		return &missing{"socketcall", "an x86 kernel"}
	}
	if err := listening(s); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "ia32")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "program")
	if err := os.WriteFile(path, ia32Program(uint16(s["listen port"])), 0o755); err != nil {
		return err
	}
	cmd := exec.Command(path)
	err = cmd.Run()
	if errors.Is(err, unix.ENOEXEC) {
		return &missing{"32-bit programs", "a kernel with CONFIG_IA32_EMULATION"}
	}
	if err != nil {
		return err
	}
	s["pid"] = int64(cmd.Process.Pid)
	return nil
}

// ia32Program is a static ELF of 32-bit code; its exit code is 1 when a call fails.
func ia32Program(port uint16) []byte {
	const base, data = 0x08048000, 0x08048200
	word := func(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
	var code []byte
	emit := func(parts ...[]byte) {
		for _, p := range parts {
			code = append(code, p...)
		}
	}
	// mov eax, 102; mov ebx, call; mov ecx, arguments; int 0x80
	socketcall := func(call, arguments uint32) {
		emit([]byte{0xb8}, word(102), []byte{0xbb}, word(call), []byte{0xb9}, word(arguments), []byte{0xcd, 0x80})
	}
	socketcall(1, data)
	// mov [data+16], eax: the descriptor is the first argument of connect.
	emit([]byte{0xa3}, word(data+16))
	socketcall(3, data+16)
	// mov esi, eax
	emit([]byte{0x89, 0xc6})
	socketcall(1, data+48)
	// or eax, esi; shr eax, 31; mov ebx, eax; mov eax, 1; int 0x80
	emit([]byte{0x09, 0xf0, 0xc1, 0xe8, 31, 0x89, 0xc3, 0xb8}, word(1), []byte{0xcd, 0x80})

	file := make([]byte, 0x240)
	copy(file, "\x7fELF\x01\x01\x01")
	le := binary.LittleEndian
	// Executable for the 386, entry, program header after this header, sizes.
	le.PutUint16(file[16:], 2)
	le.PutUint16(file[18:], 3)
	le.PutUint32(file[20:], 1)
	le.PutUint32(file[24:], base+0x54)
	le.PutUint32(file[28:], 0x34)
	le.PutUint16(file[40:], 0x34)
	le.PutUint16(file[42:], 0x20)
	le.PutUint16(file[44:], 1)
	// One segment, all of the file, readable, writable, executable.
	for i, v := range []uint32{1, 0, base, base, uint32(len(file)), uint32(len(file)), 7, 0x1000} {
		le.PutUint32(file[0x34+4*i:], v)
	}
	copy(file[0x54:], code)
	// socket(AF_INET, SOCK_STREAM, 0); connect(fd, address, 16), the address; socket(AF_PACKET, SOCK_RAW, 0).
	for i, v := range []uint32{unix.AF_INET, unix.SOCK_STREAM, 0, 0, 0, data + 32, 16} {
		le.PutUint32(file[0x200+4*i:], v)
	}
	le.PutUint16(file[0x220:], unix.AF_INET)
	binary.BigEndian.PutUint16(file[0x222:], port)
	copy(file[0x224:], []byte{127, 0, 0, 1})
	for i, v := range []uint32{unix.AF_PACKET, unix.SOCK_RAW, 0} {
		le.PutUint32(file[0x230+4*i:], v)
	}
	return file
}
