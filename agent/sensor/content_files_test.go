// SPDX-License-Identifier: Apache-2.0

package sensor

import (
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
	want := []placement{
		{"on_tls_return", probe.Places{Offsets: []uint64{0x100, 0x200, 0x300}, Return: true}},
		{"on_go_read_end", probe.Places{Offsets: []uint64{0x510, 0x520}}},
		{"on_openssl_read", probe.Places{Offsets: []uint64{0x300}}},
		{"on_openssl_write", probe.Places{Offsets: []uint64{0x100, 0x200}}},
		{"on_tls_free", probe.Places{Offsets: []uint64{0x400, 0x600}}},
	}
	if got := placements(list); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
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
