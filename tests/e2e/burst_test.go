// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// TestExecBurst runs 100,000 processes of less than a millisecond as fast as the machine can. Each exec must be stored,
// or counted as lost.
func TestExecBurst(t *testing.T) {
	const count = 100_000
	r := startRig(t, rig.Config{})
	image := attacker(t, r)
	pod := runPod(t, r, lab.PodConfig{Namespace: "burst", Name: "burst"})
	record(t, r, run(t, pod, lab.ContainerConfig{Name: "idle", Image: image.Name, Command: []string{"/bin/sleep", "3600"}}), "exec")
	before := node(t, r).Lost
	began := time.Now()
	c := run(t, pod, lab.ContainerConfig{Name: "burst", Image: image.Name, Args: []string{"burst", fmt.Sprint(count)}})
	status, err := c.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	log, err := c.Logs()
	if err != nil {
		t.Fatal(err)
	}
	if status.ExitCode != 0 || !strings.HasPrefix(log, fmt.Sprintf("ran %d in ", count)) {
		t.Fatalf("the burst ended with %d: %s", status.ExitCode, log)
	}
	quiesce(t, r, 2*time.Minute)
	stored := 0
	err = r.Events(t.Context(), func(e *view.Event) {
		if e.Container != nil && e.Container.ID == c.ID && len(e.Process.Args) > 0 && e.Process.Args[0] == "/bin/true" {
			stored++
		}
	}, "--since", since(began), "--type", "exec", "--workload", "burst/*")
	if err != nil {
		t.Fatal(err)
	}
	n := node(t, r)
	lost := n.Lost - before
	took := status.Finished.Sub(status.Started)
	t.Logf("%s%d execs in %s, %.0f/s: %d stored, %d counted as lost (%v, %v)",
		log, count, took.Round(time.Millisecond), count/took.Seconds(), stored, lost, n.Health.Losses, n.Undelivered)
	if stored > count || uint64(count-stored) > lost {
		t.Errorf("%d of %d are neither stored nor counted as lost", count-stored-int(lost), count)
	}
	if lost == 0 && stored != count {
		t.Errorf("%d stored of %d", stored, count)
	}
}

// record has the collector record classes of the container's namespace, and waits until the agent does.
func record(t *testing.T, r *rig.Rig, c *lab.Container, types string) {
	t.Helper()
	began, workload := time.Now(), c.Pod.Namespace+"/*"
	if out, err := r.Holdfast(t.Context(), "record", "set", "--workload", workload, "--type", types).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	err := wait.For(t.Context(), 20*time.Second, func() error {
		do(t, c, false, "nop")
		recorded := 0
		err := r.Events(t.Context(), func(*view.Event) { recorded++ }, "--since", since(began), "--workload", workload)
		if err == nil && recorded == 0 {
			err = fmt.Errorf("nothing of %s is recorded yet", workload)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
