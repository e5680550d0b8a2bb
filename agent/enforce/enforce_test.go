// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/agent/policy"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/wait"
)

func TestApply(t *testing.T) {
	r := newRig(t, nil)
	id := r.create()
	r.must(r.Assign(Container{Cgroup: 10}, id, modes(wire.ModeEnforce)))
	r.expect(10, map[string]uint16{"exec /bin/a": 0, "tree /data/": 0})

	first := r.setOf("exec /bin/a 1, exec /bin/b 1, tree /data/ 3, egress ::ffff:10.0.0.0/104 1")
	r.must(r.Apply(id, first))
	if got := r.Policies()[0]; got.Generation != 0 || got.Pending != 0 || got.Entries != 4 {
		t.Errorf("what only allows more changed the generation: %+v", got)
	}
	r.expect(10, map[string]uint16{
		"exec /bin/a": 1, "exec /bin/c": 0, "tree /data/x/": 3, "egress ::ffff:10.9.8.7/128": 1, "egress ::ffff:11.9.8.7/128": 0,
	})

	// One goes, one changes, one comes; in each trie an entry comes below one that goes.
	second := r.setOf("exec /bin/a 3, exec /bin/c 1, tree /data/x/ 1, egress ::ffff:10.9.0.0/112 1")
	r.must(r.Apply(id, second))
	now := map[string]uint16{
		"exec /bin/a": 3, "exec /bin/b": 0, "exec /bin/c": 1, "tree /data/": 0, "tree /data/x/": 1,
		"egress ::ffff:10.9.8.7/128": 1, "egress ::ffff:10.8.8.7/128": 0,
	}
	r.expect(10, now)
	before := wire.Policy{Id: id, Generation: 0}
	for text, bits := range map[string]uint16{
		"exec /bin/a": 1, "exec /bin/b": 1, "exec /bin/c": 0, "tree /data/x/": 3, "tree /data/": 3,
		"egress ::ffff:10.9.8.7/128": 1, "egress ::ffff:10.8.8.7/128": 1,
	} {
		if got := r.bits(before, text); got != bits {
			t.Errorf("before tidying up, the old generation has %s with bits %d, want %d", text, got, bits)
		}
	}
	r.must(r.Tidy())
	r.expect(10, now)
	if n := r.count(r.maps.Allow) + r.count(r.maps.Tree) + r.count(r.maps.Egress); n != second.Len() {
		t.Errorf("%d entries in the maps, want %d", n, second.Len())
	}
	if got := r.Policies()[0]; got.Generation != 1 || got.Pending != 0 || got.Entries != 4 || got.Containers != 1 {
		t.Errorf("after all: %+v", got)
	}
	r.must(r.Apply(id, policy.NewSet()))
	r.must(r.Apply(id, first))
	r.expect(10, map[string]uint16{"exec /bin/a": 1, "exec /bin/c": 0, "tree /data/x/": 3})
}

// TestShadow puts longer prefixes under shorter ones and takes them away: the trie gives the longest alone, so it must say
// what the shorter one does in each generation.
func TestShadow(t *testing.T) {
	r := newRig(t, nil)
	id := r.create()
	r.must(r.Assign(Container{Cgroup: 1}, id, modes(wire.ModeEnforce)))
	r.must(r.Apply(id, r.setOf("tree /a/ 1, egress ::ffff:10.0.0.0/104 1, exec /x 1")))
	was := wire.Policy{Id: id, Generation: r.Policies()[0].Generation}
	r.must(r.Apply(id, r.setOf("tree /a/ 1, tree /a/b/ 3, egress ::ffff:10.0.0.0/104 1, egress ::ffff:10.1.0.0/112 3")))
	if got := r.bits(was, "tree /a/b/c/"); got != 1 {
		t.Errorf("under the old generation a new folder hides the one that it is in: bits %d, want 1", got)
	}
	if got := r.bits(was, "egress ::ffff:10.1.0.1/128"); got != 1 {
		t.Errorf("under the old generation a new prefix hides the one that it is in: bits %d, want 1", got)
	}
	r.expect(1, map[string]uint16{"tree /a/b/c/": 3, "egress ::ffff:10.1.0.1/128": 3})
	r.must(r.Apply(id, r.setOf("tree /a/ 1, egress ::ffff:10.0.0.0/104 1")))
	r.expect(1, map[string]uint16{"tree /a/b/c/": 1, "egress ::ffff:10.1.0.1/128": 1})
	r.must(r.Tidy())
	r.expect(1, map[string]uint16{"tree /a/b/c/": 1, "egress ::ffff:10.1.0.1/128": 1})
}

func TestAssign(t *testing.T) {
	r := newRig(t, nil)
	one, two := r.create(), r.create()
	if one == two {
		t.Fatal("two policies have one id")
	}
	r.must(r.Apply(one, r.setOf("exec /one 1")))
	r.must(r.Apply(two, r.setOf("exec /two 1")))
	// Two containers of a pod, the second known by its name before it is made.
	r.must(r.Assign(Container{Cgroup: 1, Name: name(1)}, one, modes(wire.ModeEnforce)))
	r.must(r.Assign(Container{Name: name(2)}, two, modes(wire.ModeMonitor)))
	var p wire.Policy
	var key wire.ContainerName
	copy(key.Id[:], name(2))
	r.must(r.maps.ByName.Lookup(&key, &p))
	if p.Id != two || p.Mode[wire.SignalFile] != uint8(wire.ModeMonitor) {
		t.Errorf("by name: %+v", p)
	}
	r.must(r.Assign(Container{Cgroup: 2, Name: name(2)}, two, modes(wire.ModeEnforce)))
	r.expect(1, map[string]uint16{"exec /one": 1, "exec /two": 0})
	r.expect(2, map[string]uint16{"exec /one": 0, "exec /two": 1})
	// Another policy, then other modes, then both.
	for _, next := range []struct {
		id   uint32
		mode wire.Mode
	}{{one, wire.ModeEnforce}, {one, wire.ModeLearn}, {two, wire.ModeOff}} {
		r.must(r.Assign(Container{Cgroup: 2, Name: name(2)}, next.id, modes(next.mode)))
		r.must(r.maps.ByContainer.Lookup(uint64(2), &p))
		if p.Id != next.id || p.Mode != [8]uint8(modes(next.mode)) {
			t.Errorf("assigned %v, the map has %+v", next, p)
		}
	}
	if got := r.Assignments(); len(got) != 4 || got[3].Container.Cgroup != 2 || got[3].Policy != two {
		t.Errorf("assignments: %+v", got)
	}
	if err := r.Release(two); err == nil || !strings.Contains(err.Error(), "has it") {
		t.Errorf("a policy that a container has was released: %v", err)
	}
	r.must(r.Unassign(Container{Cgroup: 2, Name: name(2)}))
	r.must(r.Unassign(Container{Cgroup: 2, Name: name(2)}))
	r.must(r.Release(two))
	r.must(r.Tidy())
	if n := r.count(r.maps.Allow); n != 1 {
		t.Errorf("%d entries after the release, want 1", n)
	}
	if _, err := r.Tally(two); err == nil {
		t.Error("a released policy has a tally")
	}
	if three := r.create(); three == two {
		t.Error("the id of a policy just released is given again")
	}
	for _, bad := range []string{"x", strings.Repeat("g", 64), strings.Repeat("A", 64)} {
		if err := r.Assign(Container{Name: bad}, one, Modes{}); err == nil {
			t.Errorf("container id %q was taken", bad)
		}
	}
	if err := r.Assign(Container{Cgroup: 3}, 99, Modes{}); err == nil {
		t.Error("a policy that is not there was assigned")
	}
}

// TestReleaseOfWhatAProgramGave lets a container have a policy as if a program had given it by its name.
func TestReleaseOfWhatAProgramGave(t *testing.T) {
	r := newRig(t, nil)
	id := r.create()
	r.must(r.Apply(id, r.setOf("exec /a 1")))
	r.must(r.maps.ByContainer.Put(uint64(7), &wire.Policy{Id: id}))
	if err := r.Release(id); err == nil {
		t.Fatal("a policy that a container has was released")
	}
	r.must(r.maps.ByContainer.Delete(uint64(7)))
	r.must(r.Release(id))
	r.must(r.maps.ByContainer.Put(uint64(7), &wire.Policy{Id: id}))
	r.must(r.Tidy())
	if n := r.count(r.maps.ByContainer); n != 0 {
		t.Error("a container has a policy that is gone")
	}
}

// TestStraggler gives a container the generation that its name had before a change, as a program does that ran meanwhile.
func TestStraggler(t *testing.T) {
	r := newRig(t, nil)
	id := r.create()
	r.must(r.Assign(Container{Name: name(1)}, id, modes(wire.ModeEnforce)))
	r.must(r.Apply(id, r.setOf("exec /a 1")))
	r.must(r.Apply(id, r.setOf("exec /b 1")))
	r.must(r.maps.ByContainer.Put(uint64(7), &wire.Policy{Id: id, Generation: 0}))
	r.expect(7, map[string]uint16{"exec /a": 1, "exec /b": 0})
	r.must(r.Tidy())
	r.expect(7, map[string]uint16{"exec /a": 0, "exec /b": 1})
	r.must(r.Apply(id, r.setOf("exec /c 1")))
	r.must(r.Tidy())
	r.expect(7, map[string]uint16{"exec /b": 0, "exec /c": 1})
}

func TestFull(t *testing.T) {
	r := newRig(t, map[string]uint32{"allow": 8, "allow_tree": 2, "allow_egress": 2, "policy_by_container": 2, "tally_by_policy": 2})
	id := r.create()
	r.must(r.Assign(Container{Cgroup: 1}, id, modes(wire.ModeEnforce)))
	small := r.setOf("exec /a 1, exec /b 1, exec /c 1, tree /a/ 1")
	r.must(r.Apply(id, small))
	for what, text := range map[string]string{
		"map allow: policy 1 needs 7 more entries, 5 of 8 are free":        "exec /1 1,exec /2 1,exec /3 1,exec /4 1,exec /5 1,exec /6 1,exec /7 1",
		"map allow_tree: policy 1 needs 3 more entries, 1 of 2 are free":   "exec /a 1,tree /1/ 1,tree /2/ 1,tree /3/ 1",
		"map allow_egress: policy 1 needs 3 more entries, 2 of 2 are free": "egress ::1/128 1,egress ::2/128 1,egress ::3/128 1",
	} {
		err := r.Apply(id, r.setOf(text))
		if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), what) {
			t.Errorf("got %v, want %s", err, what)
		}
		r.expect(1, map[string]uint16{"exec /a": 1, "exec /b": 1, "exec /c": 1, "tree /a/": 1, "exec /1": 0})
		if n := r.count(r.maps.Allow); n != 3 {
			t.Errorf("%d entries after a refusal, want 3", n)
		}
	}
	// What goes makes room for what comes, though both are there for a time.
	r.must(r.Apply(id, r.setOf("exec /1 1,exec /2 1,exec /3 1,exec /4 1,exec /5 1")))
	r.must(r.Apply(id, r.setOf("exec /6 1,exec /7 1,exec /8 1")))
	r.expect(1, map[string]uint16{"exec /1": 0, "exec /6": 1})
	r.must(r.Assign(Container{Cgroup: 2}, id, Modes{}))
	if err := r.Assign(Container{Cgroup: 3}, id, Modes{}); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "policy_by_container") {
		t.Errorf("a third container: %v", err)
	}
	r.create()
	if _, err := r.Create(); !errors.Is(err, ErrFull) {
		t.Errorf("a third policy: %v", err)
	}
}

// TestRollback fills a map behind the enforcer's back, so that staging fails in the middle.
func TestRollback(t *testing.T) {
	r := newRig(t, map[string]uint32{"allow": 8})
	id, other := r.create(), uint32(77)
	r.must(r.Assign(Container{Cgroup: 1}, id, modes(wire.ModeEnforce)))
	r.must(r.Apply(id, r.setOf("exec /a 1, exec /b 1, tree /t/ 1")))
	for i := range 4 {
		r.must(r.maps.Allow.Put(policy.Key{Object: [2]uint64{uint64(i)}}.Wire(other), &wire.Allow{}))
	}
	for _, text := range []string{
		"exec /a 3, exec /1 1, exec /2 1, exec /3 1, exec /4 1, tree /u/ 1",             // takes away
		"exec /a 3, exec /b 1, exec /1 1, exec /2 1, exec /3 1, tree /t/ 1, tree /u/ 1", // only adds
	} {
		err := r.Apply(id, r.setOf(text))
		if !errors.Is(err, ErrFull) {
			t.Fatalf("got %v, want a full map", err)
		}
		r.expect(1, map[string]uint16{"exec /a": 1, "exec /b": 1, "exec /1": 0, "exec /2": 0, "tree /t/": 1, "tree /u/": 0})
		if n := r.count(r.maps.Allow); n != 6 {
			t.Errorf("%d entries after the rollback, want 6", n)
		}
		if used := r.Used()["allow"][0]; used != 2 {
			t.Errorf("counts %d entries, want 2", used)
		}
	}
	r.must(r.Apply(id, r.setOf("exec /b 1, exec /c 1")))
	r.expect(1, map[string]uint16{"exec /a": 0, "exec /b": 1, "exec /c": 1, "tree /t/": 0})
}

// TestFlipFails takes the program away that tells containers of a generation, so that neither the new one nor the old one
// again can be told: names have the new set, containers the old one, each of them whole, until the program is back.
func TestFlipFails(t *testing.T) {
	r := newRig(t, nil)
	id := r.create()
	r.must(r.Assign(Container{Cgroup: 1, Name: name(1)}, id, modes(wire.ModeEnforce)))
	r.must(r.Apply(id, r.setOf("exec /a 1, tree /t/ 1")))
	program, err := r.programs.ApplyContainer.Clone()
	r.must(err)
	r.must(r.programs.ApplyContainer.Close())
	if err := r.Apply(id, r.setOf("exec /b 1, tree /t/u/ 3")); err == nil || !strings.Contains(err.Error(), "policy_by_container") {
		t.Fatalf("got %v", err)
	}
	r.expect(1, map[string]uint16{"exec /a": 1, "exec /b": 0, "tree /t/u/": 1})
	if err := r.Tidy(); err == nil {
		t.Error("tidying up told containers without a program")
	}
	r.expect(1, map[string]uint16{"exec /a": 1, "exec /b": 0, "tree /t/u/": 1})
	r.programs.ApplyContainer = program
	r.must(r.Tidy())
	r.expect(1, map[string]uint16{"exec /a": 0, "exec /b": 1, "tree /t/u/": 3, "tree /t/x/": 0})
	r.must(r.Apply(id, r.setOf("exec /c 1")))
	r.must(r.Tidy())
	r.expect(1, map[string]uint16{"exec /b": 0, "exec /c": 1, "tree /t/u/": 0})
	if n := r.count(r.maps.Allow) + r.count(r.maps.Tree); n != 1 {
		t.Errorf("%d entries at the end, want 1", n)
	}
}

// TestRestart ends an enforcer at every step of a change and starts another over the same maps.
func TestRestart(t *testing.T) {
	old, fresh := "exec /a 1, exec /b 1, tree /t/ 1, egress ::1/128 3", "exec /a 3, exec /c 1, tree /t/u/ 1, egress ::/0 1"
	isOld := map[string]uint16{"exec /a": 1, "exec /b": 1, "exec /c": 0, "tree /t/x/": 1, "egress ::1/128": 3, "egress ::2/128": 0}
	isNew := map[string]uint16{"exec /a": 3, "exec /b": 0, "exec /c": 1, "tree /t/x/": 0, "egress ::1/128": 1, "egress ::2/128": 1}
	for _, step := range []struct {
		name string
		do   func(r *rig, p *state, changes *policy.Changes)
		want map[string]uint16
	}{
		{"nothing begun", func(*rig, *state, *policy.Changes) {}, isOld},
		{"half staged", func(r *rig, p *state, changes *policy.Changes) {
			half := policy.Changes{Allow: changes.Allow[1:], Egress: changes.Egress[:1]}
			r.must(r.stage(p.id, &half, func(was, now uint16) uint64 { return word(p.generation+1, was, now) }))
		}, isOld},
		{"staged", func(r *rig, p *state, changes *policy.Changes) {
			r.must(r.stage(p.id, changes, func(was, now uint16) uint64 { return word(p.generation+1, was, now) }))
		}, isOld},
		{"one container told", func(r *rig, p *state, changes *policy.Changes) {
			r.must(r.stage(p.id, changes, func(was, now uint16) uint64 { return word(p.generation+1, was, now) }))
			value := uint64(2)
			_, err := r.apply(r.programs.ApplyContainer, []store{{bytesOf(&value), generationWord(p.id, p.generation+1), atGeneration}})
			r.must(err)
		}, isNew},
		{"all told", func(r *rig, p *state, _ *policy.Changes) { r.must(r.Apply(p.id, r.setOf(fresh))) }, isNew},
		{"tidied up", func(r *rig, p *state, _ *policy.Changes) {
			r.must(r.Apply(p.id, r.setOf(fresh)))
			r.must(r.Tidy())
		}, isNew},
	} {
		t.Run(step.name, func(t *testing.T) {
			r := newRig(t, nil)
			r.t = t
			gone := r.create()
			id := r.create()
			r.must(r.Apply(gone, r.setOf("exec /z 1")))
			r.must(r.Assign(Container{Cgroup: 1, Name: name(1)}, id, modes(wire.ModeEnforce)))
			r.must(r.Assign(Container{Cgroup: 2}, id, modes(wire.ModeMonitor)))
			r.must(r.Apply(id, r.setOf("exec /old 1")))
			r.must(r.Apply(id, r.setOf(old)))
			r.must(r.Tidy())
			changes := policy.Diff(r.setOf(old), r.setOf(fresh))
			step.do(r, r.policies[id], &changes)
			r.restart()
			for _, container := range []uint64{1, 2} {
				r.expect(container, step.want)
			}
			if got := r.Policies(); len(got) != 1 || got[0].ID != id || got[0].Containers != 3 {
				t.Fatalf("policies after the restart: %+v", got)
			}
			if got := r.Assignments(); len(got) != 3 || got[1].Modes != modes(wire.ModeEnforce) || got[2].Modes != modes(wire.ModeMonitor) {
				t.Errorf("assignments after the restart: %+v", got)
			}
			if _, err := r.Tally(id); err != nil {
				t.Error(err)
			}
			if _, err := r.Tally(gone); err == nil {
				t.Error("a policy that no container has is still counted")
			}
			// And it goes on from there.
			r.must(r.Apply(id, r.setOf("exec /d 1")))
			r.expect(1, map[string]uint16{"exec /a": 0, "exec /c": 0, "exec /d": 1, "tree /t/u/": 0, "egress ::1/128": 0})
			r.must(r.Tidy())
			if n := r.count(r.maps.Allow) + r.count(r.maps.Tree) + r.count(r.maps.Egress); n != 1 {
				t.Errorf("%d entries in the maps at the end, want 1", n)
			}
			if got, want := fmt.Sprint(r.Used()["allow"][0]), "1"; got != want {
				t.Errorf("counts %s entries at the end, want %s", got, want)
			}
		})
	}
}

// TestInherited takes over from an agent: a policy is adopted by the first who asks, one that nobody adopts goes with its
// last container, and containers that are gone are forgotten.
func TestInherited(t *testing.T) {
	r := newRig(t, nil)
	one, two := r.create(), r.create()
	r.must(r.Apply(one, r.setOf("exec /one 1")))
	r.must(r.Apply(two, r.setOf("exec /two 1")))
	r.must(r.Assign(Container{Cgroup: 1, Name: name(1)}, one, modes(wire.ModeEnforce)))
	r.must(r.Assign(Container{Cgroup: 2, Name: name(2)}, two, modes(wire.ModeEnforce)))
	r.must(r.Assign(Container{Cgroup: 3}, two, modes(wire.ModeEnforce)))
	r.restart()
	if id, ok := r.Adopt(Container{Cgroup: 1}); !ok || id != one {
		t.Errorf("adopted %d, %v, want %d", id, ok, one)
	}
	if _, ok := r.Adopt(Container{Name: name(1)}); ok {
		t.Error("a policy was adopted twice")
	}
	if _, ok := r.Adopt(Container{Cgroup: 9, Name: name(9)}); ok {
		t.Error("a container that had no policy has one to adopt")
	}
	fresh := r.create()
	r.must(r.Assign(Container{Cgroup: 2, Name: name(2)}, fresh, modes(wire.ModeEnforce)))
	r.must(r.Tidy())
	r.expect(3, map[string]uint16{"exec /two": 1})
	r.must(r.Retain(func(c Container) bool { return c.Cgroup != 3 && c.Cgroup != 1 && c.Name != name(1) }))
	r.must(r.Tidy())
	got := r.Policies()
	if len(got) != 2 || got[0].ID != one || got[0].Entries != 1 || got[1].ID != fresh {
		t.Errorf("policies at the end: %+v", got)
	}
	if n, m := r.count(r.maps.Allow), r.count(r.maps.ByContainer); n != 1 || m != 1 {
		t.Errorf("%d entries and %d containers at the end, want 1 and 1", n, m)
	}
}

func TestHitsOutliveChanges(t *testing.T) {
	r := newRig(t, nil)
	id := r.create()
	r.must(r.Apply(id, r.setOf("exec /a 1, exec /b 1, tree /t/ 1")))
	key := policy.Key{Class: wire.AllowExec, Object: r.Hasher().HashString("/a")}
	r.must(r.maps.Allow.Put(key.Wire(id), &wire.Allow{Was: 1, Now: 1, Hits: 41}))
	r.must(r.Apply(id, r.setOf("exec /a 3, tree /t/ 1")))
	r.must(r.Tidy())
	h, err := r.Hits(id)
	r.must(err)
	if len(h.Allow) != 1 || h.Allow[key] != 41 || len(h.Tree) != 0 {
		t.Errorf("hits: %+v", h)
	}
	r.must(r.maps.Tally.Put(id, &wire.Tally{Known: [8]uint64{1: 5}}))
	tally, err := r.Tally(id)
	r.must(err)
	if tally.Known[wire.SignalProcess] != 5 {
		t.Errorf("tally: %+v", tally)
	}
}

func TestRunTidiesUpAndEnds(t *testing.T) {
	r := newRig(t, nil)
	r.cfg.Interval = time.Millisecond
	id := r.create()
	r.must(r.Apply(id, r.setOf("exec /a 1")))
	r.must(r.Apply(id, r.setOf("exec /b 1")))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	wait.True(t, time.Minute, "no entry of the old generation is there", func() bool { return r.Policies()[0].Pending == 0 })
	if n := r.count(r.maps.Allow); n != 1 {
		t.Errorf("%d entries, want 1", n)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestModes(t *testing.T) {
	in := profile.Modes{profile.SignalProcess: profile.ModeEnforce, profile.SignalFile: profile.ModeLearn, profile.SignalProtect: profile.ModeMonitor}
	m, err := ModesOf(in)
	if err != nil {
		t.Fatal(err)
	}
	if m != (Modes{1: 3, 2: 1, 4: 2}) {
		t.Errorf("modes %v", m)
	}
	for _, off := range []profile.Signal{profile.SignalEgress, profile.SignalDLP, profile.SignalWAF} {
		in[off] = profile.ModeOff
	}
	if got := m.Profile(); fmt.Sprint(got) != fmt.Sprint(in) {
		t.Errorf("back: %v, want %v", got, in)
	}
	for _, bad := range []profile.Modes{{"gpu": profile.ModeLearn}, {profile.SignalFile: "block"}} {
		if _, err := ModesOf(bad); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}
