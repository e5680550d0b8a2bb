// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/tests/rig/uring"
)

// Where the deeds' sinks are: one address that policies list, and one that they do not.
var (
	listedAddrs   = []string{"10.9.0.1", "fd00:9::1", "::ffff:10.9.0.1"}
	unlistedAddrs = []string{"10.66.0.1", "fd00:9::2", "::ffff:10.66.0.1"}
)

// sinkOf makes a socket that takes what comes to any address of the machine, and gives its port.
func sinkOf(kind int) (fd int, port int64, err error) {
	if fd, err = unix.Socket(unix.AF_INET6, kind|unix.SOCK_NONBLOCK, 0); err != nil {
		return 0, 0, err
	}
	if err = unix.Bind(fd, &unix.SockaddrInet6{}); err != nil {
		return 0, 0, err
	}
	if kind == unix.SOCK_STREAM {
		if err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 5); err != nil {
			return 0, 0, err
		}
		if err = unix.Listen(fd, 8); err != nil {
			return 0, 0, err
		}
	}
	port, err = portOf(fd)
	return fd, port, err
}

// sunk gives how many bytes have come to the sink, waiting for them if some must.
func sunk(fd, kind int, wait bool) (int64, error) {
	timeout := 0
	if wait {
		timeout = 5000
	}
	ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if _, err := unix.Poll(ready, timeout); err != nil {
		return 0, err
	}
	buf := make([]byte, 100)
	if kind == unix.SOCK_STREAM {
		a, _, err := unix.Accept(fd)
		if errors.Is(err, unix.EAGAIN) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		defer unix.Close(a)
		n, err := unix.Read(a, buf)
		return int64(n), err
	}
	n, err := unix.Read(fd, buf)
	if errors.Is(err, unix.EAGAIN) {
		return 0, nil
	}
	return int64(n), err
}

var word = []byte("out")

// A contactWay sends a word to an address with a new socket, and gives the error that the kernel gave.
type contactWay struct {
	name string
	kind int
	send func(fd int, to unix.Sockaddr) error
}

func contactWays() []contactWay {
	return []contactWay{
		{"connect", unix.SOCK_STREAM, connectAndSend},
		{"fast open", unix.SOCK_STREAM, func(fd int, to unix.Sockaddr) error { return unix.Sendto(fd, word, unix.MSG_FASTOPEN, to) }},
		{"ring", unix.SOCK_STREAM, ringSend},
		{"multipath", unix.SOCK_STREAM, connectAndSend},
		{"udp connect", unix.SOCK_DGRAM, connectAndSend},
		{"udp", unix.SOCK_DGRAM, func(fd int, to unix.Sockaddr) error { return unix.Sendto(fd, word, 0, to) }},
	}
}

func connectAndSend(fd int, to unix.Sockaddr) error {
	if err := unix.Connect(fd, to); err != nil {
		return err
	}
	return unix.Send(fd, word, 0)
}

// ringSend connects by io_uring.
func ringSend(fd int, to unix.Sockaddr) error {
	u, err := newUring(0)
	if err != nil {
		return err
	}
	var raw [unix.SizeofSockaddrInet6]byte
	size := unix.SizeofSockaddrInet4
	switch a := to.(type) {
	case *unix.SockaddrInet4:
		binary.NativeEndian.PutUint16(raw[:], unix.AF_INET)
		binary.BigEndian.PutUint16(raw[2:], uint16(a.Port))
		copy(raw[4:], a.Addr[:])
	case *unix.SockaddrInet6:
		binary.NativeEndian.PutUint16(raw[:], unix.AF_INET6)
		binary.BigEndian.PutUint16(raw[2:], uint16(a.Port))
		copy(raw[8:], a.Addr[:])
		size = len(raw)
	}
	// The address is given as a number, so nothing else keeps it.
	defer runtime.KeepAlive(&raw)
	result, err := u.Do(uring.Request{
		Op: uring.Connect, FD: int32(fd), Addr: uint64(uintptr(unsafe.Pointer(&raw))), Offset: uint64(size),
	})
	if err != nil {
		return err
	}
	if result < 0 {
		return unix.Errno(-result)
	}
	return unix.Send(fd, word, 0)
}

// deedContacts tries every way to every address; what it says of each is the error and what came to the sink.
func deedContacts(s say) error {
	if err := addresses(); err != nil {
		return err
	}
	if err := routed(listedAddrs[1]); err != nil {
		return err
	}
	for _, way := range contactWays() {
		for _, addr := range append(append([]string{}, listedAddrs...), unlistedAddrs...) {
			if err := contactOnce(s, way, addr); err != nil {
				return fmt.Errorf("%s %s: %w", way.name, addr, err)
			}
		}
	}
	return nil
}

func contactOnce(s say, way contactWay, addr string) error {
	sink, port, err := sinkOf(way.kind)
	if err != nil {
		return err
	}
	defer unix.Close(sink)
	protocol := 0
	if way.name == "multipath" {
		protocol = unix.IPPROTO_MPTCP
	}
	fd, err := unix.Socket(family(addr), way.kind, protocol)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ENOPROTOOPT) {
		s[way.name+" "+addr] = -1
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var errno unix.Errno
	if err = way.send(fd, sockaddr(addr, port)); err != nil && !errors.As(err, &errno) {
		return err
	}
	s[way.name+" "+addr] = int64(errno)
	s[way.name+" "+addr+" sunk"], err = sunk(sink, way.kind, errno == 0)
	return err
}

// testEgressContacts has the listed addresses reached in every mode, without a record, and the others as the mode says:
// what is refused brings nothing to the sink, and what would be is the same.
func testEgressContacts(t *testing.T, all *netRig) {
	for _, mode := range []wire.Mode{wire.ModeOff, wire.ModeLearn, wire.ModeMonitor, wire.ModeEnforce} {
		t.Run(fmt.Sprint(mode), func(t *testing.T) {
			r := &netRig{all.netLog, t}
			p := r.under(modes{wire.SignalEgress: mode})
			for _, prefix := range []string{"10.9.0.0/16", "fd00:9::1/128"} {
				p.contact(prefix, anyExe, 0, 0)
			}
			before := p.tally()
			d := p.deed("contacts")
			tried := 0
			for _, way := range contactWays() {
				for _, addr := range listedAddrs {
					if d.said[way.name+" "+addr] != -1 {
						checkContact(t, d.said, way.name+" "+addr, 0)
					}
				}
				for _, addr := range unlistedAddrs {
					if d.said[way.name+" "+addr] == -1 {
						continue
					}
					tried++
					want := unix.Errno(0)
					if mode == wire.ModeEnforce {
						want = unix.EPERM
					}
					checkContact(t, d.said, way.name+" "+addr, want)
				}
			}
			if mode == wire.ModeOff {
				r.expect(d.pid, 0, netTypes...)
				return
			}
			r.settle()
			told := map[[3]uint16]bool{}
			for _, e := range r.of(d.pid, netTypes...) {
				told[[3]uint16{e.Net().Protocol, e.Net().Family, e.Net().RemotePort}] = true
				p.told(e, flagOf(mode), wire.SignalEgress, wire.ReasonAddress)
				if refused := mode == wire.ModeEnforce; refused != (e.Head.Result == -int32(unix.EPERM)) {
					t.Errorf("result %d", e.Head.Result)
				}
			}
			// Each sink has a port of its own in its family. A datagram from a connected socket to a mapped address is told too.
			if len(told) != tried {
				t.Errorf("%d are told, want %d:%s", len(told), tried, r.list(d.pid))
			}
			after := p.tally()
			counts := [4]uint64{after.Known[wire.SignalEgress] - before.Known[wire.SignalEgress],
				after.Learned[wire.SignalEgress], after.WouldBlock[wire.SignalEgress], after.Blocked[wire.SignalEgress]}
			var want [4]uint64
			// Beside the contacts, each sink of TCP that listens and the sockets of route messages are known.
			want[0] = counts[0]
			want[mode] = uint64(tried)
			if mode != wire.ModeEnforce && counts[mode] == want[mode]+1 {
				want[mode]++
			}
			if counts != want || counts[0] < uint64(tried) {
				t.Errorf("counted %v, want %v", counts, want)
			}
		})
	}
}

func checkContact(t *testing.T, s say, what string, want unix.Errno) {
	t.Helper()
	bytes := int64(len(word))
	if want != 0 {
		bytes = 0
	}
	if got := unix.Errno(s[what]); got != want || s[what+" sunk"] != bytes {
		t.Errorf("%s: error %q and %d bytes at the sink, want %q and %d", what, got.Error(), s[what+" sunk"], want.Error(), bytes)
	}
}

// deedWaitContact waits for a byte on descriptor 4 and contacts an address by UDP.
func deedWaitContact(s say) error {
	if err := addresses(); err != nil {
		return err
	}
	if _, err := unix.Write(4, []byte{0}); err != nil {
		return err
	}
	if _, err := unix.Read(4, make([]byte, 1)); err != nil {
		return err
	}
	return contactOnce(s, contactWays()[5], "10.66.0.1")
}

// testEgressExecutables lists an address for one executable alone.
func testEgressExecutables(t *testing.T, r *netRig) {
	const exe = 0xabcdef0123456789
	p := r.under(modes{wire.SignalEgress: wire.ModeEnforce})
	p.contact("10.66.0.1/32", exe, unix.IPPROTO_UDP, 0)
	for name, tt := range map[string]struct {
		exe  uint64
		want unix.Errno
	}{"listed": {exe, 0}, "other": {exe + 1, unix.EPERM}, "not in its own mounts": {subject, unix.EPERM}} {
		t.Run(name, func(t *testing.T) {
			r := &netRig{r.netLog, t}
			p := &testPolicy{&testContainer{r, p.dir, p.id, p.name}, p.is, p.key}
			h := p.holdDeed("wait contact")
			m := r.sensor.loader.maps["process_by_tgid"]
			var process wire.Process
			must(t, m.Lookup(uint32(h.cmd.Process.Pid), &process))
			process.Exe = tt.exe
			must(t, m.Put(uint32(h.cmd.Process.Pid), process))
			_, err := h.line.Write([]byte{1})
			must(t, err)
			d := h.finish()
			checkContact(t, d.said, "udp 10.66.0.1", tt.want)
		})
	}
}

// deedRoutes sends to a listed address, by way of one that is not.
func deedRoutes(s say) error {
	if err := addresses(); err != nil {
		return err
	}
	route := string([]byte{131, 7, 4, 10, 66, 0, 1, 0})
	for name, options := range map[string]string{"direct": "", "padded": "\x01\x01\x01\x00", "routed": route, "routed late": "\x01\x01" + route[:7]} {
		sink, port, err := sinkOf(unix.SOCK_DGRAM)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		if err := unix.SetsockoptString(fd, unix.SOL_IP, unix.IP_OPTIONS, options); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		var errno unix.Errno
		if err := unix.Sendto(fd, word, 0, sockaddr("10.9.0.1", port)); err != nil && !errors.As(err, &errno) {
			return err
		}
		s[name] = int64(errno)
		if s[name+" sunk"], err = sunk(sink, unix.SOCK_DGRAM, name == "direct" || name == "padded"); err != nil {
			return err
		}
	}
	return nil
}

// testEgressRoutes has packets that name their way refused, whatever address they end at.
func testEgressRoutes(t *testing.T, r *netRig) {
	p := r.under(modes{wire.SignalEgress: wire.ModeEnforce})
	p.contact("10.9.0.0/16", anyExe, 0, 0)
	d := p.deed("routes")
	checkContact(t, d.said, "direct", 0)
	checkContact(t, d.said, "padded", 0)
	checkContact(t, d.said, "routed", unix.EPERM)
	checkContact(t, d.said, "routed late", unix.EPERM)
	// The second is the same deed.
	e := r.expect(d.pid, 1, netTypes...)[0]
	p.told(e, wire.FlagBlocked, wire.SignalEgress, wire.ReasonAddress)
	if to := address(e.Net().Family, e.Net().Remote).String(); to != "10.66.0.1" {
		t.Errorf("sent to %s", to)
	}
}

// deedMetadataErrors contacts metadata addresses; that there is no way to them does not matter.
func deedMetadataErrors(s say) error {
	for _, addr := range []string{"169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254"} {
		c, err := unix.Socket(family(addr), unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		var errno unix.Errno
		if err := unix.Connect(c, sockaddr(addr, 80)); !errors.As(err, &errno) {
			return fmt.Errorf("contact with %s: %w", addr, err)
		}
		s[addr] = int64(errno)
	}
	return nil
}

// testEgressMetadata has the metadata service refused by the rules that need no learning, unless its address is listed.
func testEgressMetadata(t *testing.T, all *netRig) {
	for name, tt := range map[string]struct {
		list    []string
		refused []string
	}{
		"nothing listed": {nil, []string{"169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254"}},
		"all listed":     {[]string{"0.0.0.0/0", "::/0"}, []string{"169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254"}},
		"one listed":     {[]string{"169.254.169.254/32"}, []string{"fd00:ec2::254"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := &netRig{all.netLog, t}
			p := r.under(modes{wire.SignalProtect: wire.ModeEnforce})
			for _, prefix := range tt.list {
				p.contact(prefix, anyExe, unix.IPPROTO_UDP, 80)
			}
			d := p.deed("metadata errors")
			refused := 0
			for _, errno := range d.said {
				if unix.Errno(errno) == unix.EPERM {
					refused++
				}
			}
			for _, addr := range tt.refused {
				if unix.Errno(d.said[addr]) != unix.EPERM {
					t.Errorf("%s: %v", addr, unix.Errno(d.said[addr]))
				}
			}
			if refused != len(tt.refused) {
				t.Errorf("%d are refused, want %d", refused, len(tt.refused))
			}
			// The mapped address is told as the one that it maps.
			for _, e := range r.expect(d.pid, min(len(tt.refused), 2), netTypes...) {
				p.told(e, wire.FlagBlocked, wire.SignalProtect, wire.ReasonMetadata)
			}
		})
	}
}

// listenDeeds are the ports of deedListen.
const (
	listedPort   = 4711
	unlistedPort = 4712
)

// deedListen binds, and listens on what could be bound.
func deedListen(s say) error {
	for name, tt := range map[string]struct {
		kind int
		port int
	}{
		"tcp listed": {unix.SOCK_STREAM, listedPort}, "tcp": {unix.SOCK_STREAM, unlistedPort},
		"udp listed": {unix.SOCK_DGRAM, listedPort}, "udp": {unix.SOCK_DGRAM, unlistedPort},
		"udp chosen": {unix.SOCK_DGRAM, 0}, "tcp chosen": {unix.SOCK_STREAM, 0},
	} {
		for _, addr := range []string{"127.0.0.1", "::1"} {
			fd, err := unix.Socket(family(addr), tt.kind, 0)
			if err != nil {
				return err
			}
			var errno unix.Errno
			if err := unix.Bind(fd, sockaddr(addr, int64(tt.port))); err != nil && !errors.As(err, &errno) {
				return err
			}
			s[name+" "+addr] = int64(errno)
			errno = 0
			if err := unix.Listen(fd, 1); tt.kind == unix.SOCK_STREAM && err != nil && !errors.As(err, &errno) {
				return err
			}
			s[name+" "+addr+" listen"] = int64(errno)
		}
	}
	// Listening without a bind.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	var errno unix.Errno
	if err := unix.Listen(fd, 1); err != nil && !errors.As(err, &errno) {
		return err
	}
	s["alone"] = int64(errno)
	return nil
}

// testEgressListen has ports refused as they are bound; where a hook can refuse it, also listening on others.
func testEgressListen(t *testing.T, all *netRig) {
	for _, mode := range []wire.Mode{wire.ModeMonitor, wire.ModeEnforce} {
		t.Run(fmt.Sprint(mode), func(t *testing.T) {
			r := &netRig{all.netLog, t}
			p := r.under(modes{wire.SignalEgress: mode})
			p.forget(wire.AllowListen, anyExe, unix.IPPROTO_TCP<<16)
			p.allow(wire.AllowListen, anyExe, unix.IPPROTO_TCP<<16|listedPort)
			p.allow(wire.AllowListen, anyExe, unix.IPPROTO_UDP<<16|listedPort)
			d := p.deed("listen")
			refused, late := int64(0), int64(0)
			if mode == wire.ModeEnforce {
				refused = int64(unix.EPERM)
				if r.capability("listen").Block == probe.Yes {
					late = refused
				}
			}
			for _, addr := range []string{"127.0.0.1", "::1"} {
				for name, want := range map[string]int64{
					"tcp listed " + addr: 0, "udp listed " + addr: 0, "tcp " + addr: refused, "udp " + addr: refused,
					"udp chosen " + addr: 0, "tcp chosen " + addr: 0, "tcp chosen " + addr + " listen": late,
				} {
					if d.said[name] != want {
						t.Errorf("%s: %v, want %v", name, unix.Errno(d.said[name]), unix.Errno(want))
					}
				}
			}
			if d.said["alone"] != late {
				t.Errorf("listen without bind: %v", unix.Errno(d.said["alone"]))
			}
			binds := 0
			r.settle()
			for _, e := range r.of(d.pid, netTypes...) {
				if e.Type == wire.TypeBind {
					binds++
					p.told(e, flagOf(mode), wire.SignalEgress, wire.ReasonListen)
					continue
				}
				flag := wire.FlagWouldBlock
				if late != 0 {
					flag = wire.FlagBlocked
				}
				p.told(e, flag, wire.SignalEgress, wire.ReasonListen)
			}
			// One for each protocol: those of the second address are the same deed.
			if binds != 2 {
				t.Errorf("%d binds were told, want 2:%s", binds, r.list(d.pid))
			}
		})
	}
}

// deedSocket makes one socket; the environment says of what kind.
func deedSocket(s say) error {
	var family, kind, protocol int
	if _, err := fmt.Sscan(os.Getenv("HOLDFAST_SOCKET"), &family, &kind, &protocol); err != nil {
		return err
	}
	fd, err := unix.Socket(family, kind, protocol)
	var errno unix.Errno
	if err != nil && !errors.As(err, &errno) {
		return err
	}
	s["errno"] = int64(errno)
	if err == nil {
		// What it would do with it.
		time.Sleep(10 * time.Millisecond)
		s["fd"] = int64(fd)
	}
	return nil
}

// testEgressSockets has sockets of kinds that are not listed refused, or their process killed before it has them.
func testEgressSockets(t *testing.T, all *netRig) {
	tests := map[string]struct {
		family, kind, protocol int
		signal                 wire.Signal
		reason                 wire.Reason
		// The cgroup's hook, which all kernels have, stands before it.
		inet bool
	}{
		"raw":     {unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP, wire.SignalProtect, wire.ReasonRawSocket, true},
		"raw6":    {unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6, wire.SignalProtect, wire.ReasonRawSocket, true},
		"packet":  {unix.AF_PACKET, unix.SOCK_RAW, 0, wire.SignalProtect, wire.ReasonRawSocket, false},
		"alg":     {unix.AF_ALG, unix.SOCK_SEQPACKET, 0, wire.SignalEgress, wire.ReasonSocket, false},
		"netlink": {unix.AF_NETLINK, unix.SOCK_DGRAM, unix.NETLINK_GENERIC, wire.SignalEgress, wire.ReasonSocket, false},
	}
	for name, tt := range tests {
		for _, mode := range []wire.Mode{wire.ModeMonitor, wire.ModeEnforce} {
			t.Run(fmt.Sprint(name, " ", mode), func(t *testing.T) {
				r := &netRig{all.netLog, t}
				p := r.under(modes{tt.signal: mode})
				t.Setenv("HOLDFAST_SOCKET", fmt.Sprint(tt.family, tt.kind, tt.protocol))
				pid, killed := p.endures("socket")
				r.settle()
				if name == "alg" && len(r.of(pid, wire.TypeSocket)) == 0 {
					t.Skip("unsupported: AF_ALG needs CONFIG_CRYPTO_USER_API")
				}
				kills := mode == wire.ModeEnforce && !tt.inet && !r.hasHooks()
				if killed != kills {
					t.Errorf("killed %v, want %v", killed, kills)
				}
				flag := flagOf(mode)
				if kills {
					flag = wire.FlagKilled
				}
				events := r.of(pid, wire.TypeSocket)
				if len(events) != 1 {
					t.Fatalf("%d sockets are told, want 1:%s", len(events), r.list(pid))
				}
				p.told(events[0], flag, tt.signal, tt.reason)
			})
		}
		t.Run(name+" listed", func(t *testing.T) {
			r := &netRig{all.netLog, t}
			p := r.under(modes{wire.SignalProtect: wire.ModeEnforce, wire.SignalEgress: wire.ModeEnforce})
			p.allow(wire.AllowSocket, subject, uint64(tt.family)<<16|uint64(tt.kind))
			t.Setenv("HOLDFAST_SOCKET", fmt.Sprint(tt.family, tt.kind, tt.protocol))
			r.expect(p.deed("socket").pid, 0, netTypes...)
		})
	}
}

// testEgressPassed has a container send from another's socket.
func testEgressPassed(t *testing.T, all *netRig) {
	for _, mode := range []wire.Mode{wire.ModeMonitor, wire.ModeEnforce} {
		t.Run(fmt.Sprint(mode), func(t *testing.T) {
			r := &netRig{all.netLog, t}
			if r.capability("passed_socket").See != probe.Yes {
				t.Skip("unsupported: sends from other containers' sockets need hooks or 6.3")
			}
			p := r.under(modes{wire.SignalEgress: mode})
			refuses := mode == wire.ModeEnforce && r.capability("passed_socket").Block == probe.Yes
			pid, sent := r.passTo(p.testContainer)
			if sent == refuses {
				t.Errorf("sent %v, refused %v", sent, refuses)
			}
			r.settle()
			events := r.of(pid, wire.TypePassedSocket)
			if len(events) == 0 {
				t.Fatalf("nothing is told:%s", r.list(pid))
			}
			flag := wire.FlagWouldBlock
			if refuses {
				flag = wire.FlagBlocked
			}
			p.told(events[0], flag, wire.SignalEgress, wire.ReasonPassedSocket)
		})
	}
}

// deedPassOne passes one end of a connection and waits until it was used or could not be.
func deedPassOne(s say) error {
	if err := listening(s); err != nil {
		return err
	}
	c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(c, sockaddr("127.0.0.1", s["listen port"])); err != nil {
		return err
	}
	if err := unix.Sendmsg(4, []byte{1}, unix.UnixRights(c), nil, 0); err != nil {
		return err
	}
	_, err = unix.Read(4, make([]byte, 1))
	return err
}

func deedTakeOne(s say) error {
	fds, err := received(4)
	if err != nil {
		return err
	}
	var errno unix.Errno
	if err := unix.Send(fds[0], word, unix.MSG_NOSIGNAL); err != nil && !errors.As(err, &errno) {
		return err
	}
	s["errno"] = int64(errno)
	_, err = unix.Write(4, []byte{1})
	return err
}
