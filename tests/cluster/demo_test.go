// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-project/holdfast/collector/cli"
	"github.com/holdfast-project/holdfast/collector/demo"
	"github.com/holdfast-project/holdfast/collector/view"
	node "github.com/holdfast-project/holdfast/tests/lab"
)

// testDemo runs holdfast demo as users do: to watch, to enforce, interrupted,
// with an image that is not there, and without rights. Each has a namespace of
// its own, has to say what it should and to leave nothing.
func testDemo(t *testing.T, h *holdfast) {
	t.Run("Monitor", func(t *testing.T) {
		out := h.demo(t, "monitor", cli.ExitOK, "--learn", "15s", "-o", "json")
		checkSteps(t, out, "would_block")
	})
	t.Run("Enforce", func(t *testing.T) {
		out := h.demo(t, "enforce", cli.ExitOK, "--learn", "15s", "--enforce", "-o", "json")
		checkSteps(t, out, "blocked", "killed")
	})
	t.Run("Interrupted", h.interruptDemo)
	t.Run("NoImage", func(t *testing.T) {
		out := h.demo(t, "no-image", cli.ExitFailure, "--image", "docker.io/library/none:lab")
		if !strings.Contains(out.errors, "--image") || !strings.Contains(out.errors, "none:lab") {
			t.Errorf("it does not say what is wrong with the image:\n%s", out.errors)
		}
	})
	t.Run("NoRights", func(t *testing.T) {
		out := h.demo(t, "no-rights", cli.ExitRefused, "--kubeconfig", h.powerless(t))
		if !strings.Contains(out.errors, "create namespaces") || !strings.Contains(out.errors, "create pods/exec") {
			t.Errorf("it does not say which rights are missing:\n%s", out.errors)
		}
	})
}

// demoOutput is what a demo said.
type demoOutput struct {
	namespace string
	answer    []byte
	errors    string
}

// demoCommand prepares the command as an administrator of the cluster runs it.
func (h *holdfast) demoCommand(ctx context.Context, namespace string, args ...string) *node.Cmd {
	return h.ask.Holdfast(ctx, append([]string{
		"demo", "--kubernetes", "--kubeconfig", h.Kubeconfig(), "--namespace", namespace, "--image", node.BusyboxImage,
	}, args...)...)
}

// demo runs the command in a namespace to its end, which has to have an exit
// code, and checks that nothing is left.
func (h *holdfast) demo(t *testing.T, namespace string, code int, args ...string) demoOutput {
	t.Helper()
	namespace = "first-" + namespace
	cmd := h.demoCommand(t.Context(), namespace, args...)
	var answer, errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = &answer, &errors
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	t.Logf("%s", errors.String())
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("exit code %d; want %d", got, code)
	}
	h.checkDemoGone(t, namespace)
	return demoOutput{namespace: namespace, answer: answer.Bytes(), errors: errors.String()}
}

// checkDemoGone checks that neither cluster nor collector have anything of a
// demo but alerts.
func (h *holdfast) checkDemoGone(t *testing.T, namespace string) {
	t.Helper()
	if _, err := h.Client.CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the namespace is still there: %v", err)
	}
	for _, args := range [][]string{{"profile", "list", "--workload", namespace}, {"mode", "list"}} {
		text, err := h.ask.Holdfast(t.Context(), append(args, "-o", "json")...).Output()
		if err != nil || bytes.Contains(text, []byte(namespace)) {
			t.Errorf("holdfast %s: %v\n%s", strings.Join(args, " "), err, text)
		}
	}
}

// checkSteps checks that of every step something was told with one of the
// actions, and nothing of anybody but the shop.
func checkSteps(t *testing.T, out demoOutput, actions ...string) {
	t.Helper()
	seen := 0
	for line := range bytes.Lines(out.answer) {
		var step struct {
			What, Answer string
			Alerts       []view.Alert
		}
		if err := json.Unmarshal(line, &step); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		seen++
		var rules []string
		judged := false
		for _, a := range step.Alerts {
			rules = append(rules, fmt.Sprintf("%s: %s", a.Action, a.Rule))
			judged = judged || slices.Contains(actions, a.Action)
			if a.Workload.Namespace != out.namespace || a.Workload.Kind != "Deployment" || a.Workload.Name != demo.Workload {
				t.Errorf("%s: told of %+v", step.What, a.Workload)
			}
		}
		t.Logf("%-42s %-40q %s", step.What, step.Answer, strings.Join(rules, "; "))
		if !judged {
			t.Errorf("%s: no alert says %s", step.What, strings.Join(actions, " or "))
		}
	}
	if want := len(demo.Steps()); seen != want {
		t.Errorf("%d steps; want %d", seen, want)
	}
}

// interruptDemo interrupts a demo when its pods run.
func (h *holdfast) interruptDemo(t *testing.T) {
	const namespace = "first-interrupted"
	cmd := h.demoCommand(t.Context(), namespace)
	var errors bytes.Buffer
	cmd.Stderr = &errors
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h.await(t, "the demo's shop runs", func(ctx context.Context) error {
		d, err := h.Client.AppsV1().Deployments(namespace).Get(ctx, demo.Workload, metav1.GetOptions{})
		if err == nil && d.Status.ReadyReplicas == 0 {
			err = fmt.Errorf("none is ready")
		}
		return err
	})
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v", err)
	}
	t.Logf("%s", errors.String())
	h.checkDemoGone(t, namespace)
}

// powerless writes a kubeconfig of somebody who may do nothing.
func (h *holdfast) powerless(t *testing.T) string {
	t.Helper()
	token := strings.TrimSpace(h.kubectl(t, "create", "token", "default", "-n", "default"))
	ca := h.Config.CAData
	if len(ca) == 0 {
		var err error
		if ca, err = os.ReadFile(h.Config.CAFile); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`
apiVersion: v1
kind: Config
current-context: lab
contexts: [{name: lab, context: {cluster: lab, user: nobody}}]
clusters: [{name: lab, cluster: {server: %q, certificate-authority-data: %s}}]
users: [{name: nobody, user: {token: %s}}]
`, h.Config.Host, base64.StdEncoding.EncodeToString(ca), token)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
