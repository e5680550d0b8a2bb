// SPDX-License-Identifier: Apache-2.0

package sockdiag_test

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/sockdiag"
)

// TestElsewhere asks for the end of connections in another network again and again, each time from whatever thread: no thread stays there.
func TestElsewhere(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	other := exec.Command("sleep", "100000")
	other.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = other.Process.Kill(), other.Wait() }()
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := sockdiag.Destroy(uint32(other.Process.Pid), sockdiag.Socket{Family: unix.AF_INET, Protocol: unix.IPPROTO_TCP}); !errors.Is(err, sockdiag.ErrGone) {
			t.Fatal(err)
		}
	}
	threads, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		if now, err := os.Readlink(thread); err == nil && now != own {
			t.Errorf("%s is %s, want %s", thread, now, own)
		}
	}
}

// TestDestroy ends a connection, which both of its ends see; one that is not there, or of no process, is an error.
func TestDestroy(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	if err := sockdiag.Supported(); errors.Is(err, sockdiag.ErrUnsupported) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	raw, err := client.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	local, remote := client.LocalAddr().(*net.TCPAddr), client.RemoteAddr().(*net.TCPAddr)
	s := sockdiag.Socket{Family: unix.AF_INET, Protocol: unix.IPPROTO_TCP, LocalPort: uint16(local.Port), RemotePort: uint16(remote.Port)}
	copy(s.Local[:], local.IP.To4())
	copy(s.Remote[:], remote.IP.To4())
	var cookieErr error
	if err := raw.Control(func(fd uintptr) {
		s.Cookie, cookieErr = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_COOKIE)
	}); err != nil || cookieErr != nil {
		t.Fatal(err, cookieErr)
	}
	other := s
	other.Cookie++
	if err := sockdiag.Destroy(uint32(os.Getpid()), other); !errors.Is(err, sockdiag.ErrGone) {
		t.Errorf("another socket at the same address: %v", err)
	}
	if err := sockdiag.Destroy(1<<30, s); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a process that is not there: %v", err)
	}
	if err := sockdiag.Destroy(uint32(os.Getpid()), s); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNABORTED) {
		t.Errorf("the client reads: %v", err)
	}
	if _, err := server.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) {
		t.Errorf("the server reads: %v", err)
	}
}
