// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/holdfast-project/holdfast/agent/policy"
	"github.com/holdfast-project/holdfast/agent/sensor/objects"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// rig has real maps, made as the sensor makes them, of the sizes that a test asks for.
type rig struct {
	t    testing.TB
	maps Maps
	*Enforcer
}

func newRig(t testing.TB, sizes map[string]uint32) *rig {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	spec, err := objects.LoadText()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t}
	for name, field := range map[string]**ebpf.Map{
		"policy_by_container": &r.maps.ByContainer, "policy_by_name": &r.maps.ByName,
		"allow": &r.maps.Allow, "allow_tree": &r.maps.Tree, "allow_egress": &r.maps.Egress,
		"admitted": &r.maps.Admitted, "hash_key": &r.maps.HashKey, "tally_by_policy": &r.maps.Tally,
		"root_by_container": &r.maps.Root, "process_by_tgid": &r.maps.Processes,
	} {
		m := spec.Maps[name]
		if size := sizes[name]; size > 0 {
			m.MaxEntries = size
		}
		if *field, err = ebpf.NewMap(m); err != nil {
			t.Fatalf("map %s: %v", name, err)
		}
		t.Cleanup(func() { (*field).Close() })
	}
	var key wire.HashKey
	source := rand.New(rand.NewPCG(1, 2))
	for i := range key.Word {
		key.Word[i] = source.Uint32()
	}
	if err := r.maps.HashKey.Put(uint32(0), &key); err != nil {
		t.Fatal(err)
	}
	r.restart()
	t.Cleanup(func() { r.Close() })
	return r
}

// restart puts a new enforcer in the place of the old one, over the same maps.
func (r *rig) restart() {
	r.t.Helper()
	if r.Enforcer != nil {
		r.must(r.Close())
	}
	e, err := New(Config{Maps: r.maps})
	r.must(err)
	r.Enforcer = e
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) create() uint32 {
	r.t.Helper()
	id, err := r.Create()
	r.must(err)
	return id
}

// name is a container's id that ends in a number.
func name(n int) string { return fmt.Sprintf("%064x", n) }

func modes(m wire.Mode) Modes {
	return Modes{wire.SignalProcess: uint8(m), wire.SignalFile: uint8(m), wire.SignalEgress: uint8(m)}
}

// setOf makes a set of words: exec PATH BITS, tree FOLDER BITS, egress PREFIX BITS, separated by commas.
func (r *rig) setOf(text string) *policy.Set {
	r.t.Helper()
	set := policy.NewSet()
	for entry := range strings.SplitSeq(text, ",") {
		var kind, what string
		var bits uint16
		if strings.TrimSpace(entry) == "" {
			continue
		}
		if _, err := fmt.Sscan(entry, &kind, &what, &bits); err != nil {
			r.t.Fatalf("%q: %v", entry, err)
		}
		switch kind {
		case "exec":
			set.Allow[policy.Key{Class: wire.AllowExec, Object: r.Hasher().HashString(what)}] = bits
		case "tree":
			set.Tree[policy.Tree{Folder: what}] = bits
		case "egress":
			set.Egress[policy.Contact{Port: 443, Protocol: 6, Prefix: netip.MustParsePrefix(what)}] = bits
		default:
			r.t.Fatalf("%q: no such kind", entry)
		}
	}
	return set
}

// judge looks an element up as the kernel programs do, under what holds for a container. 0 is what is not listed.
func (r *rig) judge(container uint64, text string) uint16 {
	r.t.Helper()
	var p wire.Policy
	r.must(r.maps.ByContainer.Lookup(container, &p))
	return r.bits(p, text)
}

func (r *rig) bits(p wire.Policy, text string) uint16 {
	r.t.Helper()
	kind, what, _ := strings.Cut(text, " ")
	var v wire.Allow
	var err error
	switch kind {
	case "exec":
		err = r.maps.Allow.Lookup(policy.Key{Class: wire.AllowExec, Object: r.Hasher().HashString(what)}.Wire(p.Id), &v)
	case "tree":
		err = r.maps.Tree.Lookup(policy.Tree{Folder: what}.Wire(p.Id), &v)
	case "egress":
		prefix := netip.MustParsePrefix(what)
		err = r.maps.Egress.Lookup(policy.Contact{Port: 443, Protocol: 6, Prefix: prefix}.Wire(p.Id), &v)
	}
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return 0
	}
	r.must(err)
	if int32(p.Generation-v.Since) >= 0 {
		return v.Now
	}
	return v.Was
}

// count is how many elements a map has.
func (r *rig) count(m *ebpf.Map) int {
	r.t.Helper()
	n := 0
	r.must(each(m, func(_, _ []byte) { n++ }))
	return n
}

func (r *rig) expect(container uint64, want map[string]uint16) {
	r.t.Helper()
	for text, bits := range want {
		if got := r.judge(container, text); got != bits {
			r.t.Errorf("%s: bits %d, want %d", text, got, bits)
		}
	}
}
