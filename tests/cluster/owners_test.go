// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-project/holdfast/collector/view"
)

// ownersManifest has a workload of each kind. Every container runs busybox with
// an argument of its own, kind-container, by which its exec is told.
//
//go:embed testdata/owners.yaml
var ownersManifest string

// testOwners runs workloads of all kinds; the exec of each container has to be
// named to the top owner.
func testOwners(t *testing.T, h *holdfast) {
	begin := time.Now()
	h.apply(t, ownersManifest)
	h.makeWidget(t)
	h.addEphemeral(t)
	want := map[string]view.Workload{
		"deployment-init":      {Kind: "Deployment", Name: "web", Container: "init"},
		"deployment-main":      {Kind: "Deployment", Name: "web", Container: "main"},
		"deployment-ephemeral": {Kind: "Deployment", Name: "web", Container: "ephemeral"},
		"statefulset-main":     {Kind: "StatefulSet", Name: "db", Container: "main"},
		"daemonset-main":       {Kind: "DaemonSet", Name: "logs", Container: "main"},
		"job-main":             {Kind: "Job", Name: "once", Container: "main"},
		"cronjob-main":         {Kind: "CronJob", Name: "tick", Container: "main"},
		"pod-main":             {Kind: "Pod", Name: "bare", Container: "main"},
		"widget-main":          {Kind: "Widget", Name: "gear", Container: "main"},
	}
	for marker, w := range want {
		w.Namespace = "owners"
		want[marker] = w
	}
	// A CronJob takes up to a minute to begin.
	h.awaitMarked(t, begin, "owners", want)
}

// makeWidget makes an object of a custom controller's kind, with a ReplicaSet
// that belongs to it, as such a controller would.
func (h *holdfast) makeWidget(t *testing.T) {
	t.Helper()
	h.await(t, "the kind Widget is served", func(ctx context.Context) error {
		return h.Apply(ctx, []byte("apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: gear, namespace: owners}\n"))
	})
	uid := strings.TrimSpace(h.kubectl(t, "get", "-n", "owners", "widgets.example.com", "gear", "-o", "jsonpath={.metadata.uid}"))
	h.apply(t, fmt.Sprintf(`
apiVersion: apps/v1
kind: ReplicaSet
metadata:
  name: gear-5d8f
  namespace: owners
  ownerReferences: [{apiVersion: example.com/v1, kind: Widget, name: gear, uid: %s, controller: true}]
spec:
  selector: {matchLabels: {app: gear}}
  template:
    metadata: {labels: {app: gear}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - {name: main, image: "docker.io/library/busybox:lab", command: [sh, -c, "busybox true widget-main; exec sleep 3600"]}
`, uid))
}

// addEphemeral adds an ephemeral container to the Deployment's pod, as kubectl
// debug does.
func (h *holdfast) addEphemeral(t *testing.T) {
	t.Helper()
	pods := h.Client.CoreV1().Pods("owners")
	h.await(t, "the Deployment's pod runs", func(ctx context.Context) error {
		found, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
		if err != nil {
			return err
		}
		if len(found.Items) != 1 || found.Items[0].Status.Phase != corev1.PodRunning {
			return fmt.Errorf("%d pods, not running", len(found.Items))
		}
		pod := &found.Items[0]
		pod.Spec.EphemeralContainers = append(pod.Spec.EphemeralContainers, corev1.EphemeralContainer{
			EphemeralContainerCommon: corev1.EphemeralContainerCommon{
				Name: "ephemeral", Image: "docker.io/library/busybox:lab", ImagePullPolicy: corev1.PullNever,
				Command: []string{"busybox", "true", "deployment-ephemeral"},
			},
		})
		_, err = pods.UpdateEphemeralContainers(ctx, pod.Name, pod, metav1.UpdateOptions{})
		return err
	})
}

// marked are the recorded execs of busybox true since a time in a namespace, by
// their argument.
func (h *holdfast) marked(ctx context.Context, begin time.Time) (map[string][]view.Workload, error) {
	found := map[string][]view.Workload{}
	err := h.ask.Events(ctx, func(e *view.Event) {
		if args := e.Process.Args; len(args) == 3 && args[1] == "true" {
			found[args[2]] = append(found[args[2]], e.Workload)
		}
	}, "--since", since(begin), "--type", "exec")
	return found, err
}

// awaitMarked waits until every marker has been recorded, and checks that each
// was each time recorded of its workload.
func (h *holdfast) awaitMarked(t *testing.T, begin time.Time, what string, want map[string]view.Workload) {
	t.Helper()
	var found map[string][]view.Workload
	h.await(t, "every exec of "+what+" is recorded", func(ctx context.Context) error {
		var err error
		if found, err = h.marked(ctx, begin); err != nil {
			return err
		}
		var missing []string
		for marker := range want {
			if len(found[marker]) == 0 {
				missing = append(missing, marker)
			}
		}
		if len(missing) > 0 {
			slices.Sort(missing)
			return fmt.Errorf("%d of %d are missing: %s", len(missing), len(want), strings.Join(missing[:min(10, len(missing))], " "))
		}
		return nil
	})
	wrong := 0
	for _, marker := range slices.Sorted(maps.Keys(want)) {
		for _, got := range found[marker] {
			if got == want[marker] {
				continue
			}
			if wrong++; wrong <= 20 {
				t.Errorf("%s was recorded of %+v; want %+v", marker, got, want[marker])
			}
		}
	}
	t.Logf("%s: %d markers, %d recorded of another workload than theirs", what, len(want), wrong)
}
