// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/holdfast-project/holdfast/agent/policy"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// admitted reads until when each name stands for an address.
func (r *rig) admitted(container uint64, address string) map[uint64]uint64 {
	r.t.Helper()
	var found wire.Admitted
	key := wire.AdmitKey{Container: container, Addr: netip.MustParseAddr(address).As16()}
	if err := r.maps.Admitted.Lookup(&key, &found); err != nil {
		return nil
	}
	until := map[uint64]uint64{}
	for i, name := range found.Name {
		if found.Until[i] != 0 {
			until[name] = found.Until[i]
		}
	}
	return until
}

func TestAdmitsWhatWasToldBefore(t *testing.T) {
	r := newRig(t, nil)
	id := r.create()
	set := policy.NewSet()
	hash := r.Hasher().HashString
	set.Allow[policy.Key{Class: wire.AllowName, Object: hash("api.example.com")}] = 1
	set.Allow[policy.Key{Class: wire.AllowNameBelow, Object: hash("example.org")}] = 1
	r.must(r.Apply(id, set))
	const far = 1 << 62
	told := func(address, name string, until uint64) Admission {
		return Admission{netip.MustParseAddr(address), name, until}
	}
	n, err := r.Admit(id, 77, []Admission{
		told("192.0.2.1", "api.example.com", far), told("192.0.2.2", "other.example.com", far),
		told("2001:db8::1", "a.b.example.org", far), told("192.0.2.3", "example.org", far),
	})
	r.must(err)
	if n != 2 {
		t.Errorf("%d were admitted, want 2", n)
	}
	if got, want := fmt.Sprint(r.admitted(77, "::ffff:192.0.2.1")), fmt.Sprint(map[uint64]uint64{hash("api.example.com")[0]: far}); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := fmt.Sprint(r.admitted(77, "2001:db8::1")), fmt.Sprint(map[uint64]uint64{^hash("example.org")[0]: far}); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if r.count(r.maps.Admitted) != 2 || r.admitted(78, "2001:db8::1") != nil {
		t.Error("others are admitted too")
	}

	// What the kernel has admitted meanwhile stays, and the later end counts.
	n, err = r.Admit(id, 77, []Admission{told("192.0.2.1", "x.example.org", far), told("192.0.2.1", "api.example.com", far-5)})
	r.must(err)
	want := map[uint64]uint64{hash("api.example.com")[0]: far, ^hash("example.org")[0]: far}
	if got := r.admitted(77, "::ffff:192.0.2.1"); n != 2 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%d: %v, want %v", n, got, want)
	}
	if _, err := r.Admit(id+1, 77, nil); err == nil {
		t.Error("no error without a policy")
	}
}

// TestAdmitsAsFarAsThereIsRoom fills the names of an address: those that stand are not put aside.
func TestAdmitsAsFarAsThereIsRoom(t *testing.T) {
	r := newRig(t, nil)
	id := r.create()
	set := policy.NewSet()
	var told []Admission
	for i := range 300 {
		name := fmt.Sprintf("n%d.example.com", i)
		set.Allow[policy.Key{Class: wire.AllowName, Object: r.Hasher().HashString(name)}] = 1
		until := uint64(1 << 62)
		if i < 4 {
			until = 1 // over
		}
		told = append(told, Admission{netip.MustParseAddr("192.0.2.1"), name, until})
	}
	r.must(r.Apply(id, set))
	n, err := r.Admit(id, 77, told)
	r.must(err)
	if want := 4 + len(wire.Admitted{}.Name); n != want {
		t.Errorf("%d were admitted, want %d", n, want)
	}
	small := newRig(t, map[string]uint32{"admitted": 1})
	id = small.create()
	small.must(small.Apply(id, set))
	if err := small.maps.Admitted.Update(&wire.AdmitKey{Container: 1}, &wire.Admitted{}, ebpf.UpdateAny); err != nil {
		t.Fatal(err)
	}
	if n, err := small.Admit(id, 77, told[:1]); n != 0 || err != nil {
		t.Errorf("%d were admitted into a full map: %v", n, err)
	}
}
