// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
)

// chartRights are the capabilities that the Helm chart gives to the agent.
var chartRights = []uintptr{
	unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN, unix.CAP_KILL, unix.CAP_SYS_PTRACE, unix.CAP_SYS_RESOURCE,
}

// TestContentWithChartRights starts an agent with the capabilities that the chart gives and no other. Where the kernel has
// uprobe_multi, it sees of content what one with all of them sees, and a number that a container sends over TLS is told of. Where
// it has not, what is within TLS may be off for want of CAP_SYS_ADMIN alone, and is told of where it is not off.
func TestContentWithChartRights(t *testing.T) {
	const address = "203.0.113.9"
	r := prepare(t, rig.Config{AgentArgs: []string{"--dlp-mode", "monitor"}})
	full := contentRows(capabilitiesWithout(t, r))
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if !slices.Contains(chartRights, c) {
			r.Without = append(r.Without, c)
		}
	}
	if err := errors.Join(r.StartCollector(t.Context()), r.StartAgent(t.Context())); err != nil {
		t.Fatal(err)
	}
	for who, list := range map[string][]view.Capability{
		"holdfast nodes": node(t, r).Capabilities, "holdfast-agent capabilities": capabilitiesWithout(t, r),
	} {
		checkContentRows(t, who, full, contentRows(list))
	}
	if err := r.Lab.Load(t.Context(), lab.Python); err != nil {
		t.Fatal(err)
	}
	webSink(t, r, address)
	pod := runPod(t, r, lab.PodConfig{Namespace: "shop", Name: "sender"})
	c := run(t, pod, lab.ContainerConfig{Name: "app", Image: lab.PythonImage, Command: []string{"sleep", "100000"}})
	sendCards(t, r, c, "http://"+address+"/orders", "packet")
	if contentRows(node(t, r).Capabilities)["content_openssl"].See == view.SupportYes {
		sendCards(t, r, c, "https://"+address+"/orders", "openssl")
	}
}

// contentRows are the rows of a capability table that speak of content, by signal.
func contentRows(list []view.Capability) map[string]view.Capability {
	rows := map[string]view.Capability{}
	for _, c := range list {
		if c.Signal == "content" || strings.HasPrefix(c.Signal, "content_") {
			rows[c.Signal] = c
		}
	}
	return rows
}

// checkContentRows holds what an agent with the chart's capabilities says of content against what one with all of them says.
func checkContentRows(t *testing.T, who string, full, got map[string]view.Capability) {
	t.Helper()
	if len(full) < 6 || len(got) != len(full) {
		t.Errorf("%s: %d rows of content, want %d, 6 at least", who, len(got), len(full))
	}
	for signal, want := range full {
		c := got[signal]
		t.Logf("%s: %s: see %s by %q: %s", who, signal, c.See, c.Mechanism, c.Reason)
		if c.See == want.See && c.Mechanism == want.Mechanism {
			continue
		}
		if !strings.HasPrefix(want.Mechanism, "perf uprobes on ") || !strings.Contains(c.Reason, "CAP_SYS_ADMIN is missing") {
			t.Errorf("%s: %s: see %s by %q, because %q; with all capabilities %s by %q", who, signal, c.See, c.Mechanism, c.Reason, want.See, want.Mechanism)
		}
	}
}
