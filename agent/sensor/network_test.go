// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/wire"
)

func at(addr string, port int64) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), uint16(port))
}

const (
	v4, v6       = unix.AF_INET, unix.AF_INET6
	stream, dgrm = unix.SOCK_STREAM, unix.SOCK_DGRAM
	tcp, udp     = unix.IPPROTO_TCP, unix.IPPROTO_UDP
)

// TestNetwork runs all tests of the network on one sensor, with the best hooks that the kernel has.
func TestNetwork(t *testing.T) {
	r := startNetRig(t, Config{})
	r.checkCapabilities("")
	testNetwork(t, r)
}

// TestNetworkWithoutHooks runs them as if the kernel had no security hooks.
func TestNetworkWithoutHooks(t *testing.T) {
	r := startNetRig(t, Config{LimitFamily: true, Family: probe.FamilySyscalls})
	// Kernels before 6.3 tell by a security hook alone who sends.
	r.checkCapabilities("passed_socket")
	testNetwork(t, r)
}

// checkCapabilities has every network signal seen, but for one that may be not, with the reason.
func (r *netRig) checkCapabilities(except string) {
	for _, sig := range networkSignals {
		c := r.capability(sig.name)
		fmt.Printf("HFTABLE %s\t%s: see %s, block %s; %s\n", c.Signal, c.Mechanism, c.See, c.Block, c.Reason)
		if c.See != probe.Yes && (sig.name != except || c.Reason == "") {
			r.t.Errorf("%s is not seen: %s", sig.name, c.Reason)
		}
	}
}

func (r *netRig) capability(signal string) probe.Capability {
	for _, c := range r.sensor.Capabilities() {
		if c.Signal == signal {
			return c
		}
	}
	r.t.Fatalf("no capability %q", signal)
	return probe.Capability{}
}

func testNetwork(t *testing.T, all *netRig) {
	for _, tt := range []struct {
		name string
		test func(*testing.T, *netRig)
	}{
		{"TCP", testNetworkTCP},
		{"Refused", testNetworkRefused},
		{"MPTCP", testNetworkMPTCP},
		{"FastOpen", testNetworkFastOpen},
		{"Uring", testNetworkUring},
		{"IA32", testNetworkIA32},
		{"UDPConnected", testNetworkUDPConnected},
		{"UDPOthers", testNetworkUDPOthers},
		{"UDPMapped", testNetworkUDPMapped},
		{"Bind", testNetworkBind},
		{"SCTP", testNetworkSCTP},
		{"ICMP", testNetworkICMP},
		{"Families", testNetworkFamilies},
		{"NoPrivilege", testNetworkNoPrivilege},
		{"UringFamily", testNetworkUringFamily},
		{"Unix", testNetworkUnix},
		{"Watched", testNetworkWatched},
		{"Passed", testNetworkPassed},
		{"DNS", testNetworkDNS},
		{"Running", testNetworkRunning},
		{"Borrowed", testNetworkBorrowed},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, &netRig{all.netLog, t}) })
	}
}

// acceptsByTask says that accept is seen with the task that calls it.
func (r *netRig) acceptsByTask() bool { return r.sensor.loader.attached["network_lsm/on_accept"] }

// hasHooks says that the security hooks are in use.
func (r *netRig) hasHooks() bool { return r.sensor.loader.family != probe.FamilySyscalls }

func (r *netRig) wantAccept(w wantNet) wantNet {
	if r.acceptsByTask() {
		w.head, w.flags = wire.FlagResult, w.flags&^wire.NetOwner
	} else {
		w.flags |= wire.NetOwner
	}
	return w
}

// testNetworkTCP follows connections from bind to close: over IPv4, IPv6, and IPv4 by a v4-mapped address.
func testNetworkTCP(t *testing.T, all *netRig) {
	tests := map[string]struct {
		family uint16
		addr   string
		// The address family of the connecting socket is another than that of the addresses.
		mapped wire.NetFlag
	}{
		"tcp4":       {v4, "127.0.0.1", 0},
		"tcp6":       {v6, "::1", 0},
		"tcp mapped": {v4, "127.0.0.1", wire.NetMapped},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := &netRig{all.netLog, t}
			c := r.container()
			d := c.deed(name)
			server, client := at(tt.addr, d.said["listen port"]), at(tt.addr, d.said["connect port"])
			base := wantNet{family: tt.family, kind: stream, protocol: tcp}

			w := base
			w.local, w.head = server, wire.FlagResult
			c.check(r.one(d.pid, wire.TypeBind), d.pid, w)

			w = base
			w.local, w.backlog = server, 7
			c.check(r.one(d.pid, wire.TypeListen), d.pid, w)

			w = base
			w.remote, w.flags = server, wire.NetOutbound|tt.mapped
			e := r.one(d.pid, wire.TypeConnect)
			c.check(e, d.pid, w)
			if e.Net().Cookie != uint64(d.said["cookie"]) {
				t.Errorf("cookie %d, want %d", e.Net().Cookie, d.said["cookie"])
			}

			w = base
			w.local, w.remote = server, client
			c.check(r.one(d.pid, wire.TypeAccept), d.pid, r.wantAccept(w))

			for _, e := range r.expect(d.pid, 2, wire.TypeFlow) {
				w = base
				w.flags = wire.NetOwner | wire.NetClosed
				w.local, w.remote, w.out, w.in = server, client, responseSize, requestSize
				if e.Net().LocalPort == client.Port() {
					w.local, w.remote, w.out, w.in = client, server, requestSize, responseSize
					w.flags |= wire.NetOutbound | tt.mapped
				}
				c.check(e, d.pid, w)
			}
			r.expect(d.pid, 0, wire.TypeSocket, wire.TypeSendto, wire.TypePassedSocket, wire.TypeDns)
		})
	}
}

// testNetworkRefused has a connection that does not come about: it is seen as it is tried, and is no flow.
func testNetworkRefused(t *testing.T, r *netRig) {
	c := r.container()
	d := c.deed("tcp refused")
	c.check(r.one(d.pid, wire.TypeConnect), d.pid, wantNet{
		family: v4, kind: stream, protocol: tcp, remote: at("127.0.0.1", d.said["free port"]), flags: wire.NetOutbound,
	})
	r.expect(d.pid, 0, wire.TypeFlow, wire.TypeAccept)
}

// testNetworkMPTCP follows a connection of several paths: each path is one of TCP's.
func testNetworkMPTCP(t *testing.T, r *netRig) {
	c := r.container()
	d := c.deed("mptcp")
	for _, e := range r.expect(d.pid, 1, wire.TypeConnect) {
		n := e.Net()
		if n.RemotePort != uint16(d.said["listen port"]) || address(n.Family, n.Remote).String() != "127.0.0.1" ||
			e.Head.Origin != c.id || n.Kind != stream {
			t.Errorf("%+v", n)
		}
	}
	c.check(r.one(d.pid, wire.TypeListen), d.pid, wantNet{
		family: v4, kind: stream, protocol: tcp, local: at("127.0.0.1", d.said["listen port"]), backlog: 7,
	})
	for _, e := range r.expect(d.pid, 2, wire.TypeFlow) {
		if n := e.Net(); n.BytesIn+n.BytesOut != requestSize+responseSize {
			t.Errorf("flow %+v", n)
		}
	}
}

func testNetworkFastOpen(t *testing.T, r *netRig) {
	c := r.container()
	d := c.deed("fast open")
	c.check(r.one(d.pid, wire.TypeConnect), d.pid, wantNet{
		family: v4, kind: stream, protocol: tcp, remote: at("127.0.0.1", d.said["listen port"]), flags: wire.NetOutbound,
	})
}

func testNetworkUring(t *testing.T, r *netRig) {
	c := r.container()
	d := c.deed("uring")
	e := r.one(d.pid, wire.TypeConnect)
	// Whether a worker did it depends on the kernel.
	c.check(e, d.pid, wantNet{
		family: v4, kind: stream, protocol: tcp, remote: at("127.0.0.1", d.said["listen port"]), flags: wire.NetOutbound,
		head: wire.Flag(e.Head.Flags) & wire.FlagUring,
	})
	for _, e := range r.expect(d.pid, 2, wire.TypeFlow) {
		n := e.Net()
		sent, received := n.BytesOut, n.BytesIn
		if int64(n.LocalPort) != d.said["connect port"] {
			sent, received = received, sent
		}
		if sent != uint64(len("by a ring")) || received != 0 {
			t.Errorf("flow %+v", n)
		}
	}
}

func testNetworkIA32(t *testing.T, r *netRig) {
	c := r.container()
	d := c.deed("ia32")
	pid := int(d.said["pid"])
	c.check(r.one(pid, wire.TypeConnect), pid, wantNet{
		family: v4, kind: stream, protocol: tcp, remote: at("127.0.0.1", d.said["listen port"]), flags: wire.NetOutbound,
		head: wire.FlagCompat,
	})
	c.check(r.one(pid, wire.TypeSocket), pid, r.wantFamily(unix.AF_PACKET, unix.SOCK_RAW, 0, 0, wire.FlagCompat))
}

// testNetworkUDPConnected sends over a connected socket and, from it, to another address.
func testNetworkUDPConnected(t *testing.T, r *netRig) {
	c := r.container()
	d := c.deed("udp connected")
	base := wantNet{family: v4, kind: dgrm, protocol: udp, flags: wire.NetOutbound}
	to := func(port string) netip.AddrPort { return at("127.0.0.1", d.said[port]) }

	w := base
	w.remote = to("a port")
	c.check(r.one(d.pid, wire.TypeConnect), d.pid, w)

	// By the client to the other server; what the first one sent was a reply.
	w = base
	w.local, w.remote = to("connect port"), to("b port")
	c.check(r.one(d.pid, wire.TypeSendto), d.pid, w)

	// The client's socket is closed: its flow with its first peer is over.
	w = base
	w.local, w.remote, w.out, w.in = to("connect port"), to("a port"), 300, 40
	w.flags |= wire.NetOwner | wire.NetClosed
	var closed []*event.Event
	for _, e := range r.of(d.pid, wire.TypeFlow) {
		if e.Net().LocalPort == w.local.Port() && e.Net().RemotePort == w.remote.Port() {
			closed = append(closed, e)
		}
	}
	if len(closed) != 1 {
		t.Fatalf("%d ends of the flow:%s", len(closed), r.list(d.pid))
	}
	c.check(closed[0], d.pid, w)
	if n := closed[0].Net(); n.PacketsOut != 3 || n.PacketsIn != 1 {
		t.Errorf("%d packets out and %d in, want 3 and 1", n.PacketsOut, n.PacketsIn)
	}
	// That with its second is in the map, until it has been idle.
	if err := r.sensor.ReportFlows(); err != nil {
		t.Fatal(err)
	}
	r.settle()
	for _, e := range r.of(d.pid, wire.TypeFlow) {
		if n := e.Net(); n.LocalPort == uint16(d.said["connect port"]) && n.RemotePort == uint16(d.said["b port"]) {
			w.remote, w.out, w.in, w.flags = to("b port"), 9, 0, base.flags|wire.NetOwner
			c.check(e, d.pid, w)
			return
		}
	}
	t.Errorf("no flow to the second peer:%s", r.list(d.pid))
}

// testNetworkUDPOthers sends without a connection: the first datagram to each address is reported, the rest counted.
func testNetworkUDPOthers(t *testing.T, r *netRig) {
	c := r.container()
	before := r.counted(wire.TypeSendto)
	d := c.deed("udp others")
	got := r.expect(d.pid, 2, wire.TypeSendto)
	for i, port := range []string{"a port", "b port"} {
		c.check(got[i], d.pid, wantNet{
			family: v4, kind: dgrm, protocol: udp, remote: at("127.0.0.1", d.said[port]), flags: wire.NetOutbound,
			local: at("0.0.0.0", d.said["send port"]),
		})
	}
	if n := r.counted(wire.TypeSendto) - before; n < 2 {
		t.Errorf("%d datagrams were counted, at least 2 were repeated", n)
	}
}

func (r *netRig) counted(typ wire.Type) uint64 {
	r.t.Helper()
	counted, err := r.sensor.Counted()
	if err != nil {
		r.t.Fatal(err)
	}
	return counted[typ]
}

func testNetworkUDPMapped(t *testing.T, r *netRig) {
	c := r.container()
	d := c.deed("udp mapped")
	c.check(r.one(d.pid, wire.TypeSendto), d.pid, wantNet{
		family: v4, kind: dgrm, protocol: udp, remote: at("127.0.0.1", d.said["a port"]), flags: wire.NetOutbound | wire.NetMapped,
		local: at("0.0.0.0", d.said["send port"]),
	})
}

// testNetworkBind binds three times, once in vain.
func testNetworkBind(t *testing.T, r *netRig) {
	c := r.container()
	d := c.deed("bind")
	got := r.expect(d.pid, 2, wire.TypeBind)
	c.check(got[0], d.pid, wantNet{family: v6, kind: stream, protocol: tcp, local: at("::1", d.said["tcp6 port"]), head: wire.FlagResult})
	c.check(got[1], d.pid, wantNet{family: v4, kind: dgrm, protocol: udp, local: at("127.0.0.1", d.said["udp port"]), head: wire.FlagResult})
	r.expect(d.pid, 0, wire.TypeListen, wire.TypeConnect)
}

// testNetworkSCTP uses a protocol that the address hooks of cgroups do not stand before.
func testNetworkSCTP(t *testing.T, r *netRig) {
	c := r.container()
	d := c.deed("sctp")
	for _, e := range r.expect(d.pid, 2, wire.TypeSocket) {
		c.check(e, d.pid, wantNet{family: v4, kind: stream, protocol: unix.IPPROTO_SCTP, head: wire.FlagResult})
	}
	if !r.hasHooks() {
		r.expect(d.pid, 0, wire.TypeConnect, wire.TypeBind)
		return
	}
	server := at("127.0.0.1", d.said["listen port"])
	e := r.one(d.pid, wire.TypeConnect)
	c.check(e, d.pid, wantNet{
		family: v4, kind: stream, protocol: unix.IPPROTO_SCTP, remote: server, flags: wire.NetOutbound,
		local: netip.AddrPortFrom(netip.IPv4Unspecified(), e.Net().LocalPort),
	})
	c.check(r.one(d.pid, wire.TypeBind), d.pid, wantNet{
		family: v4, kind: stream, protocol: unix.IPPROTO_SCTP, local: netip.AddrPortFrom(server.Addr(), 0),
	})
}

func testNetworkICMP(t *testing.T, r *netRig) {
	c := r.container()
	d := c.deed("icmp")
	c.check(r.one(d.pid, wire.TypeSocket), d.pid, wantNet{
		family: v4, kind: unix.SOCK_RAW, protocol: unix.IPPROTO_ICMP, head: wire.FlagResult | wire.FlagWatched, urgent: true,
	})
	// The request goes out, and both it and the reply come in, since loopback is both ends; an IPv4 raw socket sends
	// its own header only if asked to, so payload is what follows it.
	c.check(r.one(d.pid, wire.TypeFlow), d.pid, wantNet{
		family: v4, kind: unix.SOCK_RAW, protocol: unix.IPPROTO_ICMP, local: at("127.0.0.1", 0), remote: at("127.0.0.1", 0),
		flags: wire.NetOwner | wire.NetOutbound | wire.NetClosed, out: 100, in: 200,
	})
}

// wantFamily is a socket of another family, as the hook in use tells of it.
func (r *netRig) wantFamily(family, kind, protocol uint16, result int32, head wire.Flag) wantNet {
	w := wantNet{family: family, kind: kind, protocol: protocol, noCookie: true, head: head}
	if !r.hasHooks() {
		w.result = result
		w.head |= wire.FlagResult
	}
	if family != unix.AF_NETLINK {
		w.urgent = true
		w.head |= wire.FlagWatched
	}
	return w
}

// testNetworkFamilies makes a socket of each family, whether the kernel has it or not.
func testNetworkFamilies(t *testing.T, r *netRig) {
	c := r.container()
	d := c.deed("families")
	got := r.expect(d.pid, 6, wire.TypeSocket)
	wants := []struct {
		name                   string
		family, kind, protocol uint16
	}{
		{"packet", unix.AF_PACKET, unix.SOCK_RAW, 0x0300},
		{"alg", unix.AF_ALG, unix.SOCK_SEQPACKET, 0},
		{"vsock", unix.AF_VSOCK, stream, 0},
		{"xdp", unix.AF_XDP, unix.SOCK_RAW, 0},
		{"netlink", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT},
	}
	for i, w := range wants {
		want := r.wantFamily(w.family, w.kind, w.protocol, int32(d.said[w.name]), 0)
		if w.family == unix.AF_PACKET && !r.hasHooks() {
			// The kernel keeps the protocol of a packet socket elsewhere.
			want.protocol = got[i].Net().Protocol
		}
		c.check(got[i], d.pid, want)
	}
	c.check(got[5], d.pid, wantNet{
		family: v6, kind: unix.SOCK_RAW, protocol: udp, head: wire.FlagResult | wire.FlagWatched, urgent: true,
	})
}

// testNetworkNoPrivilege asks for sockets that the process may not have.
func testNetworkNoPrivilege(t *testing.T, r *netRig) {
	c := r.container()
	d := c.deed("no privilege")
	c.check(r.one(d.pid, wire.TypeSocket), d.pid, r.wantFamily(unix.AF_PACKET, unix.SOCK_RAW, unix.IPPROTO_ICMP, -int32(unix.EPERM), 0))
}

// testNetworkUringFamily makes a socket of another family without a system call of its own.
func testNetworkUringFamily(t *testing.T, r *netRig) {
	c := r.container()
	d := c.deed("uring family")
	for _, e := range r.of(d.pid, wire.TypeSocket) {
		if n := e.Net(); n.Family == unix.AF_PACKET {
			w := wantNet{
				family: unix.AF_PACKET, kind: unix.SOCK_RAW, noCookie: true, urgent: true, head: wire.FlagWatched,
			}
			w.head |= wire.Flag(e.Head.Flags) & wire.FlagUring
			c.check(e, d.pid, w)
			return
		}
	}
	if c := r.capability("socket"); !strings.Contains(c.Reason, unseenUringSocket) {
		t.Errorf("the socket is not seen, and the capability does not say so: %+v%s", c, r.list(d.pid))
	}
}

// testNetworkUnix connects to a path, to an abstract name, and to nobody.
func testNetworkUnix(t *testing.T, r *netRig) {
	c := r.container()
	d := c.deed("unix")
	got := r.expect(d.pid, 2, wire.TypeConnect)
	w := wantNet{family: unix.AF_UNIX, kind: stream, flags: wire.NetOutbound, noCookie: true}
	if !r.hasHooks() {
		w.head = wire.FlagResult
	}
	path := string(got[0].Text())
	if !strings.HasPrefix(path, os.TempDir()+"/unix") || !strings.HasSuffix(path, "/service.sock") || strings.Contains(path, "-link") {
		t.Errorf("path %q", path)
	}
	w.path = path
	c.check(got[0], d.pid, w)
	w.path = fmt.Sprintf("\x00abstract-%d", d.pid)
	c.check(got[1], d.pid, w)
}

// testNetworkWatched asks for nothing but what contacts watched addresses.
func testNetworkWatched(t *testing.T, r *netRig) {
	c := r.bareContainer()
	if err := r.sensor.SetInterest(c.id, Interest{Watched: Bit(netTypes...)}); err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{"169.254.169.254/32", "fd00:ec2::254/128"} {
		if err := r.sensor.WatchAddress(netip.MustParsePrefix(prefix)); err != nil {
			t.Fatal(err)
		}
	}
	before := r.counted(wire.TypeConnect)
	d := c.deed("metadata")
	got := r.expect(d.pid, 2, wire.TypeConnect)
	w := wantNet{
		family: v4, kind: dgrm, protocol: udp, remote: at("169.254.169.254", 80), flags: wire.NetOutbound,
		head: wire.FlagWatched, urgent: true,
	}
	c.check(got[0], d.pid, w)
	w.family, w.remote = v6, at("fd00:ec2::254", 80)
	c.check(got[1], d.pid, w)
	if n := r.counted(wire.TypeConnect) - before; n < 1 {
		t.Errorf("%d connections were counted, want the one that is not watched", n)
	}
	r.expect(d.pid, 0, wire.TypeSocket, wire.TypeFlow)
}

// testNetworkPassed passes two connected sockets to a process of another container, which sends from the one three
// times and a file to the other.
func testNetworkPassed(t *testing.T, r *netRig) {
	from, to := r.container(), r.container()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ends := []*os.File{os.NewFile(uintptr(pair[0]), "pass"), os.NewFile(uintptr(pair[1]), "take")}
	passing := from.begin("pass", ends[0])
	taking := to.begin("take", ends[1])
	ends[0].Close()
	ends[1].Close()
	taken, passed := taking.end(), passing.end()

	r.settle()
	r.expect(passed.pid, 0, wire.TypePassedSocket)
	w := wantNet{
		family: v4, kind: stream, protocol: tcp, remote: at("127.0.0.1", passed.said["listen port"]), head: wire.FlagWatched,
		urgent: true, socketCgroup: from.id, socketFrom: from.id,
	}
	got := r.of(taken.pid, wire.TypePassedSocket)
	c := r.capability("passed_socket")
	if c.See == probe.No && c.Reason != "" && len(got) == 0 {
		return
	}
	if len(got) == 0 {
		t.Fatalf("no passed socket is seen, though %+v:%s", c, r.list(taken.pid))
	}
	for i, out := range []uint64{uint64(len("stolen words")), 33}[:len(got)] {
		w.out, w.local = out, at("127.0.0.1", int64(got[i].Net().LocalPort))
		to.check(got[i], taken.pid, w)
	}
	if len(got) == 1 && c.Reason != unseenPassedSplice {
		t.Errorf("sendfile is not seen, and the capability does not say so: %+v%s", c, r.list(taken.pid))
	}
}
