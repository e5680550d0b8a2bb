// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-project/holdfast/collector/view"
)

// outage is how long the API server is away.
const outage = 2 * time.Minute

const outageManifest = `
apiVersion: v1
kind: Namespace
metadata: {name: outage}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: ticker, namespace: outage}
spec:
  selector: {matchLabels: {app: ticker}}
  template:
    metadata: {labels: {app: ticker}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        # Runs on all the time.
        - name: steady
          image: docker.io/library/busybox:lab
          command: [sh, -c, 'n=0; while :; do busybox true steady-$n; n=$((n+1)); sleep 0.2; done']
        # Ends again and again: the kubelet makes new containers without asking.
        - name: anew
          image: docker.io/library/busybox:lab
          command: [sh, -c, 'busybox true anew-$(cat /proc/sys/kernel/random/uuid); sleep 2']
`

// testOutage stops the API server for two minutes while a workload runs and its
// containers are made anew. Nothing may be lost or lose its name, and the agent
// may not be restarted.
func testOutage(t *testing.T, h *holdfast) {
	begin := time.Now()
	before := h.nodeNow(t, begin)
	h.apply(t, outageManifest)
	h.await(t, "the ticker runs", func(ctx context.Context) error {
		pods, err := h.Client.CoreV1().Pods("outage").List(ctx, metav1.ListOptions{})
		if err == nil && (len(pods.Items) != 1 || pods.Items[0].Status.Phase != corev1.PodRunning) {
			err = errors.New("it does not")
		}
		return err
	})
	if err := h.StopAPI(); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	select {
	case <-time.After(outage):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
	if err := h.StartAPI(t.Context()); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	after := h.quiesce(t)
	found, err := h.marked(t.Context(), begin)
	if err != nil {
		t.Fatal(err)
	}
	steady, anew, last := 0, 0, 0
	for marker, workloads := range found {
		container, rest, _ := strings.Cut(marker, "-")
		var n int
		switch container {
		case "steady":
			if _, err := fmt.Sscan(rest, &n); err != nil {
				t.Fatal(err)
			}
			steady, last = steady+1, max(last, n)
		case "anew":
			anew++
		default:
			continue
		}
		want := view.Workload{Namespace: "outage", Kind: "Deployment", Name: "ticker", Container: container}
		for _, got := range workloads {
			if got != want {
				t.Errorf("%s was recorded of %+v; want %+v", marker, got, want)
			}
		}
	}
	t.Logf("the API server was away for %s: %d execs of the running container of %d, and %d containers made anew",
		back.Sub(stopped).Round(time.Second), steady, last+1, anew)
	if steady != last+1 {
		t.Errorf("%d of %d execs are not recorded", last+1-steady, last+1)
	}
	if steady < int(outage/time.Second) || anew < 3 {
		t.Error("too little was run to tell")
	}
	if after.Lost != before.Lost || !after.Health.Started.Equal(before.Health.Started) {
		t.Errorf("lost %d events, the agent started %s; before %d, %s", after.Lost, after.Health.Started, before.Lost, before.Health.Started)
	}
	h.kubectl(t, "delete", "namespace", "outage", "--wait=false")
}
