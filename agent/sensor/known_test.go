// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// knownTimes is how often each deed is done; a machine that counts instructions or emulates them does fewer.
func knownTimes() int {
	if os.Getenv("HOLDFAST_VM") != "" {
		return 2000
	}
	return 50000
}

// Where the known deeds send to: a port that nobody has, of a listed address of their own machine.
const (
	knownAddr = "10.9.0.1"
	knownPort = 4713
)

// actKnown does what its policy lists, again and again.
func actKnown(s say) error {
	if err := loopbackUp(); err != nil {
		return err
	}
	if err := addAddress(netip.MustParsePrefix(knownAddr + "/8")); err != nil {
		return err
	}
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(unix.Bind(listener, sockaddr("0.0.0.0", knownPort)), unix.Listen(listener, 8)); err != nil {
		return err
	}
	datagrams, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	for n := range knownTimes() {
		if err := errors.Join(knownOpens(n), knownContacts(n, listener, datagrams)); err != nil {
			return err
		}
	}
	s["done"] = int64(knownTimes())
	return nil
}

// knownOpens reads a file that nobody asks about and one that is protected, and now and then writes one.
func knownOpens(n int) error {
	paths, flags := []string{"/data/there", "/etc/listed"}, unix.O_RDONLY
	if n%10 == 0 {
		paths, flags = []string{"/data/own/here"}, unix.O_WRONLY|unix.O_TRUNC
	}
	for _, path := range paths {
		fd, err := unix.Open(path, flags, 0)
		if err != nil {
			return err
		}
		if err := unix.Close(fd); err != nil {
			return err
		}
	}
	return nil
}

// knownContacts sends a datagram, connects a socket of datagrams and, now and then, one of TCP.
func knownContacts(n, listener, datagrams int) error {
	// Nobody has the port for datagrams, and the socket is told so once in a while.
	if err := unix.Sendto(datagrams, word, 0, sockaddr(knownAddr, knownPort)); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
		return err
	}
	kind := unix.SOCK_DGRAM
	if n%20 == 0 {
		kind = unix.SOCK_STREAM
	}
	fd, err := unix.Socket(unix.AF_INET, kind, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(fd, sockaddr(knownAddr, knownPort)); err != nil || kind == unix.SOCK_DGRAM {
		return errors.Join(err, unix.Close(fd))
	}
	accepted, _, err := unix.Accept(listener)
	if err != nil {
		return err
	}
	return errors.Join(unix.Close(fd), unix.Close(accepted))
}

// testKnown holds a container to a policy that lists all that it does, asks for what rules ask for, and wants nothing of it
// to come out of the kernel but the life of its process, while all of it is counted.
func testKnown(t *testing.T, r *rig) {
	must(t, r.sensor.WatchName("listed", wire.WatchRead|wire.WatchProtect))
	t.Cleanup(func() { must(t, r.sensor.UnwatchName("listed")) })
	h := newHouse(t, r, newImage(t), 353)
	h.furnish(t)
	h.runs(t, "/deed")
	must(t, r.sensor.SetInterest(h.id, Interest{Watched: Bit(wire.TypeCreate, wire.TypeConnect, wire.TypeSendto, wire.TypeSocket)}))
	h.list(t, wire.AllowSocket, "", [2]uint64{unix.AF_NETLINK<<16 | unix.SOCK_RAW}, 1)
	h.list(t, wire.AllowListen, "", [2]uint64{unix.IPPROTO_TCP<<16 | knownPort}, 1)
	for _, protocol := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		key := wire.EgressKey{
			Bits: 256, Policy: h.policy.Id, Subject: h.subject("/deed"), Protocol: protocol, Port: knownPort,
			Addr: netip.MustParseAddr(knownAddr).As16(),
		}
		must(t, r.sensor.Policies().Egress.Put(key, wire.Allow{Since: h.policy.Generation, Now: uint16(wire.MayContact)}))
	}
	h.hold(t, map[wire.Signal]wire.Mode{
		wire.SignalProcess: wire.ModeEnforce, wire.SignalFile: wire.ModeEnforce, wire.SignalEgress: wire.ModeEnforce,
		wire.SignalProtect: wire.ModeEnforce,
	})
	d := h.act(t, "known", "/", h.inside, func(cmd *exec.Cmd) { cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWNET })
	if d.said["done"] != int64(knownTimes()) {
		t.Fatalf("done %d times", d.said["done"])
	}
	life := []wire.Type{wire.TypeTask, wire.TypeFork, wire.TypeExec, wire.TypeExit}
	fits := func(e *event.Event) bool { return e.Head.Origin == h.id }
	for _, e := range r.settled(t, fits) {
		known := false
		for _, class := range life {
			known = known || e.Type == class
		}
		if !known {
			t.Errorf("came out of the kernel: %s, signal %d, reason %d", event.Name(e.Type), e.Head.Signal, e.Head.Reason)
		}
	}
	if n := len(r.Find(fits)); n > 10 {
		t.Errorf("%d events of one process", n)
	}
	var tally wire.Tally
	must(t, r.sensor.Policies().Tally.Lookup(h.policy.Id, &tally))
	// Each round sends and connects.
	if got, want := tally.Known[wire.SignalEgress], uint64(2*knownTimes()); got < want {
		t.Errorf("%d known contacts are counted, want %d", got, want)
	}
	for signal, n := range tally.Blocked {
		if n+tally.WouldBlock[signal] > 0 {
			t.Errorf("signal %d: %d refused", signal, n)
		}
	}
}
