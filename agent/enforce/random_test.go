// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// What random sets list, and what is asked of them.
var (
	execs    = []string{"/a", "/b", "/c", "/d"}
	folders  = []string{"/", "/t/", "/t/u/", "/t/u/v/", "/w/", "/w/x/"}
	prefixes = []string{"::/0", "::ffff:0:0/96", "::ffff:10.0.0.0/104", "::ffff:10.1.0.0/112", "::ffff:10.1.2.3/128", "fd00::/8"}
	probes   = []string{
		"exec /a", "exec /b", "exec /c", "exec /d", "tree /z/", "tree /t/z/", "tree /t/u/z/", "tree /t/u/v/z/", "tree /w/z/",
		"tree /w/x/z/", "egress ::1/128", "egress ::ffff:9.9.9.9/128", "egress ::ffff:10.9.9.9/128", "egress ::ffff:10.1.9.9/128",
		"egress ::ffff:10.1.2.3/128", "egress fd00::1/128",
	}
)

// drawn is a set as text, for setOf, with what shorter prefixes allow in the longer ones; and what it says to each probe.
func drawn(source *rand.Rand) (text string, says map[string]uint16) {
	says = map[string]uint16{}
	var entries []string
	exec, tree, egress := map[string]uint16{}, map[string]uint16{}, map[netip.Prefix]uint16{}
	for _, path := range execs {
		if bits := uint16(source.IntN(4)); bits != 0 {
			exec[path] = bits
			entries = append(entries, fmt.Sprintf("exec %s %d", path, bits))
		}
	}
	// Shorter ones come first.
	for _, folder := range folders {
		if bits := uint16(source.IntN(8)); bits&3 != 0 {
			for other, more := range tree {
				if strings.HasPrefix(folder, other) {
					bits |= more
				}
			}
			tree[folder] = bits
			entries = append(entries, fmt.Sprintf("tree %s %d", folder, bits))
		}
	}
	for _, one := range prefixes {
		prefix := netip.MustParsePrefix(one)
		if bits := uint16(source.IntN(4)); bits&1 != 0 {
			for other, more := range egress {
				if other.Overlaps(prefix) {
					bits |= more
				}
			}
			egress[prefix] = bits
			entries = append(entries, fmt.Sprintf("egress %s %d", prefix, bits))
		}
	}
	for _, probe := range probes {
		kind, what, _ := strings.Cut(probe, " ")
		switch kind {
		case "exec":
			says[probe] = exec[what]
		case "tree":
			for folder, bits := range tree {
				if strings.HasPrefix(what, folder) {
					says[probe] |= bits
				}
			}
		default:
			for prefix, bits := range egress {
				if prefix.Overlaps(netip.MustParsePrefix(what)) {
					says[probe] |= bits
				}
			}
		}
	}
	return strings.Join(entries, ","), says
}

// TestRandomChanges applies random sets, tidies up and restarts at random. After each step every container is judged by
// the newest set, and the generation before, while its entries are there, by the one before.
func TestRandomChanges(t *testing.T) {
	r := newRig(t, nil)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	source := rand.New(rand.NewPCG(seed, 1))
	id := r.create()
	containers := []uint64{1, 2, 3}
	r.must(r.Assign(Container{Cgroup: 1, Name: name(1)}, id, modes(wire.ModeEnforce)))
	text, says := "", map[string]uint16{}
	for step := range 150 {
		before, old := r.generation(id), says
		text, says = drawn(source)
		r.must(r.Apply(id, r.setOf(text)))
		after := r.generation(id)
		for _, probe := range probes {
			if got := r.judge(1, probe); got != says[probe] {
				t.Fatalf("step %d: %s: bits %d, want %d of %s", step, probe, got, says[probe], text)
			}
			if before == after {
				continue
			}
			if got := r.bits(wire.Policy{Id: id, Generation: before}, probe); got != old[probe] {
				t.Fatalf("step %d: under the generation before, %s: bits %d, want %d", step, probe, got, old[probe])
			}
		}
		switch source.IntN(6) {
		case 0:
			r.restart()
			if got, ok := r.Adopt(Container{Cgroup: 1}); !ok || got != id {
				t.Fatalf("step %d: adopted %d, %v", step, got, ok)
			}
		case 1, 2:
			r.must(r.Tidy())
		case 3:
			// As a program would that copied the policy from the name before this step.
			r.must(r.maps.ByContainer.Put(uint64(9), &wire.Policy{Id: id, Generation: before}))
			r.must(r.Tidy())
			if before != after {
				r.expect(9, says)
			}
			r.must(r.Unassign(Container{Cgroup: 9}))
		case 4:
			r.must(r.Assign(Container{Cgroup: containers[source.IntN(3)]}, id, modes(wire.Mode(source.IntN(4)))))
		}
		for _, c := range r.Assignments() {
			if c.Container.Cgroup != 0 {
				r.expect(c.Container.Cgroup, says)
			}
		}
	}
	// An entry of a trie that the enforcer before was about to delete says what the set says, and goes with the next set.
	r.must(r.Apply(id, r.setOf(text)))
	r.must(r.Tidy())
	n := r.count(r.maps.Allow) + r.count(r.maps.Tree) + r.count(r.maps.Egress)
	if want := r.setOf(text).Len(); n != want {
		t.Errorf("%d entries at the end, want %d", n, want)
	}
}

func (r *rig) generation(id uint32) uint32 {
	r.t.Helper()
	list := r.Policies()
	i := slices.IndexFunc(list, func(p Policy) bool { return p.ID == id })
	if i < 0 {
		r.t.Fatalf("no policy %d", id)
	}
	return list[i].Generation
}
