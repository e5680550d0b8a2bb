// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/tests/rig/heard"
)

// TestEvents runs one sensor with the best family of hooks that the kernel has, and one with none but system calls, and
// does under each everything that must be seen.
func TestEvents(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	kernel, err := probe.Run()
	if err != nil {
		t.Fatal(err)
	}
	families := []probe.Family{kernel.Best()}
	if kernel.Best() != probe.FamilySyscalls {
		families = append(families, probe.FamilySyscalls)
	}
	for _, family := range families {
		t.Run(family.String(), func(t *testing.T) {
			r := newRig(t, kernel, family)
			t.Run("capabilities", func(t *testing.T) { testCapabilities(t, r) })
			t.Run("process", func(t *testing.T) { testProcess(t, r) })
			t.Run("file", func(t *testing.T) { testFiles(t, r) })
			t.Run("watch", func(t *testing.T) { testWatch(t, r) })
			t.Run("security", func(t *testing.T) { testSecurity(t, r) })
			t.Run("verdicts on execs", func(t *testing.T) { testExecVerdicts(t, r) })
			t.Run("quiet", func(t *testing.T) { testQuiet(t, r) })
			t.Run("verdicts on files", func(t *testing.T) { testFileVerdicts(t, r) })
		})
	}
}

// testCapabilities checks that every signal is seen by some hook, and what can be denied is on a hook that can.
func testCapabilities(t *testing.T, r *rig) {
	mine := map[string]bool{}
	for _, list := range [][]signal{lifecycle, signals, execSignals, fileSignals, securitySignals} {
		for _, sig := range list {
			mine[sig.name] = true
		}
	}
	for _, c := range r.sensor.Capabilities() {
		if !mine[c.Signal] {
			continue
		}
		fmt.Printf("HFTABLE %s\t%s: see %s, block %s; %s\n", c.Signal, c.Mechanism, c.See, c.Block, c.Reason)
		if c.Signal == "module" && !hasModules() {
			t.Log("unsupported: kernel modules needs CONFIG_MODULES")
			continue
		}
		if c.See != probe.Yes {
			t.Errorf("%s is not seen: %s", c.Signal, c.Reason)
		}
		verdict := !seenOnly[c.Signal] && strings.Contains(c.Mechanism, "lsm ") || strings.Contains(c.Mechanism, "SIGKILL")
		if (c.Block == probe.Yes) != verdict {
			t.Errorf("%s: block is %s by %s", c.Signal, c.Block, c.Mechanism)
		}
	}
}

// seenOnly are the signals of which no policy speaks.
var seenOnly = map[string]bool{"mount": true, "ptrace": true, "bpf": true}

func hasModules() bool {
	_, err := os.Stat("/proc/modules")
	return err == nil
}

// rig is a running sensor and what it has reported of the containers that the tests make.
type rig struct {
	sensor *Sensor
	family probe.Family
	root   string

	*heard.Log
}

func newRig(t *testing.T, kernel *probe.Kernel, family probe.Family) *rig {
	t.Helper()
	r := &rig{family: family, root: cgroupRoot(t), Log: heard.New()}
	var err error
	r.sensor, err = New(Config{CgroupRoot: r.root, Family: family, LimitFamily: true}, kernel)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, r.sensor.Close()) })
	must(t, r.sensor.Start(func() error { return nil }))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.sensor.Run(ctx, r) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
		if n := r.sensor.Stats().Malformed; n > 0 {
			t.Errorf("%d records are malformed", n)
		}
	})
	return r
}

// bySyscall reports whether file and security events come from system calls that have returned.
func (r *rig) bySyscall() bool { return r.family == probe.FamilySyscalls }

// byCall reports whether a class comes from system calls that have returned: where the kernel has no better, that may be
// so for one class and not for others.
func (r *rig) byCall(class wire.Type) bool {
	for _, c := range r.sensor.Capabilities() {
		if c.Signal == event.Name(class) {
			return strings.Contains(c.Mechanism, syscallMechanism)
		}
	}
	return false
}

// settled gives the events that fit, after all that has happened so far has come: after an event that it brings about.
func (r *rig) settled(t *testing.T, fits func(*event.Event) bool) []*event.Event {
	t.Helper()
	r.Wait(t, r.root)
	return r.Find(fits)
}

// one is settled for a single event.
func (r *rig) one(t *testing.T, what string, fits func(*event.Event) bool) *event.Event {
	t.Helper()
	found := r.settled(t, fits)
	if len(found) != 1 {
		for _, e := range found {
			t.Logf("%+v", e.Head)
		}
		t.Fatalf("%s: %d events, want 1", what, len(found))
	}
	return found[0]
}

// box is a cgroup that the kernel side takes for a container's.
type box struct {
	dir *os.File
	id  uint64
}

// container makes one, with the interest.
func (r *rig) container(t *testing.T, interest Interest) *box {
	t.Helper()
	var random [32]byte
	if _, err := rand.Read(random[:]); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(r.root, hex.EncodeToString(random[:]))
	must(t, os.Mkdir(path, 0o755))
	t.Cleanup(func() { must(t, os.Remove(path)) })
	dir, err := os.Open(path)
	must(t, err)
	t.Cleanup(func() { dir.Close() })
	var st unix.Stat_t
	must(t, unix.Fstat(int(dir.Fd()), &st))
	must(t, r.sensor.SetInterest(st.Ino, interest))
	t.Cleanup(func() { must(t, r.sensor.ClearInterest(st.Ino)) })
	return &box{dir: dir, id: st.Ino}
}

// everything asks for all classes.
var everything = Interest{All: ^uint64(0)}

// done is a process that performed an act, and what it said of it.
type done struct {
	pid  int
	said say
}

// act runs an act of actsOf in a process of the container, in a folder, to its end. What the act says that the kernel
// lacks skips the test.
func (b *box) act(t *testing.T, name, dir string, change ...func(*exec.Cmd)) done {
	t.Helper()
	out, in, err := os.Pipe()
	must(t, err)
	defer out.Close()
	var complaint bytes.Buffer
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestAct$")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOLDFAST_ACT="+name)
	cmd.ExtraFiles = []*os.File{in}
	cmd.Stdout, cmd.Stderr = &complaint, &complaint
	cmd.SysProcAttr = &unix.SysProcAttr{UseCgroupFD: true, CgroupFD: int(b.dir.Fd())}
	for _, c := range change {
		c(cmd)
	}
	must(t, cmd.Start())
	in.Close()
	d := done{pid: cmd.Process.Pid, said: say{}}
	decodeErr := json.NewDecoder(out).Decode(&d.said)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, &complaint)
	}
	if text := complaint.String(); strings.Contains(text, "unsupported: ") {
		t.Skip(text[strings.Index(text, "unsupported: "):strings.Index(text, "\n")])
	}
	if decodeErr != nil {
		t.Fatalf("%s: what the process said: %v: %s", name, decodeErr, &complaint)
	}
	return d
}

// TestAct is a process that performs an act when the environment names one; else it is nothing.
func TestAct(t *testing.T) {
	name := os.Getenv("HOLDFAST_ACT")
	if name == "" {
		return
	}
	act := actsOf()[name]
	if act == nil {
		t.Fatalf("no act %q", name)
	}
	s := say{}
	if err := act(s); err != nil {
		var missing *missing
		if !errors.As(err, &missing) {
			t.Fatal(err)
		}
		fmt.Fprintln(os.Stderr, err)
	}
	must(t, json.NewEncoder(os.NewFile(3, "said")).Encode(s))
}

func actsOf() map[string]func(say) error {
	return map[string]func(say) error{
		"files": actFiles, "watch": actWatch, "open by ring": actUringOpen, "open by polled ring": actPolledOpen, "ia32": actIA32, "mounts": actMounts,
		"map": actMap, "nothing": func(say) error { return nil }, "stray": actStray, "memfd": actMemfd,
		"namespaces": actNamespaces, "credentials": actCredentials, "trace": actTrace, "bpf": actBPF, "ring": actRing,
		"verdict memfd": actRunMemory, "verdict failed": actRunAgain, "verdict load": actLoad, "known": actKnown,
		"module": actModule, "clone": actClone, "execveat": actExecveat,
	}
}

// checkHead compares what all records have.
func (b *box) checkHead(t *testing.T, e *event.Event, pid int, flags wire.Flag, urgent bool) {
	t.Helper()
	ring := uint8(1)
	if urgent {
		ring = 0
	}
	h := e.Head
	same(t, event.Name(e.Type), []pair{
		{"flags", wire.Flag(h.Flags), flags},
		{"ring", h.Ring, ring},
		{"tgid", int(h.Tgid), pid},
		{"cgroup", h.Cgroup, b.id},
		{"origin", h.Origin, b.id},
		{"size", int(h.Size), len(e.Raw())},
		{"has a thread", h.Tid != 0, true},
		{"started before", h.Start > 0 && h.Start < h.Time, true},
	})
}

type pair struct {
	name      string
	got, want any
}

func same(t *testing.T, what string, pairs []pair) {
	t.Helper()
	for _, p := range pairs {
		if p.got != p.want {
			t.Errorf("%s: %s is %v, want %v", what, p.name, p.got, p.want)
		}
	}
}
