// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"log/slog"
	"reflect"
	"testing"

	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/sensor/objects"
	"github.com/holdfast-project/holdfast/agent/tlslib"
)

// TestPlacements has a file with two libraries that have functions with several names: each program goes to each place once, those
// at returns first.
func TestPlacements(t *testing.T) {
	list := []tlslib.Library{
		{Probes: []tlslib.Probe{
			{Function: tlslib.OpenSSLRead, Offset: 0x300}, {Function: tlslib.OpenSSLWrite, Offset: 0x200},
			{Function: tlslib.OpenSSLWrite, Offset: 0x200}, {Function: tlslib.OpenSSLWrite, Offset: 0x100},
			{Function: tlslib.Free, Offset: 0x400},
		}},
		{Probes: []tlslib.Probe{{Function: tlslib.GoReadEnd, Offset: 0x520}, {Function: tlslib.GoReadEnd, Offset: 0x510}}},
		{Probes: []tlslib.Probe{{Function: tlslib.Free, Offset: 0x600}}},
	}
	for needs, want := range map[Directions][]placement{
		Leaving: {
			{"on_tls_return", probe.Places{Offsets: []uint64{0x100, 0x200}, Return: true}},
			{"on_openssl_write", probe.Places{Offsets: []uint64{0x100, 0x200}}},
		},
		Entering: {
			{"on_tls_return", probe.Places{Offsets: []uint64{0x300}, Return: true}},
			{"on_go_read_end", probe.Places{Offsets: []uint64{0x510, 0x520}}},
			{"on_openssl_read", probe.Places{Offsets: []uint64{0x300}}},
		},
		eitherWay: {{"on_tls_free", probe.Places{Offsets: []uint64{0x400, 0x600}}}},
	} {
		if got := placements(list, needs); !reflect.DeepEqual(got, want) {
			t.Errorf("directions %d: %+v\nwant %+v", needs, got, want)
		}
	}
}

// TestProgramsOf wants the programs of every function to be in the object.
func TestProgramsOf(t *testing.T) {
	spec, err := objects.LoadTls()
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for function := tlslib.OpenSSLWrite; function <= tlslib.GoReadEnd; function++ {
		names := programsOf(function)
		used[names.entry], used[names.exit] = true, true
		if spec.Programs[names.entry] == nil || names.exit != "" && spec.Programs[names.exit] == nil {
			t.Errorf("function %d: the object lacks %+v", function, names)
		}
	}
	for name := range spec.Programs {
		if !used[name] {
			t.Errorf("no function has program %s", name)
		}
	}
}

// TestWants asks while files are looked at: only who wants less waits.
func TestWants(t *testing.T) {
	f := newFiles(1, slog.New(slog.DiscardHandler), nil)
	f.mu.Lock()
	for _, wants := range []Directions{Leaving, Leaving, eitherWay} {
		must(t, f.want(7, wants))
	}
	f.mu.Unlock()
	must(t, f.want(7, Entering))
	if wants, known := f.wants.of(7); wants != Entering || !known {
		t.Errorf("wanted is %d, %v", wants, known)
	}
	// It was looked at as often as more was wanted.
	if got := len(f.looks); got != 2 {
		t.Errorf("%d looks, want 2", got)
	}
	must(t, f.release(7))
	if _, known := f.wants.of(7); known {
		t.Error("it is known after its release")
	}
}
