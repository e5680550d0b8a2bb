// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/agent/probe"
)

// TestCapabilities takes the rights away one by one: each takes what needs it, says so, and leaves the rest.
func TestCapabilities(t *testing.T) {
	all := []probe.Right{probe.Kill, probe.SysPtrace, probe.DACReadSearch}
	for _, c := range Capabilities(probe.RightsOf(all...)) {
		if c.Reason != "" || c.See != probe.Yes {
			t.Errorf("with all rights: %+v", c)
		}
	}
	for _, test := range []struct {
		without probe.Right
		// what each row has to say: see, block, and whether the reason names the right.
		want map[string][3]bool
	}{
		{probe.Kill, map[string][3]bool{
			"late verdict": {true, false, true}, "names from /proc": {true, false, false}, "probes and hooks": {true, false, false},
		}},
		{probe.SysPtrace, map[string][3]bool{
			"late verdict": {true, true, false}, "names from /proc": {false, false, true}, "probes and hooks": {false, false, true},
		}},
		{probe.DACReadSearch, map[string][3]bool{
			"late verdict": {true, true, false}, "names from /proc": {true, false, false}, "probes and hooks": {true, false, true},
		}},
	} {
		t.Run(test.without.String(), func(t *testing.T) {
			list := Capabilities(probe.RightsOf(all...) &^ probe.RightsOf(test.without))
			if len(list) != len(test.want) {
				t.Fatalf("%d rows, want %d", len(list), len(test.want))
			}
			for _, c := range list {
				got := [3]bool{c.See == probe.Yes, c.Block == probe.Yes, strings.HasPrefix(c.Reason, test.without.String()+" is missing: ")}
				if want, ok := test.want[c.Signal]; !ok || got != want {
					t.Errorf("%+v: %v, want %v", c, got, want)
				}
			}
		})
	}
}
