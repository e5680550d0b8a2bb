// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// TestKeptThroughKills kills an agent under load again and again. What happens while there is none is told by the next,
// once; and in the end no more links, maps and programs are there than after the first start.
func TestKeptThroughKills(t *testing.T) {
	k := newKept(t)
	k.start(t, "one")
	want := k.count(t)
	if want.pinnedLinks < 15 || want.pinnedMaps < 15 || want.links != want.pinnedLinks {
		t.Fatalf("there are %+v", want)
	}
	t.Logf("after the first start: %+v", want)
	for cycle := range cyclesOf() {
		// Under load, until it is killed: what it had just read then is not asked for.
		stop := k.keepRunning(t, fmt.Sprint("load-", cycle))
		k.kill(t)
		stop()
		k.forget()
		k.run(t, fmt.Sprint("gap-", cycle))
		// Of what comes while the next one starts, too, nothing is missing.
		stop = k.keepRunning(t, fmt.Sprint("start-", cycle))
		k.start(t, "one")
		stop()
		k.once(t)
	}
	k.settles(t, want)
	k.end(t, unix.SIGTERM)
	if got := k.count(t); got.links != want.links || got.pinnedMaps != want.pinnedMaps {
		t.Errorf("after an orderly end there are %+v, want %+v", got, want)
	}
}

// TestUpgrade replaces an agent by one of another build, there and back, while programs run: none is missing or told
// twice, and nothing of the old build is left.
func TestUpgrade(t *testing.T) {
	k := newKept(t)
	k.start(t, "one")
	want, tags := k.count(t), k.names(t)
	turns := []string{"two", "two", "one"}
	if isSlow() {
		turns = turns[:1]
	}
	for turn, build := range turns {
		k.end(t, unix.SIGTERM)
		stop := k.keepRunning(t, fmt.Sprint("turn-", turn))
		k.start(t, build)
		stop()
		k.once(t)
		k.settles(t, want)
		if same := k.names(t) == tags; same != (build == "one") {
			t.Errorf("turn %d, build %s: the programs are the first build's: %t", turn, build, same)
		}
	}
}

// TestUpgradeUnfinished kills an agent in the midst of an upgrade: the old programs go on, and the next agent of either
// build cleans up.
func TestUpgradeUnfinished(t *testing.T) {
	if testing.Short() {
		t.Skip("needs many starts")
	}
	k := newKept(t)
	k.start(t, "one")
	want := k.count(t)
	for turn, build := range []string{"one", "two"} {
		k.end(t, unix.SIGTERM)
		k.start(t, "two, unfinished")
		k.run(t, fmt.Sprint("half-", turn))
		k.kill(t)
		k.run(t, fmt.Sprint("after-", turn))
		k.start(t, build)
		k.once(t)
		k.settles(t, want)
	}
}

// TestUpgradeRefused starts an agent that the kernel will not have: it ends, and the programs of before go on.
func TestUpgradeRefused(t *testing.T) {
	k := newKept(t)
	k.start(t, "one")
	want, tags := k.count(t), k.names(t)
	k.end(t, unix.SIGTERM)
	out, err := k.command("broken").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "on_exit") {
		t.Errorf("the agent ended with %v: %s", err, out)
	}
	k.run(t, "after")
	k.start(t, "one")
	k.once(t)
	k.settles(t, want)
	if got := k.names(t); got != tags {
		t.Errorf("the programs are %s, want %s", got, tags)
	}
}

// TestOtherMaps replaces an agent by one whose maps are of another kind: it begins with new ones, and knows who is who.
func TestOtherMaps(t *testing.T) {
	if testing.Short() {
		t.Skip("needs many starts")
	}
	k := newKept(t)
	k.start(t, "one")
	want := k.count(t)
	box := k.view(t).container(t, everything)
	k.end(t, unix.SIGTERM)
	k.start(t, "other maps")
	k.settles(t, want)
	maps := k.view(t).sensor.loader.maps
	var container uint64
	if err := maps["container_by_cgroup"].Lookup(box.id, &container); err != nil || container != box.id {
		t.Errorf("the container of cgroup %d is %d: %v", box.id, container, err)
	}
	var process wire.Process
	if err := maps["process_by_tgid"].Lookup(uint32(os.Getpid()), &process); err != nil || process.Start == 0 {
		t.Errorf("this process is %+v: %v", process, err)
	}
	k.run(t, "new")
	k.once(t)
}

// TestUnload removes what an agent left, and what no agent of this version would leave; while an agent is there it
// refuses, and again it is nothing.
func TestUnload(t *testing.T) {
	k := newKept(t)
	dir := k.dir
	k.start(t, "one")
	want := k.count(t)
	if gone, err := Unload(dir); err == nil || len(gone) > 0 {
		t.Errorf("unload beside an agent: %d objects gone, error %v", len(gone), err)
	}
	k.kill(t)
	must(t, os.MkdirAll(filepath.Join(dir, "older", "still"), 0o700))
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	must(t, err)
	must(t, m.Pin(filepath.Join(dir, "older", "still", "there")))
	must(t, m.Close())
	gone, err := Unload(dir)
	must(t, err)
	var got count
	for _, g := range gone {
		switch g.Kind {
		case "link":
			got.pinnedLinks++
		case "map":
			got.pinnedMaps++
		default:
			t.Errorf("%s: %s", g.Kind, g.Path)
		}
	}
	if got.pinnedLinks != want.pinnedLinks || got.pinnedMaps != want.pinnedMaps+1 {
		t.Errorf("unload removed %+v of %+v and one map more", got, want)
	}
	k.settles(t, count{})
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
	if gone, err := Unload(dir); err != nil || len(gone) > 0 {
		t.Errorf("unload again: %d objects, error %v", len(gone), err)
	}
}

// TestOneAgentAFolder refuses a second agent.
func TestOneAgentAFolder(t *testing.T) {
	k := newKept(t)
	k.start(t, "one")
	kernel, err := probe.Run()
	must(t, err)
	s, err := New(Config{PinDir: k.dir, CgroupRoot: cgroupRoot(t)}, kernel)
	if err == nil {
		must(t, s.Close())
	}
	if err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("a second agent: %v", err)
	}
}

// TestNotPinned says why nothing outlives the agent, and leaves nothing.
func TestNotPinned(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	kernel, err := probe.Run()
	must(t, err)
	for _, dir := range []string{"", t.TempDir()} {
		s, err := New(Config{PinDir: dir, CgroupRoot: cgroupRoot(t)}, kernel)
		must(t, err)
		c := s.Capabilities()[0]
		if c.Signal != "pinned" || c.See != probe.No || c.Block != probe.No {
			t.Errorf("folder %q: %+v", dir, c)
		}
		if dir != "" && !strings.Contains(c.Reason, "BPF file system") {
			t.Errorf("folder %q: the reason is %q", dir, c.Reason)
		}
		must(t, s.Close())
	}
}

// TestWhenDead reads what the programs are told.
func TestWhenDead(t *testing.T) {
	dir := pinDir(t)
	kernel, err := probe.Run()
	must(t, err)
	s, err := New(Config{
		PinDir: dir, CgroupRoot: cgroupRoot(t), WhenDead: wire.WhenDeadMonitor, DeadAfter: time.Minute,
	}, kernel)
	must(t, err)
	defer func() { must(t, s.Close()) }()
	told := func() (a wire.Agent) {
		must(t, s.loader.maps[agentState].Lookup(uint32(0), &a))
		return a
	}
	a := told()
	same(t, "agent_state", []pair{
		{"tgid", int(a.Tgid), os.Getpid()},
		{"when dead", wire.WhenDead(a.WhenDead), wire.WhenDeadMonitor},
		{"dead after", time.Duration(a.DeadAfter), time.Minute},
		{"generation", a.Generation, uint32(1)},
		{"alive lately", bootNow()-a.Alive < uint64(time.Minute), true},
	})
	s.self.state.Alive -= uint64(2 * heartbeat)
	must(t, s.self.beat())
	if b := told(); b.Alive <= a.Alive {
		t.Errorf("the sign of life went from %d to %d", a.Alive, b.Alive)
	}
}
