// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// view is a rig without a sensor, on the pinned maps.
func (k *kept) view(t *testing.T) *rig {
	t.Helper()
	l := &loader{maps: map[string]*ebpf.Map{}}
	for _, path := range k.glob(t, "*", "maps", "*") {
		m, err := ebpf.LoadPinnedMap(path, nil)
		must(t, err)
		t.Cleanup(func() { must(t, m.Close()) })
		l.maps[filepath.Base(path)] = m
	}
	policies, err := l.makePolicies()
	must(t, err)
	s := &Sensor{loader: l, policies: policies}
	must(t, s.readInterests())
	return &rig{root: cgroupRoot(t), sensor: s}
}

// TestEnforcedThroughKills holds a container to its policy while the agent is killed, started anew and replaced by another
// build, again and again: what is listed runs each time, what is not runs at no time, and what was refused while there
// was no agent is told by the next, once.
func TestEnforcedThroughKills(t *testing.T) {
	k := newKept(t)
	k.start(t, "one")
	h := newHouse(t, k.view(t), newImage(t), 7)
	h.runs(t, "/bin/sh", "/bin/touch", "/bin/rm")
	h.hold(t, map[wire.Signal]wire.Mode{wire.SignalProcess: wire.ModeEnforce})
	ctx, cancel := context.WithCancel(context.Background())
	attacks, done := 0, make(chan struct{})
	go func() {
		defer close(done)
		for ; ctx.Err() == nil; attacks++ {
			_ = h.command("/bin/mkdir", fmt.Sprintf("/tmp/always-%d", attacks)).Run()
			time.Sleep(10 * time.Millisecond)
		}
	}()
	want := map[string]int{}
	cycles := max(2, cyclesOf()/4)
	for cycle := range cycles {
		k.kill(t)
		if h.sh(t, "touch /tmp/listed"); !h.there(t, "tmp/listed") {
			t.Errorf("cycle %d: what is listed did not run", cycle)
		}
		// Of another name than in the second before: the same is told once a second.
		name := []string{"cp", "mv", "ln", "chmod", "cat"}[cycle%5]
		must(t, touch(filepath.Join(h.root, "tmp", "from")))
		h.do(t, "/bin/"+name, "/tmp/from", "/tmp/to")
		want["refused "+name]++
		k.start(t, []string{"one", "two"}[cycle%2])
	}
	cancel()
	<-done
	if made, err := filepath.Glob(filepath.Join(h.root, "tmp", "always-*")); err != nil || len(made) > 0 || attacks < cycles {
		t.Errorf("of %d attacks these took effect: %v %v", attacks, made, err)
	}
	if h.there(t, "tmp/to") {
		t.Error("an attack without an agent took effect")
	}
	k.wants(t, want)
	t.Logf("%d attacks, none of effect, %d of them without an agent, each told once", attacks+cycles, cycles)
}

// TestModesOfTheDead looks at what is refused while there is no agent.
func TestModesOfTheDead(t *testing.T) {
	k := newKept(t)
	k.start(t, "one")
	r := k.view(t)
	h := newHouse(t, r, newImage(t), 7)
	h.hold(t, map[wire.Signal]wire.Mode{wire.SignalProcess: wire.ModeEnforce})
	k.kill(t)
	state := &self{m: r.sensor.loader.maps[agentState]}
	must(t, state.m.Lookup(uint32(0), &state.state))
	for _, test := range []struct {
		what  wire.WhenDead
		after time.Duration
		runs  bool
	}{
		{wire.WhenDeadKeep, time.Nanosecond, false},
		{wire.WhenDeadMonitor, time.Hour, false},
		{wire.WhenDeadMonitor, time.Nanosecond, true},
		{wire.WhenDeadRelease, time.Hour, false},
		{wire.WhenDeadRelease, time.Nanosecond, true},
	} {
		must(t, state.set(func(a *wire.Agent) { a.WhenDead, a.DeadAfter = uint32(test.what), uint64(test.after) }))
		if h.do(t, "/bin/touch", "/tmp/made"); h.there(t, "tmp/made") != test.runs {
			t.Errorf("when dead %d after %s: what is not listed runs: %t, want %t", test.what, test.after, !test.runs, test.runs)
		}
	}
	var tally wire.Tally
	must(t, r.sensor.Policies().Tally.Lookup(uint32(7), &tally))
	same(t, "tally", []pair{
		{"blocked", tally.Blocked[wire.SignalProcess], uint64(3)},
		{"would block", tally.WouldBlock[wire.SignalProcess], uint64(1)},
	})
}
