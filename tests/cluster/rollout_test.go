// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/rig"
)

// secondTag is of the images of the second build.
const secondTag = "second"

// rolloutManifest runs a program of the image with a number that counts up, and
// one that was written into the container, some twenty times a second each.
const rolloutManifest = `
apiVersion: v1
kind: Namespace
metadata: {name: rollout}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: load, namespace: rollout}
spec:
  selector: {matchLabels: {app: load}}
  template:
    metadata: {labels: {app: load}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: main
          image: docker.io/library/busybox:lab
          command:
            - sh
            - -c
            - |
              cp /usr/bin/busybox /tmp/true
              n=0
              while :; do
                busybox true load$n; echo listed $?
                /tmp/true; echo dropped $?
                n=$((n+1))
                usleep 20000
              done 2>/dev/null
`

// testRollout replaces agent and collector by those of a second build, while a
// workload that is enforced goes on. What was dropped never runs, what is listed
// always does, and every exec is recorded, once.
func testRollout(t *testing.T, h *holdfast) {
	begin := time.Now()
	h.importSecond(t)
	h.apply(t, rolloutManifest)
	t.Cleanup(func() { h.deleteNamespace(t, "rollout") })
	pod := h.awaitRunning(t, "rollout", "app=load").Name
	h.awaitLearned(t, "rollout/load", "[busybox, 'true', load<n>]")
	h.command(t, "mode", "set", "rollout/load", "enforce", "--signal", "process", "--reason", "it was learned")
	h.await(t, "the load is enforced", func(ctx context.Context) error {
		return h.ask.InMode(ctx, "rollout/load", "enforce", profile.SignalProcess)
	})
	h.await(t, "the dropped program is stopped", func(context.Context) error {
		if counts, _ := h.outcomes(t, "rollout", pod, 0); counts["dropped 137"]+counts["dropped 126"] == 0 {
			return fmt.Errorf("it says %v", counts)
		}
		return nil
	})
	_, from := h.outcomes(t, "rollout", pod, 0)
	old := h.nodeNow(t, time.Now())
	upgraded := time.Now()
	h.helm(t, "upgrade", "--set", "image.tag="+secondTag)
	t.Logf("upgraded, all of it ready, after %s", time.Since(upgraded).Round(10*time.Millisecond))
	h.login(t)
	h.checkSecond(t)
	after := h.quiesce(t)
	if !after.Health.Started.After(old.Health.Started) {
		t.Errorf("the agent runs since %s; want another than that of %s", after.Health.Started, old.Health.Started)
	}
	if after.Lost != 0 {
		t.Errorf("the new agent has lost %d events: %v; the old one %d", after.Lost, after.Health.Losses, old.Lost)
	}
	h.checkVerdicts(t, pod, from)
	h.checkRecorded(t, begin)
}

// importSecond builds Holdfast a second time, with another mark in every
// program, and gives the images to the node.
func (h *holdfast) importSecond(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	if err := rig.Build(t.Context(), dir, append([]string{"-ldflags=-s -w -buildid=second"}, rig.Programs()...)...); err != nil {
		t.Fatal(err)
	}
	h.importImages(t, dir, secondTag)
}

// checkSecond checks that the agent's pod runs the second build.
func (h *holdfast) checkSecond(t *testing.T) {
	t.Helper()
	h.await(t, "the agent of the second build runs", func(ctx context.Context) error {
		pod, err := h.agentPod(ctx)
		if err != nil {
			return err
		}
		if image := pod.Spec.Containers[0].Image; !strings.HasSuffix(image, ":"+secondTag) || !podReady(pod) {
			return fmt.Errorf("it is of %s, or not ready", image)
		}
		return nil
	})
}

// checkVerdicts checks what the load has said since.
func (h *holdfast) checkVerdicts(t *testing.T, pod string, from int) {
	t.Helper()
	counts, _ := h.outcomes(t, "rollout", pod, from)
	t.Logf("during the update: %v", counts)
	for what, n := range counts {
		if what != "listed 0" && (!strings.HasPrefix(what, "dropped ") || what == "dropped 0") {
			t.Errorf("%d times %q", n, what)
		}
	}
	if counts["listed 0"] < 50 {
		t.Error("too little was run to tell")
	}
}

// checkRecorded checks that every exec of the load was recorded, once.
func (h *holdfast) checkRecorded(t *testing.T, begin time.Time) {
	t.Helper()
	found, err := h.marked(t.Context(), begin)
	if err != nil {
		t.Fatal(err)
	}
	times, last := map[int]int{}, -1
	want := view.Workload{Namespace: "rollout", Kind: "Deployment", Name: "load", Container: "main"}
	for marker, workloads := range found {
		number, ok := strings.CutPrefix(marker, "load")
		n, err := strconv.Atoi(number)
		if !ok || err != nil {
			continue
		}
		times[n], last = len(workloads), max(last, n)
		for _, got := range workloads {
			if got != want {
				t.Errorf("%s was recorded of %+v; want %+v", marker, got, want)
			}
		}
	}
	var missing, more []int
	for n := range last + 1 {
		switch {
		case times[n] == 0:
			missing = append(missing, n)
		case times[n] > 1:
			more = append(more, n)
		}
	}
	t.Logf("%d execs, %d of them not recorded, %d more than once", last+1, len(missing), len(more))
	if len(missing)+len(more) > 0 {
		t.Errorf("not recorded: %v; more than once: %v", missing[:min(20, len(missing))], more[:min(20, len(more))])
	}
}
