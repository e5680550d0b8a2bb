// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// held is a process that holds connections open (deedHold).
type held struct {
	*doing
	rig  *netRig
	line *os.File
}

func (c *testContainer) hold() *held {
	t := c.rig.t
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	far := os.NewFile(uintptr(pair[1]), "far")
	defer far.Close()
	h := &held{rig: c.rig, line: os.NewFile(uintptr(pair[0]), "near")}
	h.doing = c.begin("hold", far)
	h.await()
	return h
}

// await waits until the process has done what it was told.
func (h *held) await() {
	h.rig.t.Helper()
	if _, err := h.line.Read(make([]byte, 1)); err != nil {
		h.rig.t.Fatalf("the process that holds connections: %v: %s", err, h.err)
	}
}

// send has it send more.
func (h *held) send() {
	h.rig.t.Helper()
	if _, err := h.line.Write([]byte{1}); err != nil {
		h.rig.t.Fatal(err)
	}
	h.await()
}

// finish ends it.
func (h *held) finish() did {
	h.line.Close()
	return h.end()
}

// report has the running flows reported and gives those of the process that came, by their local port.
func (r *netRig) report(pid int) map[uint16]*event.Event {
	r.t.Helper()
	r.settle()
	before := len(r.of(pid, wire.TypeFlow))
	if err := r.sensor.ReportFlows(); err != nil {
		r.t.Fatal(err)
	}
	r.settle()
	flows := map[uint16]*event.Event{}
	for _, e := range r.of(pid, wire.TypeFlow)[before:] {
		flows[e.Net().LocalPort] = e
	}
	return flows
}

// testNetworkRunning has flows reported while they run: when something came, with their totals.
func testNetworkRunning(t *testing.T, r *netRig) {
	c := r.container()
	h := c.hold()
	pid := h.cmd.Process.Pid
	first := r.report(pid)
	if again := r.report(pid); len(again) != 0 {
		t.Errorf("%d flows are reported without need", len(again))
	}
	h.send()
	second := r.report(pid)
	d := h.finish()

	server, client := at("127.0.0.1", d.said["listen port"]), at("127.0.0.1", d.said["connect port"])
	udpServer, udpClient := at("127.0.0.1", d.said["udp port"]), at("127.0.0.1", d.said["udp client port"])
	if len(first) != 2 || len(second) != 4 {
		t.Fatalf("%d and %d flows, want 2 and 4:%s", len(first), len(second), r.list(pid))
	}
	out := wantNet{family: v4, kind: stream, protocol: tcp, local: client, remote: server, out: 1000}
	out.flags = wire.NetOwner | wire.NetOutbound
	in := wantNet{family: v4, kind: stream, protocol: tcp, local: server, remote: client, in: 1000, flags: wire.NetOwner}
	c.check(first[client.Port()], pid, out)
	c.check(first[server.Port()], pid, in)
	out.out, in.in = 1500, 1500
	c.check(second[client.Port()], pid, out)
	c.check(second[server.Port()], pid, in)
	out = wantNet{family: v4, kind: dgrm, protocol: udp, local: udpClient, remote: udpServer, out: 100}
	out.flags = wire.NetOwner | wire.NetOutbound
	in = wantNet{family: v4, kind: dgrm, protocol: udp, local: udpServer, remote: udpClient, in: 100, flags: wire.NetOwner}
	c.check(second[udpClient.Port()], pid, out)
	c.check(second[udpServer.Port()], pid, in)

	closed := 0
	for _, e := range r.expect(pid, 2+4+4, wire.TypeFlow) {
		if wire.NetFlag(e.Net().NetFlags)&wire.NetClosed != 0 {
			closed++
		}
	}
	if closed != 4 {
		t.Errorf("%d flows have ended, want 4:%s", closed, r.list(pid))
	}
}

// TestNetworkExisting starts the sensor when connections are there already: they have their owner from the start.
func TestNetworkExisting(t *testing.T) {
	r := newNetRig(t)
	c := r.bareContainer()
	h := c.hold()
	pid := h.cmd.Process.Pid
	r.start(Config{}, func() error {
		if err := r.sensor.SetInterest(c.id, Interest{All: Bit(netTypes...)}); err != nil {
			return err
		}
		return r.sensor.PlaceCgroup(c.id, c.id)
	})
	h.send()
	flows := r.report(pid)
	d := h.finish()
	if strings.Contains(r.capability("flow").Reason, unseenFlowOwner) {
		if len(flows) != 0 {
			t.Errorf("%d flows are seen, though the capability says they are not", len(flows))
		}
		return
	}
	server, client := at("127.0.0.1", d.said["listen port"]), at("127.0.0.1", d.said["connect port"])
	if len(flows) != 4 {
		t.Fatalf("%d flows, want 4:%s", len(flows), r.list(pid))
	}
	// Who began it, the sensor was not there to see.
	c.check(flows[client.Port()], pid, wantNet{
		family: v4, kind: stream, protocol: tcp, local: client, remote: server, out: 1500, flags: wire.NetOwner,
		noCookie: flows[client.Port()].Net().Cookie == 0,
	})
	udpServer, udpClient := at("127.0.0.1", d.said["udp port"]), at("127.0.0.1", d.said["udp client port"])
	c.check(flows[udpClient.Port()], pid, wantNet{
		family: v4, kind: dgrm, protocol: udp, local: udpClient, remote: udpServer, out: 100, flags: wire.NetOwner | wire.NetOutbound,
	})
}

// TestNetworkFlowsFull has more flows than there is room for: the contacts are reported all the same, and that flows are
// missing is counted.
func TestNetworkFlowsFull(t *testing.T) {
	r := startNetRig(t, Config{MaxFlows: 1})
	r.fails = wire.CounterFlowMapFull
	c := r.container()
	d := c.deed("udp many")
	r.expect(d.pid, 5, wire.TypeSendto)
}

// testNetworkBorrowed has one process listen and another accept, as servers with several workers do.
func testNetworkBorrowed(t *testing.T, r *netRig) {
	c := r.container()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ends := []*os.File{os.NewFile(uintptr(pair[0]), "lend"), os.NewFile(uintptr(pair[1]), "borrow")}
	lending, borrowing := c.begin("lend", ends[0]), c.begin("borrow", ends[1])
	ends[0].Close()
	ends[1].Close()
	borrowed, lent := borrowing.end(), lending.end()

	owner := lent.pid
	if r.acceptsByTask() {
		owner = borrowed.pid
	}
	server, client := at("127.0.0.1", lent.said["listen port"]), at("127.0.0.1", lent.said["connect port"])
	w := wantNet{family: v4, kind: stream, protocol: tcp, local: server, remote: client}
	c.check(r.one(owner, wire.TypeAccept), owner, r.wantAccept(w))
	// The accepted end is the acceptor's from then on, where its storage can be written from the hook.
	if r.sensor.loader.family != probe.FamilyLSM {
		owner = lent.pid
	}
	for _, e := range r.of(owner, wire.TypeFlow) {
		if e.Net().LocalPort == server.Port() {
			w.flags, w.in = wire.NetOwner|wire.NetClosed, 700
			c.check(e, owner, w)
			return
		}
	}
	t.Errorf("no flow of the accepted end:%s%s", r.list(lent.pid), r.list(borrowed.pid))
}

// deedLend listens, gives the listener away, and connects to it. Descriptor 4 is a UNIX socket to who accepts.
func deedLend(s say) error {
	l, err := bound(s, "listen", "127.0.0.1", unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Listen(l, 1); err != nil {
		return err
	}
	if err := unix.Sendmsg(4, []byte{1}, unix.UnixRights(l), nil, 0); err != nil {
		return err
	}
	if err := unix.Close(l); err != nil {
		return err
	}
	c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(c, sockaddr("127.0.0.1", s["listen port"])); err != nil {
		return err
	}
	if s["connect port"], err = portOf(c); err != nil {
		return err
	}
	if _, err := unix.Write(c, make([]byte, 700)); err != nil {
		return err
	}
	if err := unix.Close(c); err != nil {
		return err
	}
	// Until the other has read all and closed its end.
	_, err = unix.Read(4, make([]byte, 1))
	return err
}

func deedBorrow(say) error {
	fds, err := received(4)
	if err != nil {
		return err
	}
	a, _, err := unix.Accept(fds[0])
	if err != nil {
		return err
	}
	buf := make([]byte, 1000)
	for {
		n, err := unix.Read(a, buf)
		if err != nil {
			return err
		}
		if n == 0 {
			return unix.Close(a)
		}
	}
}

// deedHold keeps a connection of each kind open. Descriptor 4 is a UNIX socket to the test: a byte goes back for one that
// comes, when more has been sent; its end is the end.
func deedHold(s say) error {
	l, err := bound(s, "listen", "127.0.0.1", unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Listen(l, 1); err != nil {
		return err
	}
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
	if s["connect port"], err = portOf(c); err != nil {
		return err
	}
	if _, err := bound(s, "udp", "127.0.0.1", unix.SOCK_DGRAM, 0); err != nil {
		return err
	}
	u, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(u, sockaddr("127.0.0.1", s["udp port"])); err != nil {
		return err
	}
	if s["udp client port"], err = portOf(u); err != nil {
		return err
	}
	if err := pump(c, a, 1000); err != nil {
		return err
	}
	buf := []byte{1}
	for {
		if _, err := unix.Write(4, buf); err != nil {
			return err
		}
		if n, err := unix.Read(4, buf); n == 0 || err != nil {
			return err
		}
		if err := pump(c, a, 500); err != nil {
			return err
		}
		if _, err := unix.Write(u, make([]byte, 100)); err != nil {
			return err
		}
	}
}

// deedUDPMany sends from one socket to five.
func deedUDPMany(s say) error {
	c, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	for i := range 5 {
		name := fmt.Sprintf("port %d", i)
		if _, err := bound(s, name, "127.0.0.1", unix.SOCK_DGRAM, 0); err != nil {
			return err
		}
		if err := unix.Sendto(c, make([]byte, 10), 0, sockaddr("127.0.0.1", s[name+" port"])); err != nil {
			return err
		}
	}
	return nil
}
