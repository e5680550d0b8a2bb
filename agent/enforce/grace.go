// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// grace waits for running programs. An update of a map of maps by bpf(2) returns when every program that ran at that time
// has ended (maybe_wait_bpf_programs in kernel/bpf/syscall.c, synchronize_rcu), but for sleepable ones, of which none reads
// policies.
//
// What has to be waited for is remembered as the number of waits begun so far: it is over when a later one has ended.
type grace struct {
	outer, inner *ebpf.Map
	begun, ended uint64
}

func newGrace() (*grace, error) {
	spec := &ebpf.MapSpec{Name: "grace", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	inner, err := ebpf.NewMap(spec)
	if err != nil {
		return nil, fmt.Errorf("make the map to wait by: %w", err)
	}
	outer, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "graces", Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: spec,
	})
	if err != nil {
		inner.Close()
		return nil, fmt.Errorf("make the map of maps to wait by: %w", err)
	}
	return &grace{outer: outer, inner: inner}, nil
}

// now is the moment to remember.
func (g *grace) now() uint64 { return g.begun }

// over reports whether all programs that ran at a moment have ended.
func (g *grace) over(moment uint64) bool { return g.ended > moment }

// begin numbers a wait, which may then be done without the lock that guards g; end notes that it was.
func (g *grace) begin() uint64 {
	g.begun++
	return g.begun
}

func (g *grace) end(wait uint64) { g.ended = max(g.ended, wait) }

// wait returns when all programs that run now have ended.
func (g *grace) wait() error {
	if err := g.outer.Put(uint32(0), g.inner); err != nil {
		return fmt.Errorf("wait for running programs: %w", err)
	}
	return nil
}

// sync waits unless the moment is over, with the lock held.
func (g *grace) sync(moment uint64) error {
	if g.over(moment) {
		return nil
	}
	n := g.begin()
	if err := g.wait(); err != nil {
		return err
	}
	g.end(n)
	return nil
}

func (g *grace) close() error {
	err := g.outer.Close()
	if innerErr := g.inner.Close(); err == nil {
		err = innerErr
	}
	return err
}
