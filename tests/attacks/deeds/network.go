// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

func networkDeeds() []deed {
	return []deed{
		{"connect", "ADDR [TAG]", 1, 2, "connect to ADDR by TCP", func(args []string) error { return dial(args[0]) }},
		{"metadata", "[ADDR]", 0, 1, "ask the metadata service (169.254.169.254:80)", func(args []string) error {
			return dial(arg(args, 0, "169.254.169.254:80"))
		}},
		{"raw-socket", "", 0, 0, "open a raw socket", func([]string) error {
			return open("raw socket", unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
		}},
		{"packet-socket", "", 0, 0, "open a packet socket", func([]string) error {
			return open("packet socket", unix.AF_PACKET, unix.SOCK_RAW, 0)
		}},
		{"offer-socket", "PATH ADDR", 2, 2, "connect to ADDR and hand that socket to who comes to the Unix socket PATH", offer},
		{"passed-socket", "PATH", 1, 1, "take a socket from PATH and send through it", passed},
	}
}

// dial connects with one connect(2), so that the deed is one event, and waits for the outcome.
func dial(addr string) error {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return outcome("socket", err)
	}
	defer unix.Close(fd)
	// The longest that connect waits, tcp(7).
	const patience = 2000
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, patience); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_SYNCNT, 1); err != nil {
		return err
	}
	return outcome("connect "+addr, unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}))
}

func open(what string, family, kind, protocol int) error {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return outcome(what, err)
	}
	return unix.Close(fd)
}

// offer hands one socket over and keeps it open until the taker is done with it.
func offer(args []string) error {
	conn, err := net.Dial("tcp", args[1])
	if err != nil {
		return err
	}
	defer conn.Close()
	socket, err := conn.(*net.TCPConn).File()
	if err != nil {
		return err
	}
	defer socket.Close()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: args[0], Net: "unix"})
	if err != nil {
		return err
	}
	defer listener.Close()
	taker, err := listener.AcceptUnix()
	if err != nil {
		return err
	}
	defer taker.Close()
	if _, _, err := taker.WriteMsgUnix([]byte{0}, unix.UnixRights(int(socket.Fd())), nil); err != nil {
		return fmt.Errorf("hand the socket over: %w", err)
	}
	_, err = io.Copy(io.Discard, taker)
	return err
}

func passed(args []string) error {
	conn, err := comeTo(args[0])
	if err != nil {
		return err
	}
	defer conn.Close()
	one, rights := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(one, rights)
	if err != nil {
		return fmt.Errorf("take the socket: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) == 0 {
		return errors.Join(errors.New("no socket came"), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) == 0 {
		return errors.Join(errors.New("no socket came"), err)
	}
	defer unix.Close(fds[0])
	return outcome("send", unix.Send(fds[0], []byte("stolen\n"), unix.MSG_NOSIGNAL))
}

// comeTo connects to a Unix socket as soon as it is there.
func comeTo(path string) (*net.UnixConn, error) {
	const patience = 5 * time.Second
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		if err == nil || time.Now().After(end) || !errors.Is(err, os.ErrNotExist) {
			return conn, err
		}
	}
}
