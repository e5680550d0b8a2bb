// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// rightsPolicy lets busybox of the image run, and nothing else; protected files are for nobody.
const rightsPolicy = `apiVersion: holdfast.dev/v1alpha1
kind: Profile
metadata: {namespace: rights, kind: Pod, name: %s, container: main}
modes: {process: enforce, protect: enforce}
processes:
  - path: /usr/bin/busybox
`

// withoutRight is an agent that lacks capabilities.
type withoutRight struct {
	name    string
	without []uintptr
	// off are the signals that have to be off, each "see" or "block"; "" means that the reason alone says what is less.
	off map[string]string
	// mayDiffer are signals that have other hooks on some kernels.
	mayDiffer []string
}

func withoutRights() []withoutRight {
	return []withoutRight{
		{
			// CAP_SYS_ADMIN would stand for it.
			name: "CAP_NET_ADMIN", without: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN},
			off: map[string]string{
				"connect": "see", "sendto": "see", "bind": "see", "socket": "see", "dns": "see", "flow": "see", "content": "see",
				"content_openssl": "see", "content_gnutls": "see", "content_nss": "see", "content_go": "see",
			},
			mayDiffer: []string{"accept"},
		},
		{name: "CAP_KILL", without: []uintptr{unix.CAP_KILL}, off: map[string]string{"late verdict": "block"}},
		{
			name: "CAP_SYS_PTRACE", without: []uintptr{unix.CAP_SYS_PTRACE},
			off: map[string]string{
				"names from /proc": "see", "probes and hooks": "see",
				"content_openssl": "see", "content_gnutls": "see", "content_nss": "see", "content_go": "see",
			},
		},
		{
			name: "CAP_DAC_READ_SEARCH", without: []uintptr{unix.CAP_DAC_READ_SEARCH, unix.CAP_DAC_OVERRIDE},
			off: map[string]string{"probes and hooks": ""},
		},
	}
}

// TestMissingRights starts agents that each lack a capability. Each has to name what is off for that, with the capability,
// and nothing else; and to keep containers to their profile all the same: an executable that is not listed, and a file that
// is protected, are refused.
func TestMissingRights(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "rights.yaml")
	text := fmt.Sprintf(rightsPolicy, "service") + "---\n" + fmt.Sprintf(rightsPolicy, "stranger")
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := prepare(t, rig.Config{AgentArgs: []string{"--policy-file", policy}})
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	image, err := lab.NewImage("docker.io/acme/rights:1", []lab.File{
		{Path: "/opt/sleep", Mode: 0o755, Source: busybox}, {Path: "/opt/secret.key", Mode: 0o644, Content: []byte("a secret\n")},
	}, "/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	built, err := image.Build()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Lab.ImportBuilt(t.Context(), built), r.StartCollector(t.Context()), r.StartAgent(t.Context())); err != nil {
		t.Fatal(err)
	}
	service := run(t, runPod(t, r, lab.PodConfig{Namespace: "rights", Name: "service"}),
		lab.ContainerConfig{Name: "main", Image: image.Name, Args: []string{"-c", "while :; do usleep 100000; done"}})
	full := node(t, r).Capabilities
	refuses(t, r, service)
	for _, c := range withoutRights() {
		t.Run(c.name, func(t *testing.T) {
			if err := r.Agent.Stop(); err != nil {
				t.Fatal(err)
			}
			r.Without = c.without
			var stranger *lab.Container
			if c.name == "CAP_KILL" {
				stranger = runStranger(t, r, image.Name)
			}
			began := time.Now()
			if err := r.StartAgent(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.check(t, "holdfast nodes", full, node(t, r).Capabilities)
			c.check(t, "holdfast-agent capabilities", full, capabilitiesWithout(t, r))
			refuses(t, r, service)
			if stranger != nil {
				goesOn(t, r, stranger, began)
			}
		})
	}
}

// check holds what an agent says of itself against what one with all capabilities says. What one of them does not speak of
// at all is left out: a command knows of no runtime.
func (c withoutRight) check(t *testing.T, who string, full, got []view.Capability) {
	t.Helper()
	for signal, what := range c.off {
		at := slices.IndexFunc(got, func(g view.Capability) bool { return g.Signal == signal })
		if at < 0 {
			t.Errorf("%s: %s is not spoken of", who, signal)
			continue
		}
		g := got[at]
		if what == "see" && g.See != view.SupportNo || what == "block" && g.Block != view.SupportNo || !strings.Contains(g.Reason, c.name) {
			t.Errorf("%s: %s: see %s, block %s, because %q; want it off for want of %s", who, signal, g.See, g.Block, g.Reason, c.name)
		}
		t.Logf("%s: %s: see %s, block %s: %s", who, signal, g.See, g.Block, g.Reason)
	}
	for _, f := range full {
		at := slices.IndexFunc(got, func(g view.Capability) bool { return g.Signal == f.Signal })
		_, off := c.off[f.Signal]
		if at < 0 || off || slices.Contains(c.mayDiffer, f.Signal) || strings.HasPrefix(f.Signal, "names from ") || f.Signal == "pinned" {
			continue
		}
		if g := got[at]; g.See != f.See || g.Block != f.Block {
			t.Errorf("%s: %s: see %s, block %s, because %q; %s has nothing to do with it", who, f.Signal, g.See, g.Block, g.Reason, c.name)
		}
	}
}

// capabilitiesWithout asks the command for the table, without the capabilities that the rig's agent lacks.
func capabilitiesWithout(t *testing.T, r *rig.Rig) []view.Capability {
	t.Helper()
	cmd := r.Lab.Command(t.Context(), r.Program("holdfast-agent"), "capabilities", "-o", "json")
	cmd.Without = r.Without
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("holdfast-agent capabilities: %v", err)
	}
	var list []view.Capability
	for line := range bytes.Lines(out) {
		var c view.Capability
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatalf("holdfast-agent capabilities: %v in %q", err, line)
		}
		list = append(list, c)
	}
	return list
}

// refuses waits until the agent keeps the container to its profile: neither an executable that is not listed runs there, nor
// is a protected file read, while what is listed runs.
func refuses(t *testing.T, r *rig.Rig, c *lab.Container) {
	t.Helper()
	err := wait.For(t.Context(), 20*time.Second, func() error {
		return r.InMode(t.Context(), "rights/service", "enforce", profile.SignalProcess, profile.SignalProtect)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, deed := range []struct {
		argv []string
		runs bool
	}{
		{[]string{"/bin/sh", "-c", "/opt/sleep 0"}, false},
		{[]string{"/bin/sh", "-c", "read line </opt/secret.key"}, false},
		{[]string{"/bin/sh", "-c", "usleep 1"}, true},
	} {
		result, err := c.Exec(t.Context(), deed.argv...)
		if err != nil {
			t.Fatal(err)
		}
		if (result.Code == 0) != deed.runs {
			t.Errorf("%v ended with code %d: %s", deed.argv, result.Code, result.Stderr)
		}
	}
}

// runStranger starts a container whose processes are not root's, with one that is not listed, while no agent is there.
func runStranger(t *testing.T, r *rig.Rig, image string) *lab.Container {
	t.Helper()
	uid := int64(1000)
	c := run(t, runPod(t, r, lab.PodConfig{Namespace: "rights", Name: "stranger"}), lab.ContainerConfig{
		Name: "main", Image: image, UID: &uid, Args: []string{"-c", "/opt/sleep 4000 & while :; do usleep 100000; done"},
	})
	if err := wait.For(t.Context(), 20*time.Second, func() error { return runsAll(c, "/opt/sleep") }); err != nil {
		t.Fatal(err)
	}
	return c
}

// goesOn checks that a process that could not be ended is told of as one that goes on.
func goesOn(t *testing.T, r *rig.Rig, c *lab.Container, began time.Time) {
	t.Helper()
	err := wait.For(t.Context(), 20*time.Second, func() error {
		alerts, err := r.Alerts(t.Context(), "--since", since(began), "--workload", "rights/stranger")
		if err != nil {
			return err
		}
		if len(alerts) != 1 || alerts[0].Action != "would_block" {
			return fmt.Errorf("alerts %+v, want one of a process that goes on", alerts)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := runsAll(c, "/opt/sleep"); err != nil {
		t.Errorf("it was ended without CAP_KILL: %v", err)
	}
}
