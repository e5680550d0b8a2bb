// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"cmp"
	"errors"
	"slices"
	"testing"

	"github.com/holdfast-project/holdfast/agent/wire"
)

func TestUnlisted(t *testing.T) {
	r := newRig(t, nil)
	id := r.create()
	if held, err := r.Holds(10); err != nil || held {
		t.Errorf("before anything holds: %t, %v", held, err)
	}
	if _, err := r.Unlisted(10, 1000); err == nil {
		t.Error("of a container without a policy, something is not listed")
	}
	r.must(r.Assign(Container{Cgroup: 10}, id, modes(wire.ModeEnforce)))
	if held, err := r.Holds(10); err != nil || !held {
		t.Errorf("after something holds: %t, %v", held, err)
	}
	if _, err := r.Unlisted(10, 1000); !errors.Is(err, ErrNothingListed) {
		t.Errorf("of a policy without executables: %v", err)
	}
	r.must(r.Apply(id, r.setOf("exec /bin/a 1")))
	a, b := r.Hasher().Exe("/bin/a"), r.Hasher().Exe("/bin/b")
	const image, upper = uint32(wire.SourceImage), uint32(wire.SourceUpper)
	for pid, p := range map[uint32]wire.Process{
		100: {Start: 100, Origin: 10, Exe: a, Flags: image},
		101: {Start: 101, Origin: 10, Exe: a, Flags: upper},
		102: {Start: 102, Origin: 10, ExecTime: 200, Exe: b, Flags: image},
		103: {Start: 103, Origin: 10, ExecTime: 1001, Exe: b, Flags: image},
		104: {Start: 1000, Origin: 10, Exe: b, Flags: image},
		105: {Start: 105, Origin: 11, Exe: b, Flags: image},
		106: {Start: 106, Exe: b, Flags: image},
	} {
		r.must(r.maps.Processes.Put(pid, p))
	}
	got, err := r.Unlisted(10, 1000)
	r.must(err)
	slices.SortFunc(got, func(a, b Unlisted) int { return cmp.Compare(a.PID, b.PID) })
	want := []Unlisted{
		{PID: 101, Start: 101, Executable: a, Reason: wire.ReasonDrift},
		{PID: 102, Start: 102, Executable: b, Reason: wire.ReasonExecutable},
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%+v, want %+v", got, want)
	}
	if !r.Runs(got[1]) {
		t.Error("what is there does not run")
	}
	r.must(r.maps.Processes.Put(uint32(102), wire.Process{Start: 102, Origin: 10, Exe: a}))
	if r.Runs(got[1]) {
		t.Error("another program counts as the one that was not listed")
	}
}
