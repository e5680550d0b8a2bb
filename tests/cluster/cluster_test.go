// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-project/holdfast/collector/view"
)

// TestHoldfast installs the chart in a cluster and has the tests of this
// package look at it, one after the other; the last removes it.
func TestHoldfast(t *testing.T) {
	h := install(t)
	for _, step := range []struct {
		name string
		test func(*testing.T, *holdfast)
	}{
		{"Agent", testAgent},
		{"Owners", testOwners},
		{"Burst", testBurst},
		{"Modes", testModes},
		{"RefusedObjects", testRefusedObjects},
		{"Moves", testMoves},
		{"Enrolment", testEnrolment},
		{"Demo", testDemo},
		{"Outage", testOutage},
		{"Capabilities", testCapabilities},
		{"Rollout", testRollout},
		{"Scale", testScale},
		{"Uninstall", testUninstall},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.test(t, h) }) && step.name == "Agent" {
			return
		}
	}
}

// testAgent checks that the agent is ready without being privileged, and that
// it sees everything that this kernel lets it see: what the agent says of the
// node is what one started by hand, as root, says.
func testAgent(t *testing.T, h *holdfast) {
	ds, err := h.Client.AppsV1().DaemonSets(namespace).Get(t.Context(), "holdfast-agent", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if ds.Status.NumberReady != 1 || ds.Status.DesiredNumberScheduled != 1 {
		t.Errorf("%d of %d agents are ready", ds.Status.NumberReady, ds.Status.DesiredNumberScheduled)
	}
	checkConfined(t, ds)
	pod, err := h.agentPod(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if pod.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("the agent was restarted %d times", pod.Status.ContainerStatuses[0].RestartCount)
	}
	checkProcess(t, pod)
	n := h.nodeNow(t, time.Now())
	logCapabilities(t, n.Capabilities)
	if len(n.Capabilities) == 0 {
		t.Error("the agent names no capabilities")
	}
	for _, want := range h.seenByRoot(t) {
		at := slices.IndexFunc(n.Capabilities, func(c view.Capability) bool { return c.Signal == want.Signal })
		if at < 0 || n.Capabilities[at].See != want.See || n.Capabilities[at].Block != want.Block {
			t.Errorf("%s: the kernel lets root see %s and block %s, which the agent does not", want.Signal, want.See, want.Block)
		}
	}
	t.Logf("resident set %d MiB, %d containers, %d processes", n.Health.RSSBytes>>20, n.Health.Containers, n.Health.Processes)
}

// seenByRoot is what an agent can see and block on the node that nobody
// confines.
func (h *holdfast) seenByRoot(t *testing.T) []view.Capability {
	t.Helper()
	out, err := h.Node.Command(t.Context(), filepath.Join(h.bin, "holdfast-agent"), "capabilities", "-o", "json").Output()
	if err != nil {
		t.Fatalf("holdfast-agent capabilities: %v\n%s", err, out)
	}
	var all []view.Capability
	for line := range bytes.Lines(out) {
		var c view.Capability
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatalf("holdfast-agent capabilities: %v in %q", err, line)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		t.Fatal("holdfast-agent capabilities names none")
	}
	return all
}

// checkConfined checks the security context that the chart gives to the agent.
func checkConfined(t *testing.T, ds *appsv1.DaemonSet) {
	t.Helper()
	for _, c := range ds.Spec.Template.Spec.Containers {
		s := c.SecurityContext
		if s == nil || s.Capabilities == nil {
			t.Fatalf("container %s has no security context", c.Name)
		}
		if s.Privileged != nil && *s.Privileged {
			t.Errorf("container %s is privileged", c.Name)
		}
		if s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
			t.Errorf("the root of container %s can be written to", c.Name)
		}
		if !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || slices.Contains(s.Capabilities.Add, "SYS_ADMIN") {
			t.Errorf("capabilities of container %s: drops %v, adds %v", c.Name, s.Capabilities.Drop, s.Capabilities.Add)
		}
		t.Logf("container %s has the capabilities %v", c.Name, s.Capabilities.Add)
	}
}

// checkProcess checks what the kernel says of the agent's process.
func checkProcess(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", processOf(t, pod)))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "Cap") || strings.HasPrefix(line, "Seccomp") || strings.HasPrefix(line, "NoNewPrivs") {
			t.Log(strings.TrimSpace(line))
		}
		if line == "Seccomp:\t0\n" || line == "NoNewPrivs:\t0\n" {
			t.Errorf("the agent's process runs with %s", strings.TrimSpace(line))
		}
	}
}

// processOf is a process of the first container of a pod.
func processOf(t *testing.T, pod *corev1.Pod) int {
	t.Helper()
	id := pod.Status.ContainerStatuses[0].ContainerID
	id = id[strings.LastIndex(id, "/")+1:]
	tasks, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range tasks {
		if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), id) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			t.Fatal(err)
		}
		return pid
	}
	t.Fatalf("no process runs in container %s", id)
	return 0
}

// logCapabilities prints what the agent can see and block.
func logCapabilities(t *testing.T, capabilities []view.Capability) {
	t.Helper()
	for _, c := range capabilities {
		t.Logf("%-12s see %-7s block %-7s %s %s", c.Signal, c.See, c.Block, c.Mechanism, c.Reason)
	}
}

// testUninstall removes the release and looks for what it left on the node.
func testUninstall(t *testing.T, h *holdfast) {
	text, err := h.Helm(t.Context(), "uninstall", "holdfast", "--namespace", namespace, "--wait", "--timeout", patience.String()).CombinedOutput()
	if err != nil {
		t.Fatalf("helm uninstall: %v\n%s", err, text)
	}
	h.await(t, "the agent's pods are gone", func(ctx context.Context) error {
		pods, err := h.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err == nil && len(pods.Items) > 0 {
			err = fmt.Errorf("%d pods are left, %s among them", len(pods.Items), pods.Items[0].Name)
		}
		return err
	})
	h.awaitClean(t)
	for _, dir := range []string{"/sys/fs/bpf", "/var/lib", "/run", "/var/run"} {
		out, err := h.Node.Command(t.Context(), "find", dir, "-name", "*holdfast*").CombinedOutput()
		if err != nil {
			t.Fatalf("look for files: %v\n%s", err, out)
		}
		if len(out) > 0 {
			t.Errorf("left behind:\n%s", out)
		}
	}
}
