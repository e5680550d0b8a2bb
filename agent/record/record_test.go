// SPDX-License-Identifier: Apache-2.0

package record

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/wire"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

const (
	exec    = uint64(1) << wire.TypeExec
	open    = uint64(1) << wire.TypeOpen
	connect = uint64(1) << wire.TypeConnect
)

func named(cgroup uint64, namespace, workload, name string) *container.Container {
	return &container.Container{
		State: container.StateResolved, Kind: container.KindContainer, Cgroup: cgroup,
		Namespace: namespace, Workload: workload, Name: name,
	}
}

func policyOf(list ...*apiv1.RecordRule) *apiv1.RecordPolicy { return &apiv1.RecordPolicy{Rules: list} }

func TestBits(t *testing.T) {
	p := New([]string{"exec"})
	web, db := named(1, "shop", "web", "nginx"), named(2, "shop", "db", "postgres")
	host := &container.Container{State: container.StateResolved, Kind: container.KindHost, Workload: "node-1", Name: "node-1"}
	expect := func(when string, want map[*container.Container]uint64, union uint64) {
		t.Helper()
		for c, bits := range want {
			for range 2 { // worked out, then remembered
				if got := p.Bits(c); got != bits {
					t.Errorf("%s: %#x of %+v, expected %#x", when, got, c, bits)
				}
			}
		}
		if p.Union() != union {
			t.Errorf("%s: union %#x, expected %#x", when, p.Union(), union)
		}
	}
	expect("local alone", map[*container.Container]uint64{web: exec, db: exec, host: exec, nil: exec}, exec)

	if err := p.Set(policyOf(
		&apiv1.RecordRule{Workload: "shop/web", Types: []string{"open"}},
		&apiv1.RecordRule{Workload: "shop", Types: []string{"connect"}},
	)); err != nil {
		t.Error(err)
	}
	pending := named(3, "", "", "")
	pending.State = container.StatePending
	unattributed := named(4, "elsewhere", "x", "x")
	unattributed.State = container.StateUnattributed
	all := exec | open | connect
	expect("two rules", map[*container.Container]uint64{
		web: all, db: exec | connect, host: exec, pending: all, unattributed: all, nil: all,
	}, all)

	// The registry publishes a new Container when a name changes; the cgroup stays.
	renamed := named(2, "elsewhere", "db", "postgres")
	expect("another name", map[*container.Container]uint64{renamed: exec, web: all}, all)

	if err := p.Set(policyOf(&apiv1.RecordRule{Types: []string{"open", "connect"}})); err != nil {
		t.Error(err)
	}
	expect("everything", map[*container.Container]uint64{web: all, host: all, nil: all}, all)

	if err := p.Set(nil); err != nil {
		t.Error(err)
	}
	expect("none", map[*container.Container]uint64{web: exec, db: exec, nil: exec}, exec)
}

func TestBadRulesAreLeftOut(t *testing.T) {
	p := New(nil)
	err := p.Set(policyOf(
		&apiv1.RecordRule{Workload: "[", Types: []string{"open"}},
		&apiv1.RecordRule{Workload: "shop", Types: []string{"exec", "teleport"}},
		&apiv1.RecordRule{Workload: "a/b/c/d", Types: []string{"open"}},
	))
	for _, says := range []string{"rule 1", "rule 2", `"teleport"`, "rule 3", "more parts"} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v does not say %s", err, says)
		}
	}
	if got := p.Bits(named(1, "shop", "web", "nginx")); got != exec {
		t.Errorf("%#x is recorded, expected %#x", got, exec)
	}
	if p.Union() != exec {
		t.Errorf("union %#x, expected %#x", p.Union(), exec)
	}
}

func TestBitsAllocatesNothing(t *testing.T) {
	p := New([]string{"exec"})
	if err := p.Set(policyOf(&apiv1.RecordRule{Workload: "shop/*", Types: []string{"open"}})); err != nil {
		t.Fatal(err)
	}
	web := named(1, "shop", "web", "nginx")
	if n := testing.AllocsPerRun(1000, func() { p.Bits(web) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestCacheIsBounded asks about more containers than are remembered, of which nobody holds most.
func TestCacheIsBounded(t *testing.T) {
	p := New(nil)
	if err := p.Set(policyOf(&apiv1.RecordRule{Workload: "shop", Types: []string{"open"}})); err != nil {
		t.Fatal(err)
	}
	kept := named(1, "shop", "web", "nginx")
	for i := range uint64(3 * maxCached) {
		namespace, want := "shop", open
		if i%2 == 0 {
			namespace, want = "other", 0
		}
		if got := p.Bits(named(2+i, namespace, "w", "c")); got != want {
			t.Fatalf("container %d: %#x, expected %#x", i, got, want)
		}
		if i == maxCached/2 {
			runtime.GC()
		}
	}
	if n := len(p.current.Load().cache.answers); n > maxCached {
		t.Errorf("%d answers are remembered, more than %d", n, maxCached)
	}
	if got := p.Bits(kept); got != open {
		t.Errorf("%#x, expected %#x", got, open)
	}
}

// TestConcurrent changes the policy while others ask; the race detector watches, and every answer is one of the policies'.
func TestConcurrent(t *testing.T) {
	p := New([]string{"exec"})
	var group sync.WaitGroup
	done := make(chan struct{})
	for i := range 3 {
		group.Go(func() {
			c := named(uint64(i), "shop", "web", fmt.Sprint(i))
			for {
				select {
				case <-done:
					return
				default:
				}
				if got := p.Bits(c); got != exec && got != exec|open && got != exec|connect {
					t.Errorf("%#x", got)
					return
				}
			}
		})
	}
	for i := range 2000 {
		r := &apiv1.RecordRule{Workload: "shop", Types: []string{"open"}}
		if i%2 == 0 {
			r = &apiv1.RecordRule{Workload: "*/web/*", Types: []string{"connect"}}
		}
		if err := p.Set(policyOf(r)); err != nil {
			t.Error(err)
		}
	}
	close(done)
	group.Wait()
}

func BenchmarkBits(b *testing.B) {
	p := New([]string{"exec"})
	if err := p.Set(policyOf(&apiv1.RecordRule{Workload: "shop/*", Types: []string{"open"}})); err != nil {
		b.Fatal(err)
	}
	web := named(1, "shop", "web", "nginx")
	for b.Loop() {
		p.Bits(web)
	}
}
