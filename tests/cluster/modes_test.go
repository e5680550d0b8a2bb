// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-project/holdfast/rules/profile"
)

// modesManifest has the three workloads of testModes.
//
//go:embed testdata/modes.yaml
var modesManifest string

// modeWay is a way to have a workload enforced, and what the agent then names as
// the source of the mode.
type modeWay struct {
	set    func()
	source string
}

// modeWays are the ways, by the name of the Deployment that each is tried on.
func (h *holdfast) modeWays(t *testing.T) map[string]modeWay {
	return map[string]modeWay{
		"by-annotation": {func() {
			h.kubectl(t, "annotate", "-n", "modes", "deployment", "by-annotation", "holdfast.dev/mode.process=enforce")
		}, "annotation"},
		"by-object": {func() {
			h.apply(t, `
apiVersion: holdfast.dev/v1alpha1
kind: HoldfastPolicy
metadata: {name: enforced, namespace: modes}
spec:
  workloads: [{name: by-object}]
  modes: {process: enforce}
`)
		}, "collector"},
		"by-command": {func() {
			h.command(t, "mode", "set", "modes/by-command", "enforce", "--signal", "process", "--reason", "it was learned")
		}, "collector"},
	}
}

// testModes has three workloads that do the same learned, and then enforced: by
// an annotation, by an object and by the command. Each then runs what was
// learned, without exception and from the first moment, and no more what was
// dropped; and each is told of in the same words.
func testModes(t *testing.T, h *holdfast) {
	begin := time.Now()
	h.apply(t, modesManifest)
	t.Cleanup(func() { h.deleteNamespace(t, "modes") })
	pods := map[string]string{}
	ways := h.modeWays(t)
	for name := range ways {
		pods[name] = h.awaitRunning(t, "modes", "app="+name).Name
	}
	for name := range ways {
		h.awaitLearned(t, "modes/"+name, "[busybox, 'true', listed]")
		counts, _ := h.outcomes(t, "modes", pods[name], 0)
		if counts["dropped 0"] == 0 {
			t.Errorf("%s: the dropped program does not run while it learns: %v", name, counts)
		}
	}
	for _, way := range ways {
		way.set()
	}
	told := map[string]string{}
	for name, way := range ways {
		h.await(t, name+" is enforced", func(ctx context.Context) error {
			return h.ask.InMode(ctx, "modes/"+name, "enforce", profile.SignalProcess)
		})
		h.checkEnforced(t, name, pods[name])
		told[name] = h.told(t, begin, "modes/"+name, way.source)
	}
	for name, what := range told {
		t.Logf("%s: %s", name, what)
		if what != told["by-command"] {
			t.Errorf("%s is told of otherwise than by-command: %s", name, told["by-command"])
		}
	}
	h.checkPolicyStatus(t)
	h.await(t, "every pod has its Event", func(ctx context.Context) error {
		for name, pod := range pods {
			events, err := h.Client.CoreV1().Events("modes").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod})
			if err != nil {
				return err
			}
			at := slices.IndexFunc(events.Items, func(e corev1.Event) bool { return strings.HasPrefix(e.Reason, "Holdfast") })
			if at < 0 {
				return fmt.Errorf("that of %s has none", name)
			}
		}
		return nil
	})
}

// checkEnforced looks at what a workload says from now on.
func (h *holdfast) checkEnforced(t *testing.T, name, pod string) {
	t.Helper()
	all, from := h.outcomes(t, "modes", pod, 0)
	for what, n := range all {
		if strings.HasPrefix(what, "listed ") && what != "listed 0" {
			t.Errorf("%s: %d times %q before", name, n, what)
		}
	}
	const enough = 20
	var counts map[string]int
	h.await(t, name+" has gone on", func(context.Context) error {
		if counts, _ = h.outcomes(t, "modes", pod, from); counts["listed 0"] < enough {
			return fmt.Errorf("it says %v", counts)
		}
		return nil
	})
	t.Logf("%s, enforced: %v", name, counts)
	dropped := 0
	for what, n := range counts {
		switch {
		case what == "listed 0":
		case strings.HasPrefix(what, "dropped ") && what != "dropped 0":
			dropped += n
		default:
			t.Errorf("%s: %d times %q", name, n, what)
		}
	}
	if dropped < enough-1 {
		t.Errorf("%s: the dropped program was stopped %d times", name, dropped)
	}
}

// told is what the alerts say of a workload's blocked deeds, without what is its
// own: one kind of them is expected.
func (h *holdfast) told(t *testing.T, begin time.Time, workload, source string) string {
	t.Helper()
	kinds := map[string]int{}
	h.await(t, "the collector has alerts of "+workload, func(ctx context.Context) error {
		alerts, err := h.ask.Alerts(ctx, "--since", since(begin), "--workload", workload)
		if err != nil {
			return err
		}
		clear(kinds)
		for _, a := range alerts {
			v := a.Violation
			if v == nil || v.Mode != "enforce" {
				continue
			}
			if !strings.HasPrefix(v.ModeSource, source) {
				return fmt.Errorf("the mode is said to come from %q; want %s", v.ModeSource, source)
			}
			kinds[fmt.Sprintf("%s, %s: %s for %s, of %s from %s", a.Rule, a.Action, v.Signal, v.Reason, v.Path, v.FileSource)]++
		}
		if len(kinds) == 0 {
			return fmt.Errorf("%d alerts, none of something that was stopped", len(alerts))
		}
		return nil
	})
	return strings.Join(slices.Sorted(maps.Keys(kinds)), "; ")
}

// checkPolicyStatus checks what the status of the HoldfastPolicy comes to.
func (h *holdfast) checkPolicyStatus(t *testing.T) {
	t.Helper()
	const columns = `jsonpath={.status.conditions[?(@.type=="Applied")].status} {.status.coverage} {.status.signals.process.mode} {.status.blocked}`
	h.await(t, "the policy's status counts what was blocked", func(ctx context.Context) error {
		text, err := h.Kubectl(ctx, "get", "-n", "modes", "hfpol", "enforced", "-o", columns).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, text)
		}
		var applied, coverage, mode string
		var blocked int
		if _, err := fmt.Sscan(string(text), &applied, &coverage, &mode, &blocked); err != nil {
			return fmt.Errorf("%w in %q", err, text)
		}
		if applied != "True" || coverage != "1/1" || mode != "enforce" || blocked == 0 {
			return fmt.Errorf("it is %s", text)
		}
		t.Logf("status of the policy: applied, coverage, mode and blocked are %s", text)
		return nil
	})
}

// testRefusedObjects applies objects that are wrong: the API server itself has
// to refuse each, and to say why.
func testRefusedObjects(t *testing.T, h *holdfast) {
	const profile = `
apiVersion: holdfast.dev/v1alpha1
kind: HoldfastProfile
metadata: {name: wrong, namespace: default}
spec:
  workload: {kind: Deployment, name: web, container: main}
  processes: [%s]
`
	const policy = `
apiVersion: holdfast.dev/v1alpha1
kind: HoldfastPolicy
metadata: {name: wrong, namespace: default}
spec: {%s}
`
	for _, test := range []struct{ name, manifest, says string }{
		{"relative path", fmt.Sprintf(profile, `{path: usr/bin/nginx}`), "must be an absolute path"},
		{"path that leads upwards", fmt.Sprintf(profile, `{path: /usr/../bin/sh}`), "must not contain .."},
		{"whom to contact is missing", fmt.Sprintf(profile, `{path: /bin/sh, egress: [{protocol: tcp, port: 80}]}`), "exactly one of name, service, workload and cidr is expected"},
		{"port", fmt.Sprintf(profile, `{path: /bin/sh, egress: [{service: a/b, protocol: tcp, port: 70000}]}`), "port must be from 1 to 65535, or any"},
		{"unknown key", fmt.Sprintf(profile, `{path: /bin/sh, child: 1}`), "child"},
		{"mode", fmt.Sprintf(policy, `modes: {process: block}`), `Unsupported value: "block"`},
		{"no modes", fmt.Sprintf(policy, `modes: {}`), "at least one of process, file, egress, protect, dlp and waf is expected"},
		{"another namespace", fmt.Sprintf(policy, `workloads: [{name: kube-system/web}], modes: {process: enforce}`), "should match"},
	} {
		err := h.Apply(t.Context(), []byte(test.manifest))
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v; want a refusal that says %q", test.name, err, test.says)
			continue
		}
		t.Logf("%s: %v", test.name, err)
	}
	for _, kind := range []string{"hfp", "hfpol"} {
		if text := h.kubectl(t, "get", kind, "-n", "default", "-o", "name"); strings.Contains(text, "wrong") {
			t.Errorf("there is %s", text)
		}
	}
}

// outcomes counts the whole lines that the container main of a pod has written,
// from a length of its log on.
func (h *holdfast) outcomes(t *testing.T, namespace, pod string, from int) (counts map[string]int, length int) {
	t.Helper()
	text, err := h.PodLog(t.Context(), namespace, pod, "main")
	if err != nil {
		t.Fatal(err)
	}
	if len(text) < from {
		t.Fatalf("the log of %s has become shorter, from %d to %d bytes", pod, from, len(text))
	}
	counts = map[string]int{}
	for line := range strings.Lines(text[from:]) {
		if strings.HasSuffix(line, "\n") {
			counts[strings.TrimSpace(line)]++
		}
	}
	return counts, len(text)
}

// awaitLearned waits until the profile of a workload has a text.
func (h *holdfast) awaitLearned(t *testing.T, workload, want string) {
	t.Helper()
	h.await(t, workload+" is learned", func(ctx context.Context) error {
		text, err := h.ask.Holdfast(ctx, "profile", "show", workload, "-o", "yaml").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, text)
		}
		if !strings.Contains(string(text), want) {
			return fmt.Errorf("its profile lacks %s:\n%s", want, text)
		}
		return nil
	})
}

// awaitRunning waits until one pod that a selector finds is ready, and no other
// is left.
func (h *holdfast) awaitRunning(t *testing.T, namespace, selector string) *corev1.Pod {
	t.Helper()
	var found *corev1.Pod
	h.await(t, "the pod of "+selector+" runs", func(ctx context.Context) error {
		pods, err := h.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return err
		}
		if len(pods.Items) != 1 {
			return fmt.Errorf("there are %d pods", len(pods.Items))
		}
		found = &pods.Items[0]
		if !podReady(found) {
			return errors.New("it is not ready")
		}
		return nil
	})
	return found
}

// podReady tells whether a pod is ready and stays.
func podReady(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// command runs the holdfast command and returns what it says.
func (h *holdfast) command(t *testing.T, args ...string) string {
	t.Helper()
	text, err := h.ask.Holdfast(t.Context(), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("holdfast %s: %v\n%s", strings.Join(args, " "), err, text)
	}
	return string(text)
}

// deleteNamespace deletes a namespace, and waits until its pods are gone: they
// have to leave the next test alone.
func (h *holdfast) deleteNamespace(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if text, err := h.Kubectl(ctx, "delete", "namespace", name, "--ignore-not-found", "--timeout", patience.String()).CombinedOutput(); err != nil {
		t.Errorf("delete namespace %s: %v: %s", name, err, text)
	}
}
