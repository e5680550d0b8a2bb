// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The deeds below run in processes of their own, by bare system calls, so that what the kernel sees is what is written
// here and nothing else.

// TestNetworkDeed is such a process when the environment names a deed; else it is nothing.
func TestNetworkDeed(t *testing.T) {
	name := os.Getenv("HOLDFAST_DEED")
	if name == "" {
		return
	}
	deeds := map[string]func(say) error{
		"tcp4": func(s say) error { return tcpExchange(s, unix.IPPROTO_TCP, "127.0.0.1", "127.0.0.1") },
		"tcp6": func(s say) error { return tcpExchange(s, unix.IPPROTO_TCP, "::1", "::1") },
		"tcp mapped": func(s say) error {
			return tcpExchange(s, unix.IPPROTO_TCP, "127.0.0.1", "::ffff:127.0.0.1")
		},
		"mptcp":         func(s say) error { return tcpExchange(s, unix.IPPROTO_MPTCP, "127.0.0.1", "127.0.0.1") },
		"tcp refused":   deedRefused,
		"fast open":     deedFastOpen,
		"uring":         deedUring,
		"ia32":          deedIA32,
		"udp connected": deedUDPConnected,
		"udp others":    deedUDPOthers,
		"udp mapped":    deedUDPMapped,
		"bind":          deedBind,
		"sctp":          deedSCTP,
		"icmp":          deedICMP,
		"families":      deedFamilies,
		"no privilege":  deedNoPrivilege,
		"dns":           deedDNS,
		"unix":          deedUnix,
		"metadata":      deedMetadata,
		"pass":          deedPass,
		"take":          deedTake,
		"uring family":  deedUringFamily,
		"hold":          deedHold,
		"udp many":      deedUDPMany,
		"lend":          deedLend,
		"borrow":        deedBorrow,

		"content": deedContent, "content large": deedContentLarge, "content tls": deedContentTLS, "content icmp": deedContentICMP, "content client": deedContentClient, "content opaque": deedContentOpaque,
		"content block": deedContentBlock,

		"contacts": deedContacts, "wait contact": deedWaitContact, "routes": deedRoutes, "metadata errors": deedMetadataErrors, "listen": deedListen,
		"listen multipath": deedListenMultipath,
		"socket":           deedSocket, "pass one": deedPassOne, "take one": deedTakeOne, "names": deedNames, "forged": deedForged,
		"expired": deedExpired, "crowd": deedCrowd, "questions": deedQuestions, "answers": deedAnswers,
	}
	s := say{}
	must(t, loopbackUp())
	deed := deeds[name]
	if deed == nil {
		t.Fatalf("no deed %q", name)
	}
	if err := deed(s); err != nil {
		var missing *missing
		if !errors.As(err, &missing) {
			t.Fatal(err)
		}
		fmt.Fprintln(os.Stderr, err)
	}
	must(t, json.NewEncoder(os.NewFile(3, "said")).Encode(s))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// say is what a deed tells the test.
type say map[string]int64

// missing says that the kernel lacks what a deed is about.
type missing struct{ feature, needs string }

func (m *missing) Error() string { return fmt.Sprintf("unsupported: %s needs %s", m.feature, m.needs) }

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// RTM_NEWLINK of interface 1 with IFF_UP.
	msg := make([]byte, 32)
	binary.NativeEndian.PutUint32(msg, 32)
	binary.NativeEndian.PutUint16(msg[4:], unix.RTM_NEWLINK)
	binary.NativeEndian.PutUint16(msg[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	binary.NativeEndian.PutUint32(msg[20:], 1)
	binary.NativeEndian.PutUint32(msg[24:], unix.IFF_UP)
	binary.NativeEndian.PutUint32(msg[28:], unix.IFF_UP)
	if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 256)
	if _, _, err := unix.Recvfrom(fd, answer, 0); err != nil {
		return err
	}
	if code := int32(binary.NativeEndian.Uint32(answer[16:])); code != 0 {
		return fmt.Errorf("set lo up: %w", unix.Errno(-code))
	}
	return nil
}

func sockaddr(text string, port int64) unix.Sockaddr {
	a := netip.MustParseAddr(text)
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: int(port)}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), Port: int(port)}
}

func family(text string) int {
	if netip.MustParseAddr(text).Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func portOf(fd int) (int64, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return int64(sa.Port), nil
	case *unix.SockaddrInet6:
		return int64(sa.Port), nil
	}
	return 0, fmt.Errorf("address of type %T", sa)
}

func cookieOf(fd int) (int64, error) {
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	return int64(cookie), err
}

// bound makes a socket that is bound to a port that the kernel chooses, which is said.
func bound(s say, what, addr string, kind, protocol int) (int, error) {
	fd, err := unix.Socket(family(addr), kind, protocol)
	if err != nil {
		return 0, err
	}
	if err := unix.Bind(fd, sockaddr(addr, 0)); err != nil {
		return 0, err
	}
	s[what+" port"], err = portOf(fd)
	return fd, err
}

const (
	requestSize  = 150_000
	responseSize = 77
)

// tcpExchange listens, connects, sends a request and a response and closes both ends.
func tcpExchange(s say, protocol int, listen, connect string) error {
	l, err := bound(s, "listen", listen, unix.SOCK_STREAM, protocol)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ENOPROTOOPT) {
		return &missing{"MPTCP", "a kernel with CONFIG_MPTCP"}
	}
	if err != nil {
		return err
	}
	if err := unix.Listen(l, 7); err != nil {
		return err
	}
	c, err := unix.Socket(family(connect), unix.SOCK_STREAM, protocol)
	if err != nil {
		return err
	}
	if err := unix.Connect(c, sockaddr(connect, s["listen port"])); err != nil {
		return err
	}
	if s["connect port"], err = portOf(c); err != nil {
		return err
	}
	if s["cookie"], err = cookieOf(c); err != nil {
		return err
	}
	a, _, err := unix.Accept(l)
	if err != nil {
		return err
	}
	if err := pump(c, a, requestSize); err != nil {
		return err
	}
	if err := pump(a, c, responseSize); err != nil {
		return err
	}
	return errors.Join(unix.Close(c), unix.Close(a), unix.Close(l))
}

// pump sends bytes from one end and reads them at the other.
func pump(from, to, size int) error {
	buf := make([]byte, 16384)
	for sent, read := 0, 0; read < size; {
		if sent < size {
			n, err := unix.SendmsgN(from, buf[:min(len(buf), size-sent)], nil, nil, 0)
			if err != nil {
				return err
			}
			sent += n
		}
		n, err := unix.Read(to, buf)
		if err != nil {
			return err
		}
		read += n
	}
	return nil
}

func deedRefused(s say) error {
	// A port that was free a moment ago and is nobody's in this namespace.
	fd, err := bound(s, "free", "127.0.0.1", unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	unix.Close(fd)
	c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(c, sockaddr("127.0.0.1", s["free port"])); !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("connect: %v, want refusal", err)
	}
	return nil
}

func listening(s say) error {
	l, err := bound(s, "listen", "127.0.0.1", unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	return unix.Listen(l, 1)
}

func deedFastOpen(s say) error {
	if err := listening(s); err != nil {
		return err
	}
	c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	return unix.Sendto(c, []byte("at once"), unix.MSG_FASTOPEN, sockaddr("127.0.0.1", s["listen port"]))
}

func deedUDPConnected(s say) error {
	a, err := bound(s, "a", "127.0.0.1", unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	if _, err = bound(s, "b", "127.0.0.1", unix.SOCK_DGRAM, 0); err != nil {
		return err
	}
	c, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(c, sockaddr("127.0.0.1", s["a port"])); err != nil {
		return err
	}
	if s["connect port"], err = portOf(c); err != nil {
		return err
	}
	for range 3 {
		if _, err := unix.Write(c, make([]byte, 100)); err != nil {
			return err
		}
	}
	if err := unix.Sendto(a, make([]byte, 40), 0, sockaddr("127.0.0.1", s["connect port"])); err != nil {
		return err
	}
	if err := unix.Sendto(c, make([]byte, 9), 0, sockaddr("127.0.0.1", s["b port"])); err != nil {
		return err
	}
	return unix.Close(c)
}

type mmsghdr struct {
	header unix.Msghdr
	size   uint32
	_      uint32
}

// deedUDPOthers sends twice to one address and, by one call, to it and another.
func deedUDPOthers(s say) error {
	if _, err := bound(s, "a", "127.0.0.1", unix.SOCK_DGRAM, 0); err != nil {
		return err
	}
	if _, err := bound(s, "b", "127.0.0.1", unix.SOCK_DGRAM, 0); err != nil {
		return err
	}
	c, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	for range 2 {
		if err := unix.Sendto(c, []byte("hello"), 0, sockaddr("127.0.0.1", s["a port"])); err != nil {
			return err
		}
	}
	if s["send port"], err = portOf(c); err != nil {
		return err
	}
	payload := []byte("many")
	iov := unix.Iovec{Base: &payload[0], Len: uint64(len(payload))}
	var names [2]unix.RawSockaddrInet4
	var msgs [2]mmsghdr
	for i, port := range []int64{s["a port"], s["b port"]} {
		names[i] = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: [4]byte{127, 0, 0, 1}}
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&names[i].Port))[:], uint16(port))
		msgs[i].header = unix.Msghdr{
			Name: (*byte)(unsafe.Pointer(&names[i])), Namelen: unix.SizeofSockaddrInet4, Iov: &iov, Iovlen: 1,
		}
	}
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(c), uintptr(unsafe.Pointer(&msgs[0])), 2, 0, 0, 0)
	if errno != 0 || n != 2 {
		return fmt.Errorf("sendmmsg: %d, %w", n, errno)
	}
	return nil
}

func deedUDPMapped(s say) error {
	if _, err := bound(s, "a", "127.0.0.1", unix.SOCK_DGRAM, 0); err != nil {
		return err
	}
	c, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Sendto(c, []byte("hello"), 0, sockaddr("::ffff:127.0.0.1", s["a port"])); err != nil {
		return err
	}
	s["send port"], err = portOf(c)
	return err
}

// deedBind binds what may be bound, and fails to bind what may not.
func deedBind(s say) error {
	if _, err := bound(s, "tcp6", "::1", unix.SOCK_STREAM, 0); err != nil {
		return err
	}
	if _, err := bound(s, "udp", "127.0.0.1", unix.SOCK_DGRAM, 0); err != nil {
		return err
	}
	c, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(c, sockaddr("127.0.0.1", s["udp port"])); !errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("bind again: %v, want refusal", err)
	}
	return nil
}

func deedSCTP(s say) error {
	l, err := bound(s, "listen", "127.0.0.1", unix.SOCK_STREAM, unix.IPPROTO_SCTP)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return &missing{"SCTP", "a kernel with CONFIG_IP_SCTP"}
	}
	if err != nil {
		return err
	}
	if err := unix.Listen(l, 3); err != nil {
		return err
	}
	c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP)
	if err != nil {
		return err
	}
	if err := unix.Connect(c, sockaddr("127.0.0.1", s["listen port"])); err != nil {
		return err
	}
	a, _, err := unix.Accept(l)
	if err != nil {
		return err
	}
	return pump(c, a, 100)
}

func deedICMP(s say) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
	if err != nil {
		return err
	}
	// An echo request of 100 bytes; its checksum is the complement of its first word.
	msg := make([]byte, 100)
	msg[0], msg[2] = 8, 0xf7
	msg[3] = 0xff
	if err := unix.Sendto(fd, msg, 0, sockaddr("127.0.0.1", 0)); err != nil {
		return err
	}
	buf := make([]byte, 256)
	for range 2 {
		if _, _, err := unix.Recvfrom(fd, buf, 0); err != nil {
			return err
		}
	}
	return unix.Close(fd)
}

func deedFamilies(s say) error {
	try := func(name string, family, kind, protocol int) {
		fd, err := unix.Socket(family, kind, protocol)
		s[name] = 0
		if err != nil {
			s[name] = -int64(err.(unix.Errno))
			return
		}
		unix.Close(fd)
	}
	try("packet", unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0x0300)
	try("alg", unix.AF_ALG, unix.SOCK_SEQPACKET, 0)
	try("vsock", unix.AF_VSOCK, unix.SOCK_STREAM, 0)
	try("xdp", unix.AF_XDP, unix.SOCK_RAW, 0)
	try("netlink", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT)
	try("unix", unix.AF_UNIX, unix.SOCK_STREAM, 0)
	try("raw", unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_UDP)
	return nil
}

func deedNoPrivilege(say) error {
	runtime.LockOSThread()
	if _, _, errno := unix.RawSyscall(unix.SYS_SETUID, 65534, 0, 0); errno != 0 {
		return errno
	}
	for _, family := range []uintptr{unix.AF_PACKET, unix.AF_INET} {
		// Of this thread, whose credentials were changed.
		if _, _, errno := unix.RawSyscall(unix.SYS_SOCKET, family, unix.SOCK_RAW, unix.IPPROTO_ICMP); errno != unix.EPERM {
			return fmt.Errorf("socket of family %d: %v, want refusal", family, errno)
		}
	}
	return nil
}

func deedUnix(s say) error {
	dir, err := os.MkdirTemp("", "unix")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{dir + "/service.sock", fmt.Sprintf("@abstract-%d", os.Getpid())} {
		l, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		if err := unix.Bind(l, &unix.SockaddrUnix{Name: name}); err != nil {
			return err
		}
		if err := unix.Listen(l, 1); err != nil {
			return err
		}
		c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		if strings.HasPrefix(name, "/") {
			// By another name for the folder: the record has the real one.
			if err := os.Symlink(dir, dir+"-link"); err != nil {
				return err
			}
			defer os.Remove(dir + "-link")
			name = strings.Replace(name, dir, dir+"-link", 1)
		}
		if err := unix.Connect(c, &unix.SockaddrUnix{Name: name}); err != nil {
			return err
		}
	}
	c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(c, &unix.SockaddrUnix{Name: dir + "/nobody"}); !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("connect to nobody: %v", err)
	}
	return nil
}

// deedMetadata contacts the metadata address and another; that nothing is there does not matter.
func deedMetadata(say) error {
	for _, addr := range []string{"169.254.169.254", "192.0.2.1", "fd00:ec2::254"} {
		c, err := unix.Socket(family(addr), unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		if err := unix.Connect(c, sockaddr(addr, 80)); err == nil {
			return fmt.Errorf("there is a way to %s", addr)
		}
	}
	return nil
}

// The other end of the socket that is passed stays with the one that passes it. Descriptor 4 is a UNIX socket between
// the two.
func deedPass(s say) error {
	l, err := bound(s, "listen", "127.0.0.1", unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Listen(l, 4); err != nil {
		return err
	}
	var ends, others []int
	for range 2 {
		c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		if err := unix.Connect(c, sockaddr("127.0.0.1", s["listen port"])); err != nil {
			return err
		}
		a, _, err := unix.Accept(l)
		if err != nil {
			return err
		}
		ends, others = append(ends, c), append(others, a)
	}
	if err := unix.Sendmsg(4, []byte{1}, unix.UnixRights(ends...), nil, 0); err != nil {
		return err
	}
	buf := make([]byte, 100)
	for _, a := range others {
		if _, err := unix.Read(a, buf); err != nil {
			return err
		}
	}
	return nil
}

// received takes descriptors from a UNIX socket.
func received(from int) ([]int, error) {
	buf, oob := make([]byte, 1), make([]byte, 64)
	_, n, _, _, err := unix.Recvmsg(from, buf, oob, 0)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return nil, err
	}
	if len(messages) != 1 {
		return nil, fmt.Errorf("%d control messages, want 1", len(messages))
	}
	return unix.ParseUnixRights(&messages[0])
}

func deedTake(s say) error {
	fds, err := received(4)
	if err != nil {
		return err
	}
	for range 3 {
		if err := unix.Send(fds[0], []byte("stolen words"), 0); err != nil {
			return err
		}
	}
	f, err := os.CreateTemp("", "passed")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(make([]byte, 33)); err != nil {
		return err
	}
	sent, err := unix.Sendfile(fds[1], int(f.Fd()), new(int64), 33)
	s["sent file"] = int64(sent)
	return err
}
