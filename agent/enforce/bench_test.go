// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"fmt"
	"testing"

	"github.com/holdfast-project/holdfast/agent/policy"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// large is a set of 10,000 entries, from a number on.
func large(r *rig, from int) *policy.Set {
	set := policy.NewSet()
	for i := range 10000 {
		set.Allow[policy.Key{Class: wire.AllowExec, Object: r.Hasher().HashString(fmt.Sprint(from + i))}] = 1
	}
	return set
}

// BenchmarkApply puts sets of 10,000 entries in force: first, one more entry as in learning, and a thousand of them
// exchanged for others.
func BenchmarkApply(b *testing.B) {
	r := newRig(b, nil)
	set := large(r, 0)
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			id := r.create()
			b.StartTimer()
			r.must(r.Apply(id, set))
			b.StopTimer()
			r.must(r.Release(id))
			r.must(r.Tidy())
			b.StartTimer()
		}
	})
	b.Run("one more", func(b *testing.B) {
		id := r.create()
		r.must(r.Apply(id, set))
		r.must(r.Tidy())
		more := policy.NewSet()
		for key, bits := range set.Allow {
			more.Allow[key] = bits
		}
		n := uint64(0)
		for b.Loop() {
			b.StopTimer()
			n++
			// Set.Allow is copied on the side of the compiler, which is not measured here.
			next := policy.NewSet()
			for key, bits := range more.Allow {
				next.Allow[key] = bits
			}
			next.Allow[policy.Key{Class: wire.AllowExec, Object: [2]uint64{n}}] = 1
			more = next
			b.StartTimer()
			r.must(r.Apply(id, next))
		}
		r.must(r.Release(id))
		r.must(r.Tidy())
	})
	b.Run("a thousand others", func(b *testing.B) {
		id := r.create()
		sets := []*policy.Set{set, large(r, 1000)}
		r.must(r.Apply(id, sets[0]))
		r.must(r.Assign(Container{Cgroup: 1}, id, modes(wire.ModeEnforce)))
		i := 0
		for b.Loop() {
			i++
			r.must(r.Apply(id, sets[i%2]))
			b.StopTimer()
			r.must(r.Tidy())
			r.must(r.Tidy())
			b.StartTimer()
		}
	})
}

// BenchmarkModes switches the modes of a container.
func BenchmarkModes(b *testing.B) {
	r := newRig(b, nil)
	id := r.create()
	i := 0
	for b.Loop() {
		i++
		r.must(r.Assign(Container{Cgroup: 1}, id, modes(wire.Mode(2+i%2))))
	}
}

// BenchmarkRestart reads back 10 policies of 10,000 entries.
func BenchmarkRestart(b *testing.B) {
	r := newRig(b, nil)
	for i := range 10 {
		id := r.create()
		r.must(r.Assign(Container{Cgroup: uint64(i + 1)}, id, modes(wire.ModeEnforce)))
		r.must(r.Apply(id, large(r, 0)))
	}
	for b.Loop() {
		r.restart()
	}
}
