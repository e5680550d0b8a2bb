// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/event"
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
