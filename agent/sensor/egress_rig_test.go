// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// The subject that is every executable, and that of what these tests do: they run in the mounts of the host.
const (
	anyExe  = uint64(0)
	subject = uint64(1)
)

// policyIDs numbers the policies of a test binary.
var policyIDs atomic.Uint32

// testPolicy is a policy of a container, written into the maps as an agent does.
type testPolicy struct {
	*testContainer
	is  wire.Policy
	key wire.HashKey
}

// modes are modes by signal.
type modes map[wire.Signal]wire.Mode

// under makes a container that nothing is asked of but what its policy does not allow. The policy lists what all deeds
// need: the socket by which they set their loopback up, and listening on ports that the kernel chooses.
func (r *netRig) under(m modes) *testPolicy {
	r.t.Helper()
	p := &testPolicy{testContainer: r.bareContainer()}
	if err := r.sensor.SetInterest(p.id, Interest{}); err != nil {
		r.t.Fatal(err)
	}
	p.is = wire.Policy{Id: policyIDs.Add(1), Generation: 1}
	p.set(m)
	maps := r.sensor.Policies()
	p.put(maps.Tally, p.is.Id, wire.Tally{})
	if err := maps.HashKey.Lookup(uint32(0), &p.key); err != nil {
		r.t.Fatal(err)
	}
	p.allow(wire.AllowSocket, anyExe, unix.AF_NETLINK<<16|unix.SOCK_RAW)
	p.allow(wire.AllowListen, anyExe, unix.IPPROTO_TCP<<16)
	return p
}

// set changes the modes.
func (p *testPolicy) set(m modes) {
	p.rig.t.Helper()
	p.is.Mode = [8]uint8{}
	for signal, mode := range m {
		p.is.Mode[signal] = uint8(mode)
	}
	p.put(p.rig.sensor.Policies().ByContainer, p.id, p.is)
}

func (p *testPolicy) put(m *ebpf.Map, key, value any) {
	p.rig.t.Helper()
	if err := m.Put(key, value); err != nil {
		p.rig.t.Fatal(err)
	}
}

// allow lists something.
func (p *testPolicy) allow(class wire.AllowClass, subject uint64, object ...uint64) {
	p.rig.t.Helper()
	key := wire.AllowKey{Policy: p.is.Id, Class: uint32(class), Subject: subject}
	copy(key.Object[:], object)
	p.put(p.rig.sensor.Policies().Allow, key, wire.Allow{Now: 1})
}

// forget takes out what was listed.
func (p *testPolicy) forget(class wire.AllowClass, subject uint64, object ...uint64) {
	p.rig.t.Helper()
	key := wire.AllowKey{Policy: p.is.Id, Class: uint32(class), Subject: subject}
	copy(key.Object[:], object)
	if err := p.rig.sensor.Policies().Allow.Delete(key); err != nil {
		p.rig.t.Fatal(err)
	}
}

// contact lists a prefix.
func (p *testPolicy) contact(prefix string, subject uint64, protocol uint8, port uint16) {
	p.rig.t.Helper()
	at := netip.MustParsePrefix(prefix)
	key := wire.EgressKey{
		Bits: 128 + uint32(at.Bits()), Policy: p.is.Id, Subject: subject, Port: port, Protocol: protocol, Addr: at.Addr().As16(),
	}
	if at.Addr().Is4() {
		key.Bits += 96
	}
	bits := wire.MayContact
	if at.IsSingleIP() {
		bits |= wire.MayContactOne
	}
	p.put(p.rig.sensor.Policies().Egress, key, wire.Allow{Now: uint16(bits)})
}

// named lists a name, or those below one, and contact with what it stands for.
func (p *testPolicy) named(name string, class wire.AllowClass) {
	hash := nhOf(&p.key, []byte(name))
	p.allow(class, anyExe, hash[0], hash[1])
	contact := hash[0]
	if class == wire.AllowNameBelow {
		contact = ^contact
	}
	p.allow(wire.AllowNameContact, anyExe, contact, 0)
}

// resolverObject is the deeds' resolver as the object of an entry.
func resolverObject() []uint64 {
	bytes := netip.MustParseAddr(resolverAddr).As16()
	return []uint64{binary.NativeEndian.Uint64(bytes[:]), binary.NativeEndian.Uint64(bytes[8:])}
}

// resolver lists a resolver and that it may be asked.
func (p *testPolicy) resolver(addr string) {
	p.allow(wire.AllowResolver, anyExe, resolverObject()...)
	prefix := netip.PrefixFrom(netip.MustParseAddr(addr), netip.MustParseAddr(addr).BitLen()).String()
	p.contact(prefix, anyExe, unix.IPPROTO_UDP, 53)
	p.contact(prefix, anyExe, unix.IPPROTO_TCP, 53)
}

func (p *testPolicy) tally() wire.Tally {
	p.rig.t.Helper()
	var t wire.Tally
	if err := p.rig.sensor.Policies().Tally.Lookup(p.is.Id, &t); err != nil {
		p.rig.t.Fatal(err)
	}
	return t
}

// verdicts are the flags of a policy.
const verdicts = wire.FlagLearn | wire.FlagWouldBlock | wire.FlagBlocked | wire.FlagKilled

// told checks that the event says what the mode makes of a deed that is not listed.
func (p *testPolicy) told(e *event.Event, flag wire.Flag, signal wire.Signal, reason wire.Reason) {
	p.rig.t.Helper()
	h := e.Head
	got := fmt.Sprint(wire.Flag(h.Flags)&verdicts, h.Signal, h.Reason, h.Origin, h.Ring)
	ring := 0
	if flag == wire.FlagLearn {
		ring = 1
	}
	if want := fmt.Sprint(flag, signal, reason, p.id, ring); got != want {
		p.rig.t.Errorf("%s: flag, signal, reason, container, ring %s, want %s", event.Name(e.Type), got, want)
	}
}

// flagOf is the flag that a mode gives what is not listed.
func flagOf(mode wire.Mode) wire.Flag {
	switch mode {
	case wire.ModeLearn:
		return wire.FlagLearn
	case wire.ModeMonitor:
		return wire.FlagWouldBlock
	case wire.ModeEnforce:
		return wire.FlagBlocked
	default:
		return 0
	}
}

// endures runs a deed that may be killed, and gives its process and whether it was.
func (c *testContainer) endures(name string) (pid int, killed bool) {
	c.rig.t.Helper()
	d := c.begin(name)
	defer d.out.Close()
	err := d.cmd.Wait()
	if err == nil {
		return d.cmd.Process.Pid, false
	}
	status, ok := d.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != unix.SIGKILL {
		c.rig.t.Fatalf("%v: %s", err, d.err)
	}
	return d.cmd.Process.Pid, true
}

// holdDeed begins a deed that waits on descriptor 4 when it is ready.
func (c *testContainer) holdDeed(name string) *held {
	t := c.rig.t
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	far := os.NewFile(uintptr(pair[1]), "far")
	defer far.Close()
	h := &held{rig: c.rig, line: os.NewFile(uintptr(pair[0]), "near")}
	h.doing = c.begin(name, far)
	h.await()
	return h
}

// passTo has a container of its own pass a socket to the container, and gives the process that took it and whether it
// could send from it.
func (r *netRig) passTo(to *testContainer) (pid int, sent bool) {
	r.t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	ends := []*os.File{os.NewFile(uintptr(pair[0]), "pass"), os.NewFile(uintptr(pair[1]), "take")}
	passing := r.bareContainer().begin("pass one", ends[0])
	taking := to.begin("take one", ends[1])
	ends[0].Close()
	ends[1].Close()
	taken := taking.end()
	passing.end()
	return taken.pid, taken.said["errno"] == 0
}

// TestEgress runs all tests of what a policy says about the network on one sensor.
func TestEgress(t *testing.T) {
	all := startNetRig(t, Config{})
	for _, tt := range []struct {
		name string
		test func(*testing.T, *netRig)
	}{
		{"Contacts", testEgressContacts},
		{"Executables", testEgressExecutables},
		{"Routes", testEgressRoutes},
		{"Metadata", testEgressMetadata},
		{"Listen", testEgressListen},
		{"ListenMultipath", testEgressListenMultipath},
		{"Sockets", testEgressSockets},
		{"Passed", testEgressPassed},
		{"Questions", testEgressQuestions},
		{"Answers", testEgressAnswers},
		{"Names", testEgressNames},
		{"Forged", testEgressForged},
		{"Crowd", testEgressCrowd},
		{"Expired", testEgressExpired},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, &netRig{all.netLog, t}) })
	}
}

// addresses gives the deeds' own machine more of them: all of 10.0.0.0/8, and fd00:9::1 and 2.
func addresses() error {
	for _, text := range []string{"10.9.0.1/8", "fd00:9::2/128", "fd00:9::1/128"} {
		if err := addAddress(netip.MustParsePrefix(text)); err != nil {
			return fmt.Errorf("address %s: %w", text, err)
		}
	}
	return nil
}

// routed waits until there is a way to the address and back: until somebody there refuses a connection.
func routed(addr string) error {
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		fd, err := unix.Socket(family(addr), unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		err = unix.Connect(fd, sockaddr(addr, 9))
		unix.Close(fd)
		if errors.Is(err, unix.ECONNREFUSED) {
			return nil
		}
		if time.Since(began) > 5*time.Second {
			return fmt.Errorf("no way to %s: %w", addr, err)
		}
	}
}

// addAddress gives interface 1 an address, by RTM_NEWADDR.
func addAddress(prefix netip.Prefix) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	addr := prefix.Addr().AsSlice()
	size := 24 + 2*(4+len(addr))
	msg := make([]byte, size)
	binary.NativeEndian.PutUint32(msg, uint32(size))
	binary.NativeEndian.PutUint16(msg[4:], unix.RTM_NEWADDR)
	binary.NativeEndian.PutUint16(msg[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE)
	msg[16], msg[17], msg[18] = unix.AF_INET, byte(prefix.Bits()), unix.IFA_F_NODAD
	if !prefix.Addr().Is4() {
		msg[16] = unix.AF_INET6
	}
	binary.NativeEndian.PutUint32(msg[20:], 1)
	for i, kind := range []uint16{unix.IFA_LOCAL, unix.IFA_ADDRESS} {
		at := msg[24+i*(4+len(addr)):]
		binary.NativeEndian.PutUint16(at, uint16(4+len(addr)))
		binary.NativeEndian.PutUint16(at[2:], kind)
		copy(at[4:], addr)
	}
	if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 512)
	if _, _, err := unix.Recvfrom(fd, answer, 0); err != nil {
		return err
	}
	if code := int32(binary.NativeEndian.Uint32(answer[16:])); code != 0 {
		return os.NewSyscallError("RTM_NEWADDR", unix.Errno(-code))
	}
	return nil
}
