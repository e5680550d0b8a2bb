// SPDX-License-Identifier: Apache-2.0

//go:build vm

package cost

import (
	"net"
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

// deeds are what is measured. Sockets that they use are open before the first figure.
func deeds(t *testing.T) []deed {
	tcp, udp := serve(t)
	sender, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(sender) })
	return []deed{
		{"exec", 100, func() error { return spawn(program, []string{"true"}) }},
		{"fork", 300, fork},
		{"open+close", 2000, openClose},
		{"TCP connect", 200, func() error { return contact(unix.SOCK_STREAM, tcp) }},
		{"UDP connect", 1000, func() error { return contact(unix.SOCK_DGRAM, udp) }},
		{"UDP sendto", 1000, func() error { return unix.Sendto(sender, []byte("x"), 0, udp) }},
		{"getppid", 20000, func() error { unix.Getppid(); return nil }},
	}
}

// serve opens what is contacted: a listener that is never accepted from, since connecting needs nobody, and a datagram
// socket that is never read.
func serve(t *testing.T) (tcp, udp *unix.SockaddrInet4) {
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	packets, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	t.Cleanup(func() { packets.Close() })
	local := [4]byte{127, 0, 0, 1}
	return &unix.SockaddrInet4{Addr: local, Port: listener.Addr().(*net.TCPAddr).Port},
		&unix.SockaddrInet4{Addr: local, Port: packets.LocalAddr().(*net.UDPAddr).Port}
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

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
