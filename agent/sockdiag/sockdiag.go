// SPDX-License-Identifier: Apache-2.0

// Package sockdiag ends TCP connections from outside of the programs that have them, by NETLINK_SOCK_DIAG (sock_diag(7)). It has no
// state, and no goroutine outlives a call.
package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// destroy is SOCK_DESTROY of linux/sock_diag.h.
const destroy = 21

// Socket names a connection. Addresses are as in packets, IPv4 in the first four bytes; ports are numbers.
type Socket struct {
	Family, Protocol      uint8
	LocalPort, RemotePort uint16
	Local, Remote         [16]byte
	// Cookie is what the kernel knows the socket by (SO_COOKIE).
	Cookie uint64
}

// Destroy ends a connection in the network namespace of a process: its program reads ECONNABORTED, its peer ECONNRESET. ErrGone
// says that it is not there, another error that of a process that is no more too. It takes CAP_NET_ADMIN in that namespace,
// CAP_SYS_PTRACE and, where the namespace is not the caller's own, CAP_SYS_ADMIN.
func Destroy(pid uint32, s Socket) error {
	fd, err := socketOf(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return fmt.Errorf("enter the network of process %d: %w", pid, err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := ask(fd, request(s)); err != nil {
		return fmt.Errorf("end a connection of process %d: %w", pid, err)
	}
	return nil
}

var (
	// ErrGone says that there is no such connection.
	ErrGone = errors.New("no such connection")
	// ErrUnsupported says that the kernel cannot end connections.
	ErrUnsupported = errors.New("the kernel has no CONFIG_INET_DIAG_DESTROY")
)

// Supported enters a network namespace, the thread's own, and asks there for the end of a connection that is not there. It says why
// one in a container could not be ended, if so: the kernel cannot, a right is missing, or a filter of system calls is in the way.
func Supported() error {
	if err := tryToEnter(); err != nil {
		return err
	}
	fd, err := socket()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	none := Socket{Family: unix.AF_INET, Protocol: unix.IPPROTO_TCP, LocalPort: 1, RemotePort: 1, Cookie: ^uint64(0)}
	if err := ask(fd, request(none)); !errors.Is(err, ErrGone) {
		return fmt.Errorf("end a connection that is not there: %w", err)
	}
	return nil
}

func socket() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, fmt.Errorf("open a socket of NETLINK_SOCK_DIAG: %w", err)
	}
	return fd, nil
}

// tryToEnter enters the network namespace that the thread is in. Nothing changes by it, and it takes what it takes for another.
func tryToEnter() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("find the thread's network namespace: %w", err)
	}
	defer func() { _ = own.Close() }()
	if err := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter a network namespace: %w", err)
	}
	return nil
}

// opened is what came of opening a socket.
type opened struct {
	fd  int
	err error
}

// socketOf opens a socket in a network namespace.
func socketOf(path string) (int, error) {
	there, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = there.Close() }()
	result := make(chan opened)
	go enter(there, result)
	r := <-result
	return r.fd, r.err
}

// enter opens a socket in a namespace, on a thread that is in it meanwhile. A thread that does not find back is not unlocked, and ends with
// the goroutine.
func enter(there *os.File, result chan<- opened) {
	runtime.LockOSThread()
	// The thread's own, which is not that of the process where another one did not find back.
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		result <- opened{0, err}
		return
	}
	defer func() { _ = own.Close() }()
	same, err := isSame(there, own)
	if err == nil && !same {
		err = unix.Setns(int(there.Fd()), unix.CLONE_NEWNET)
	}
	if err != nil {
		runtime.UnlockOSThread()
		result <- opened{0, fmt.Errorf("enter %s: %w", there.Name(), err)}
		return
	}
	fd, err := socket()
	if same || unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
	result <- opened{fd, err}
}

// isSame reports whether two files are one namespace.
func isSame(a, b *os.File) (bool, error) {
	first, err := a.Stat()
	if err != nil {
		return false, err
	}
	second, err := b.Stat()
	if err != nil {
		return false, err
	}
	return os.SameFile(first, second), nil
}

// request is a message with a struct inet_diag_req_v2 of linux/inet_diag.h.
func request(s Socket) []byte {
	const size = unix.NLMSG_HDRLEN + 56
	m := binary.NativeEndian.AppendUint32(nil, size)
	m = binary.NativeEndian.AppendUint16(m, destroy)
	m = binary.NativeEndian.AppendUint16(m, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	m = binary.NativeEndian.AppendUint32(m, 1) // sequence
	m = binary.NativeEndian.AppendUint32(m, 0) // port: the kernel's choice
	m = append(m, s.Family, s.Protocol, 0, 0)
	m = binary.NativeEndian.AppendUint32(m, 0xffffffff) // in whatever state
	m = binary.BigEndian.AppendUint16(m, s.LocalPort)
	m = binary.BigEndian.AppendUint16(m, s.RemotePort)
	m = append(m, s.Local[:]...)
	m = append(m, s.Remote[:]...)
	m = binary.NativeEndian.AppendUint32(m, 0) // by whatever interface
	m = binary.NativeEndian.AppendUint32(m, uint32(s.Cookie))
	return binary.NativeEndian.AppendUint32(m, uint32(s.Cookie>>32))
}

// ask sends a message, and gives the error in the answer. The kernel answers before the sending is done.
func ask(fd int, message []byte) error {
	if err := unix.Sendto(fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, unix.MSG_DONTWAIT)
	if err != nil {
		return fmt.Errorf("receive the answer: %w", err)
	}
	if n < unix.NLMSG_HDRLEN+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("an answer of %d bytes is no error and no success", n)
	}
	switch errno := unix.Errno(-int32(binary.NativeEndian.Uint32(answer[unix.NLMSG_HDRLEN:]))); errno {
	case 0:
		return nil
	case unix.ENOENT:
		return ErrGone
	case unix.EOPNOTSUPP:
		return ErrUnsupported
	default:
		return errno
	}
}
