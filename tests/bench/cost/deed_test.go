// SPDX-License-Identifier: Apache-2.0

//go:build vm

package cost

import (
	"net/netip"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// deed is something that a process does, again and again.
type deed struct {
	name string
	// times is how often it is done for one figure.
	times int
	do    func() error
}

// program is static, and on the machine's own disk.
const program = "/bin/busybox"

// outside is what is contacted: an address of this machine that is not loopback, so that programs must look it up.
var outside = netip.AddrFrom4([4]byte{192, 0, 2, 1})

// port is where it is contacted, by TCP and UDP.
const port = 7080

// deeds are what is measured. Sockets that they use are open before the first figure.
func deeds(t *testing.T) []deed {
	listener := serve(t)
	server, self := at(outside), at(netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	sender, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(sender) })
	return []deed{
		{"exec", 40, func() error { return spawn(program, []string{"true"}) }},
		{"fork", 100, fork},
		{"open+close", 1000, openClose},
		{"TCP connect", 100, func() error { return connection(listener, server) }},
		{"UDP connect", 500, func() error { return contact(unix.SOCK_DGRAM, server) }},
		{"UDP sendto", 500, func() error { return unix.Sendto(sender, []byte("x"), 0, server) }},
		{"TCP to self", 100, func() error { return connection(listener, self) }},
		{"getppid", 5000, func() error { unix.Getppid(); return nil }},
	}
}

// serve opens what is contacted: a listener, and a datagram socket that is never read. One thread does both ends of a
// connection, so that no scheduling is counted.
func serve(t *testing.T) (listener int) {
	any4 := &unix.SockaddrInet4{Port: port}
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(listener) })
	must(t, unix.SetsockoptInt(listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	must(t, unix.Bind(listener, any4))
	must(t, unix.Listen(listener, 16))
	packets, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(packets) })
	must(t, unix.Bind(packets, any4))
	return listener
}

func at(address netip.Addr) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Addr: address.As4(), Port: port}
}

func spawn(path string, argv []string) error {
	pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
	if err != nil {
		return err
	}
	_, err = syscall.Wait4(pid, nil, 0, nil)
	return err
}

// fork makes a child that ends at once: between the two calls it runs nothing of the Go runtime.
func fork() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, errno := child()
	if errno != 0 {
		return errno
	}
	_, err := syscall.Wait4(pid, nil, 0, nil)
	return err
}

//go:norace
//go:nosplit
func child() (int, syscall.Errno) {
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if errno == 0 && pid == 0 {
		for {
			syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
		}
	}
	return int(pid), errno
}

func openClose() error {
	fd, err := unix.Open("/etc/cost", unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func contact(kind int, to *unix.SockaddrInet4) error {
	fd, err := unix.Socket(unix.AF_INET, kind, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, to)
}

// connection is one from its beginning to its end, at both ends.
func connection(listener int, to *unix.SockaddrInet4) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, to); err != nil {
		return err
	}
	accepted, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		return err
	}
	return unix.Close(accepted)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
