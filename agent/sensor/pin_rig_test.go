// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	ossignal "os/signal"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// pinDir is a folder for pins of this test alone, on a BPF file system; nothing of it is left when the test ends.
func pinDir(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	const mount = "/sys/fs/bpf"
	if err := CanPin(mount); err != nil {
		must(t, unix.Mount("bpf", mount, "bpf", 0, ""))
		t.Cleanup(func() { must(t, unix.Unmount(mount, 0)) })
	}
	dir := filepath.Join(mount, fmt.Sprintf("holdfast-test-%d-%s", os.Getpid(), t.Name()))
	t.Cleanup(func() {
		_, err := Unload(dir)
		must(t, err)
	})
	return dir
}

// kept is a folder of pins, the agents that have it one after the other, each a process that can be killed, and what
// they have told of the programs that the test ran.
type kept struct {
	dir  string
	cmd  *exec.Cmd
	read chan struct{}
	// maps are those that were ever pinned here, by their ids.
	maps map[ebpf.MapID]bool

	mu   sync.Mutex
	more chan struct{}
	told map[string]int
	ran  []string
}

func newKept(t *testing.T) *kept {
	k := &kept{dir: pinDir(t), maps: map[ebpf.MapID]bool{}, told: map[string]int{}, more: make(chan struct{}, 1)}
	t.Cleanup(func() { k.kill(t) })
	return k
}

// startBound is for an agent that hangs, not for one that is slow: an emulated machine takes half a minute, and that
// much longer where it shares a processor.
const startBound = 5 * time.Minute

// start starts an agent of a build, see builds, and waits until it has settled.
func (k *kept) start(t *testing.T, build string) {
	t.Helper()
	cmd := k.command(build)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	k.cmd, k.read = cmd, make(chan struct{})
	ready := make(chan struct{})
	go func() {
		defer close(k.read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if lines.Text() == "ready" {
				close(ready)
			} else if name, ok := strings.CutPrefix(lines.Text(), "ran "); ok {
				k.mu.Lock()
				k.told[name]++
				k.mu.Unlock()
				select {
				case k.more <- struct{}{}:
				default:
				}
			}
		}
	}()
	select {
	case <-ready:
	case <-k.read:
		t.Fatalf("the agent ended: %v: %s", cmd.Wait(), &complaint)
	case <-time.After(startBound):
		must(t, cmd.Process.Signal(unix.SIGQUIT)) // Go then says where each goroutine is
		<-k.read
		_ = cmd.Wait()
		t.Fatalf("the agent did not come up in %s: %s", startBound, &complaint)
	}
	k.noteMaps(t)
}

// command is an agent of a build.
func (k *kept) command(build string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestPinnedAgent$")
	cmd.Env = append(os.Environ(), "HOLDFAST_PINS="+k.dir, "HOLDFAST_BUILD="+build)
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	return cmd
}

func (k *kept) end(t *testing.T, how unix.Signal) {
	t.Helper()
	if k.cmd == nil {
		return
	}
	must(t, k.cmd.Process.Signal(how))
	<-k.read
	if err := k.cmd.Wait(); err != nil && how != unix.SIGKILL {
		t.Errorf("the agent ended with %v", err)
	}
	k.cmd = nil
}

func (k *kept) kill(t *testing.T) { t.Helper(); k.end(t, unix.SIGKILL) }

// run executes a program with a name of its own for its argument.
func (k *kept) run(t *testing.T, name string) {
	t.Helper()
	name = fmt.Sprintf("pinned-%d-%s", os.Getpid(), name)
	must(t, exec.Command("/bin/true", name).Run())
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ran = append(k.ran, name)
}

// keepRunning runs programs until what it returns is called.
func (k *kept) keepRunning(t *testing.T, name string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			k.run(t, fmt.Sprintf("%s-%d", name, i))
			time.Sleep(2 * time.Millisecond)
		}
	}()
	return func() { cancel(); <-done }
}

// once waits until every program that was run has been told of, and checks that none was twice.
func (k *kept) once(t *testing.T) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		missing := ""
		k.mu.Lock()
		for _, name := range k.ran {
			switch k.told[name] {
			case 0:
				missing = name
			case 1:
			default:
				t.Errorf("%s was told %d times", name, k.told[name])
				k.told[name] = 1
			}
		}
		n := len(k.ran)
		k.mu.Unlock()
		if missing == "" {
			t.Logf("%d programs, each told once", n)
			return
		}
		select {
		case <-k.more:
		case <-deadline:
			t.Fatalf("%s was not told of", missing)
		}
	}
}

// wants waits until each was told as often as it is to be, and no more.
func (k *kept) wants(t *testing.T, want map[string]int) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for name, n := range want {
		told := func() int {
			k.mu.Lock()
			defer k.mu.Unlock()
			return k.told[name]
		}
		for told() < n {
			select {
			case <-k.more:
			case <-deadline:
				t.Fatalf("%s: told %d times, want %d", name, told(), n)
			}
		}
		if told() > n {
			t.Errorf("%s: told %d times, want %d", name, told(), n)
		}
	}
}

// cyclesOf is how often an agent is killed.
func cyclesOf() int {
	switch {
	case os.Getenv("HOLDFAST_LONG") != "":
		return 200
	case isSlow():
		return 2
	default:
		return 20
	}
}

// isSlow is where a start takes many seconds: on an emulated processor, and under the race detector.
func isSlow() bool { return os.Getenv("HOLDFAST_VM") != "" || testing.Short() }

func touch(path string) error { return os.WriteFile(path, nil, 0o644) }

// forget drops what was run so far: it may have been on its way when an agent was killed.
func (k *kept) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ran = nil
}

// count is of what the kernel has that uses the maps ever pinned here, and of the pins.
type count struct{ links, programs, maps, pinnedLinks, pinnedMaps int }

// noteMaps adds the maps that are pinned now.
func (k *kept) noteMaps(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(k.dir, "*", "maps", "*"))
	must(t, err)
	for _, path := range paths {
		m, err := ebpf.LoadPinnedMap(path, nil)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		must(t, err)
		info, err := m.Info()
		must(t, err)
		id, _ := info.ID()
		k.maps[id] = true
		must(t, m.Close())
	}
}

func (k *kept) count(t *testing.T) count {
	t.Helper()
	var n count
	for _, dir := range k.glob(t, "*", "*") {
		for _, entry := range entriesOf(t, dir) {
			if filepath.Base(dir) == "maps" {
				n.pinnedMaps++
			} else if strings.Count(entry, "-") == 2 {
				n.pinnedLinks++
			}
		}
	}
	ours := map[ebpf.ProgramID]bool{}
	used := map[ebpf.MapID]bool{}
	for id, err := ebpf.ProgramGetNextID(0); err == nil; id, err = ebpf.ProgramGetNextID(id) {
		maps := mapsOf(t, id)
		for _, m := range maps {
			ours[id] = ours[id] || k.maps[m]
		}
		if !ours[id] {
			delete(ours, id)
			continue
		}
		for _, m := range maps {
			used[m] = true
		}
	}
	n.programs, n.maps = len(ours), len(used)
	links := new(link.Iterator)
	defer links.Close()
	for links.Next() {
		if info, err := links.Link.Info(); err == nil && ours[info.Program] {
			n.links++
		}
	}
	must(t, links.Err())
	return n
}

func mapsOf(t *testing.T, id ebpf.ProgramID) []ebpf.MapID {
	p, err := ebpf.NewProgramFromID(id)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	must(t, err)
	defer p.Close()
	info, err := p.Info()
	must(t, err)
	maps, _ := info.MapIDs()
	return maps
}

func (k *kept) glob(t *testing.T, parts ...string) []string {
	paths, err := filepath.Glob(filepath.Join(append([]string{k.dir}, parts...)...))
	must(t, err)
	return paths
}

func entriesOf(t *testing.T, dir string) []string {
	entries, err := os.ReadDir(dir)
	must(t, err)
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// settles waits until the counts are as they were: the kernel frees what is unpinned in its own time.
func (k *kept) settles(t *testing.T, want count) {
	t.Helper()
	var got count
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if got = k.count(t); got == want {
			return
		}
	}
	t.Errorf("there are %+v, want %+v", got, want)
}

// names are the pinned links, with the tags of their programs.
func (k *kept) names(t *testing.T) string {
	var names []string
	for _, path := range k.glob(t, "*", "p*", "*") {
		names = append(names, filepath.Base(path))
	}
	return strings.Join(names, " ")
}

// TestPinnedAgent is an agent's process when the environment names a folder of pins; else it is nothing.
func TestPinnedAgent(t *testing.T) {
	dir := os.Getenv("HOLDFAST_PINS")
	if dir == "" {
		return
	}
	build := os.Getenv("HOLDFAST_BUILD")
	kernel, err := probe.Run()
	must(t, err)
	s, err := New(Config{PinDir: dir, CgroupRoot: cgroupRoot(t), MaxAllow: 1024, build: builds()[build]}, kernel)
	must(t, err)
	ctx, stop := ossignal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	must(t, s.Start(func() error {
		if build == "two, unfinished" {
			fmt.Println("ready")
			<-ctx.Done()
		}
		return nil
	}))
	fmt.Println("ready")
	must(t, s.Run(ctx, teller{}))
	if n := s.Stats().Malformed; n > 0 {
		t.Errorf("%d records are malformed", n)
	}
	must(t, s.Close())
}

// teller prints the programs that the tests ran.
type teller struct{}

// Settle implements Handler.
func (teller) Settle() {}

// Record implements Handler.
func (teller) Record(raw []byte) {
	e := &event.Event{}
	own := bytesOf(make([]uint64, (len(raw)+7)/8))[:len(raw)]
	copy(own, raw)
	if err := e.Decode(own); err != nil {
		panic(err)
	}
	if wire.Flag(e.Head.Flags)&(wire.FlagBlocked|wire.FlagKilled) != 0 {
		switch {
		case e.Exec() != nil:
			fmt.Printf("ran refused %s\n", filepath.Base(string(e.Exe())))
		case e.File() != nil:
			fmt.Printf("ran refused %s\n", filepath.Base(string(e.Path())))
		}
		return
	}
	if e.Type != wire.TypeExec {
		return
	}
	if at := bytes.Index(raw, []byte("pinned-")); at >= 0 {
		name, _, _ := bytes.Cut(raw[at:], []byte{0})
		fmt.Printf("ran %s\n", name)
	}
}

// builds are the objects as they are, with other instructions, and with a map of another kind.
func builds() map[string]build {
	two := altered("two", func(spec *ebpf.CollectionSpec) {
		for _, p := range spec.Programs {
			first := &p.Instructions[0]
			if btf.CORERelocationMetadata(first) != nil {
				continue
			}
			more := asm.Mov.Imm(asm.R0, 0)
			more.Metadata, first.Metadata = first.Metadata, asm.Metadata{}
			p.Instructions = append(asm.Instructions{more}, p.Instructions...)
		}
	})
	return map[string]build{
		"one": builtin(),
		"two": two, "two, unfinished": two,
		"broken": altered("broken", func(spec *ebpf.CollectionSpec) {
			if p := spec.Programs["on_exit"]; p != nil {
				// A register that nothing was written to.
				p.Instructions[0].OpCode, p.Instructions[0].Src = asm.Mov.Op(asm.RegSource), asm.R9
			}
		}),
		"other maps": altered("other", func(spec *ebpf.CollectionSpec) {
			if m := spec.Maps["counted"]; m != nil {
				m.ValueSize, m.Key, m.Value = 16, nil, nil
			}
		}),
	}
}

func altered(name string, alter func(*ebpf.CollectionSpec)) build {
	b := build{loaders: map[string]func() (*ebpf.CollectionSpec, error){}, digest: name}
	for object, load := range objectLoaders {
		b.loaders[object] = func() (*ebpf.CollectionSpec, error) {
			spec, err := load()
			if err == nil {
				alter(spec)
			}
			return spec, err
		}
	}
	return b
}
