// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// netTypes are the classes that these tests ask for.
var netTypes = []wire.Type{
	wire.TypeConnect, wire.TypeSendto, wire.TypeBind, wire.TypeListen, wire.TypeAccept, wire.TypeSocket, wire.TypeDns,
	wire.TypeFlow, wire.TypePassedSocket,
}

// netLog is a sensor and what it saw.
type netLog struct {
	sensor *Sensor
	root   string

	// fails is what is expected to go wrong in the kernel; 0, the urgent ring, stands for nothing.
	fails wire.Counter

	mu   sync.Mutex
	more chan struct{}
	all  []*event.Event
}

// netRig is a test's view of it. Nothing is asked for but the network events of the containers that the test makes.
type netRig struct {
	*netLog
	t *testing.T
}

// newNetRig is a rig whose sensor is not there yet.
func newNetRig(t *testing.T) *netRig {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	return &netRig{t: t, netLog: &netLog{root: cgroupRoot(t), more: make(chan struct{}, 1)}}
}

// startNetRig starts a sensor for the length of a test and those within it: loading the programs is what takes time.
func startNetRig(t *testing.T, cfg Config) *netRig {
	t.Helper()
	r := newNetRig(t)
	r.start(cfg, func() error { return nil })
	return r
}

func (r *netRig) start(cfg Config, seed func() error) {
	t := r.t
	t.Helper()
	kernel, err := probe.Run()
	if err != nil {
		t.Fatal(err)
	}
	cfg.CgroupRoot = r.root
	r.sensor, err = New(cfg, kernel)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.sensor.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := r.sensor.Start(seed); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.sensor.Run(ctx, r) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for _, c := range []wire.Counter{
			wire.CounterRingUrgentFull, wire.CounterRingBulkFull, wire.CounterScratchBusy, wire.CounterSocketMapFull,
			wire.CounterFlowMapFull, wire.CounterPacketRead,
		} {
			if n := r.counters()[c]; n > 0 != (c == r.fails && c > 0) {
				t.Errorf("counter %d of what went wrong in the kernel is %d", c, n)
			}
		}
	})
}

func (r *netRig) counters() map[wire.Counter]uint64 {
	counters, err := r.sensor.Counters()
	if err != nil {
		r.t.Fatal(err)
	}
	return counters
}

func cgroupRoot(t *testing.T) string {
	t.Helper()
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		if err := unix.Statfs(dir, &fs); err == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir
		}
	}
	t.Fatal("no cgroup2 is mounted")
	return ""
}

// Settle implements Handler.
func (r *netRig) Settle() {}

// Record implements Handler: it keeps a copy.
func (r *netRig) Record(raw []byte) {
	var e event.Event
	// Through words, since records are viewed in place.
	words := make([]uint64, (len(raw)+7)/8)
	own := bytesOf(words)[:len(raw)]
	copy(own, raw)
	if err := e.Decode(own); err != nil {
		r.t.Errorf("decode: %v", err)
		return
	}
	r.mu.Lock()
	r.all = append(r.all, &e)
	r.mu.Unlock()
	select {
	case r.more <- struct{}{}:
	default:
	}
}

// container is a cgroup that the kernel side takes for a container's.
type testContainer struct {
	rig  *netRig
	dir  *os.File
	id   uint64
	name string
}

// container makes one whose network events are all asked for.
func (r *netRig) container() *testContainer {
	c := r.bareContainer()
	if err := r.sensor.SetInterest(c.id, Interest{All: Bit(netTypes...)}); err != nil {
		r.t.Fatal(err)
	}
	return c
}

// bareContainer makes one that nothing is asked of.
func (r *netRig) bareContainer() *testContainer {
	r.t.Helper()
	var random [32]byte
	f, err := os.Open("/dev/urandom")
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.ReadFull(f, random[:]); err != nil {
		r.t.Fatal(err)
	}
	path := filepath.Join(r.root, hex.EncodeToString(random[:]))
	if err := os.Mkdir(path, 0o755); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := os.Remove(path); err != nil {
			r.t.Error(err)
		}
	})
	dir, err := os.Open(path)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { dir.Close() })
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		r.t.Fatal(err)
	}
	return &testContainer{rig: r, dir: dir, id: st.Ino, name: filepath.Base(path)}
}

// did is a process that performed a deed, and what it said of it.
type did struct {
	pid  int
	said map[string]int64
}

// deed runs a deed of network_deeds_test.go in a process of the container, in a network namespace of its own with only
// loopback up, to its end. Files are given to it from descriptor 4 on.
func (c *testContainer) deed(name string, files ...*os.File) did {
	c.rig.t.Helper()
	d := c.begin(name, files...)
	return d.end()
}

type doing struct {
	rig *netRig
	cmd *exec.Cmd
	out *os.File
	err *bytes.Buffer
}

func (c *testContainer) begin(name string, files ...*os.File) *doing {
	return c.beginIn(0, name, files...)
}

// beginIn is begin with further namespaces, CLONE_NEW*.
func (c *testContainer) beginIn(spaces uintptr, name string, files ...*os.File) *doing {
	t := c.rig.t
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	d := &doing{rig: c.rig, out: r, err: &bytes.Buffer{}, cmd: exec.Command("/proc/self/exe", "-test.run=^TestNetworkDeed$")}
	d.cmd.Env = append(os.Environ(), "HOLDFAST_DEED="+name)
	d.cmd.ExtraFiles = append([]*os.File{w}, files...)
	d.cmd.Stderr = d.err
	d.cmd.Stdout = d.err
	d.cmd.SysProcAttr = &unix.SysProcAttr{
		UseCgroupFD: true, CgroupFD: int(c.dir.Fd()), Cloneflags: unix.CLONE_NEWNET | spaces,
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return d
}

// end waits for the process and gives what it said.
func (d *doing) end() did {
	t := d.rig.t
	t.Helper()
	defer d.out.Close()
	result := did{pid: d.cmd.Process.Pid, said: map[string]int64{}}
	decodeErr := json.NewDecoder(d.out).Decode(&result.said)
	if err := d.cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, d.err)
	}
	if decodeErr != nil {
		t.Fatalf("what the process said: %v", decodeErr)
	}
	if feature := d.err.String(); strings.Contains(feature, "unsupported: ") {
		t.Skip(feature[strings.Index(feature, "unsupported: "):strings.Index(feature, "\n")])
	}
	return result
}

// of gives the network events of a process so far, in the order of time, but for the socket by which every deed sets its
// loopback up.
func (r *netRig) of(pid int, types ...wire.Type) []*event.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []*event.Event
	for _, e := range r.all {
		n := e.Net()
		if n != nil && n.Family == unix.AF_NETLINK && n.Protocol == unix.NETLINK_ROUTE {
			continue
		}
		if int(e.Head.Tgid) == pid && slices.Contains(types, e.Type) {
			found = append(found, e)
		}
	}
	return found
}

// expect waits until so many events of the types have come of the process, then for those that should not come: what
// happened before a mark that is sent after them.
func (r *netRig) expect(pid, n int, types ...wire.Type) []*event.Event {
	r.t.Helper()
	deadline := time.After(5 * time.Second)
	for waiting := true; waiting && len(r.of(pid, types...)) < n; {
		select {
		case <-r.more:
		case <-deadline:
			waiting = false
		}
	}
	r.settle()
	got := r.of(pid, types...)
	if len(got) != n {
		r.t.Fatalf("%d events, want %d:%s", len(got), n, r.list(pid))
	}
	return got
}

// one is expect for a single event.
func (r *netRig) one(pid int, typ wire.Type) *event.Event {
	r.t.Helper()
	return r.expect(pid, 1, typ)[0]
}

// settle waits until all that happened before it has come: until an event that it brings about itself has.
func (r *netRig) settle() {
	r.t.Helper()
	before := len(r.of(os.Getpid(), wire.TypeCgroupMkdir))
	path := filepath.Join(r.root, fmt.Sprintf("settle-%d-%d", os.Getpid(), time.Now().UnixNano()))
	if err := os.Mkdir(path, 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		r.t.Fatal(err)
	}
	deadline := time.After(10 * time.Second)
	for len(r.of(os.Getpid(), wire.TypeCgroupMkdir)) == before {
		select {
		case <-r.more:
		case <-deadline:
			r.t.Fatal("the sensor's own event did not come")
		}
	}
}

// list shows what came of a process.
func (r *netRig) list(pid int) string {
	var text strings.Builder
	for _, e := range r.of(pid, append(netTypes, wire.TypeFork, wire.TypeExec, wire.TypeExit)...) {
		fmt.Fprintf(&text, "\n\t%s", event.Name(e.Type))
		if n := e.Net(); n != nil {
			fmt.Fprintf(&text, " %s:%d -> %s:%d kind %d protocol %d flags %#x out %d in %d", address(n.Family, n.Local), n.LocalPort,
				address(n.Family, n.Remote), n.RemotePort, n.Kind, n.Protocol, n.NetFlags, n.BytesOut, n.BytesIn)
		}
	}
	return text.String()
}

func address(family uint16, bytes [16]byte) netip.Addr {
	if family == unix.AF_INET {
		return netip.AddrFrom4([4]byte(bytes[:4]))
	}
	return netip.AddrFrom16(bytes)
}

// wantNet is what a test says of a network event; the rest of the record is compared by check.
type wantNet struct {
	family, kind, protocol   uint16
	local, remote            netip.AddrPort
	backlog                  uint16
	flags                    wire.NetFlag
	out, in                  uint64
	head                     wire.Flag
	urgent                   bool
	path                     string
	socketCgroup, socketFrom uint64
	result                   int32
	noCookie                 bool
	anyPackets               bool
}

// check compares every field of a network event of the container's process.
func (c *testContainer) check(e *event.Event, pid int, w wantNet) {
	t := c.rig.t
	t.Helper()
	n, h := e.Net(), e.Head
	type pair struct {
		name      string
		got, want any
	}
	ring := uint8(1)
	if w.urgent {
		ring = 0
	}
	pairs := []pair{
		{"flags", wire.Flag(h.Flags), w.head},
		{"ring", h.Ring, ring},
		{"result", h.Result, w.result},
		{"tgid", int(h.Tgid), pid},
		{"cgroup", h.Cgroup, c.id},
		{"origin", h.Origin, c.id},
		{"started before", h.Start > 0 && h.Start < h.Time, true},
		{"family", n.Family, w.family},
		{"kind", n.Kind, w.kind},
		{"protocol", n.Protocol, w.protocol},
		{"local", address(n.Family, n.Local), orZero(w.local.Addr(), n.Family)},
		{"local port", n.LocalPort, w.local.Port()},
		{"remote", address(n.Family, n.Remote), orZero(w.remote.Addr(), n.Family)},
		{"remote port", n.RemotePort, w.remote.Port()},
		{"backlog", n.Backlog, w.backlog},
		{"net flags", wire.NetFlag(n.NetFlags), w.flags},
		{"path", string(e.Text()), w.path},
		{"bytes out", n.BytesOut, w.out},
		{"bytes in", n.BytesIn, w.in},
		{"has packets out", n.PacketsOut > 0 || w.anyPackets, w.out > 0 && e.Type == wire.TypeFlow || w.anyPackets},
		{"has packets in", n.PacketsIn > 0 || w.anyPackets, w.in > 0 && e.Type == wire.TypeFlow || w.anyPackets},
		{"socket cgroup", n.SocketCgroup, w.socketCgroup},
		{"socket origin", n.SocketOrigin, w.socketFrom},
		{"has cookie", n.Cookie != 0, !w.noCookie},
	}
	for _, p := range pairs {
		if p.got != p.want {
			t.Errorf("%s: %s is %v, want %v", event.Name(e.Type), p.name, p.got, p.want)
		}
	}
}

func orZero(a netip.Addr, family uint16) netip.Addr {
	if a.IsValid() {
		return a
	}
	return address(family, [16]byte{})
}

// bytesOf views words as bytes.
func bytesOf(words []uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), 8*len(words))
}
