// SPDX-License-Identifier: Apache-2.0

package probe_test

import (
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/agent/probe"
)

func TestRunFindsEveryFamily(t *testing.T) {
	kernel, err := probe.Run()
	if err != nil {
		t.Fatal(err)
	}
	for name, finding := range map[string]probe.Finding{"lsm": kernel.LSM, "fmod_ret": kernel.ModifyReturn} {
		t.Logf("%s: %s %s", name, finding.Support, finding.Reason)
		if finding.Support == probe.Unknown {
			t.Errorf("%s: the probe could not tell: %s", name, finding.Reason)
		}
		if (finding.Support == probe.Yes) == (finding.Reason != "") {
			t.Errorf("%s: %s with reason %q", name, finding.Support, finding.Reason)
		}
	}
	if best := kernel.Best(); kernel.Reason(best) != "" {
		t.Errorf("the best family %s has a reason against it: %s", best, kernel.Reason(best))
	}
}

func TestUnsupportedNamesFeatureAndVersion(t *testing.T) {
	err := &probe.Unsupported{Feature: "bpf_loop", Since: "5.17"}
	if !strings.HasPrefix(err.Error(), "unsupported: bpf_loop needs 5.17") {
		t.Error(err)
	}
}
