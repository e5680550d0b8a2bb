// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// TestFullDisk fills the disk of the agent, and then that of the collector, while alerts come. Each says so, works on
// when there is space again, and nothing is lost.
func TestFullDisk(t *testing.T) {
	r := prepare(t, rig.Config{})
	for _, dir := range []string{r.AgentDir(), r.CollectorDir()} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		inLab(t, r, "mount", "-t", "tmpfs", "-o", "size=48m,mode=700", "none", dir)
	}
	if err := errors.Join(r.StartCollector(t.Context()), r.StartAgent(t.Context())); err != nil {
		t.Fatal(err)
	}
	image := attacker(t, r)
	began := time.Now()
	deeds := 0
	for _, disk := range []struct {
		name, dir string
		program   *rig.Program
	}{{"agent", r.AgentDir(), r.Agent}, {"collector", r.CollectorDir(), r.Collector}} {
		t.Run(disk.name, func(t *testing.T) {
			filler := filepath.Join(disk.dir, "filler")
			// It ends when there is no space left, which is an error.
			_ = r.Lab.Command(t.Context(), "dd", "if=/dev/zero", "of="+filler, "bs=4k").Run()
			const count = 200
			pod := runPod(t, r, lab.PodConfig{Namespace: "full", Name: disk.name})
			c := run(t, pod, lab.ContainerConfig{
				Name: "load", Image: image.Name, Args: []string{"plant-many", "/usr/bin", fmt.Sprint(count), "5ms"},
			})
			if status, err := c.Wait(t.Context()); err != nil || status.ExitCode != 0 {
				t.Fatalf("the load: %v %+v", err, status)
			}
			deeds += count
			err := wait.For(t.Context(), 20*time.Second, func() error {
				if log := disk.program.Log(1 << 20); !strings.Contains(log, "no space") && !strings.Contains(log, "full") {
					return fmt.Errorf("the %s does not say that its disk is full", disk.name)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			inLab(t, r, "rm", filler)
			err = wait.For(t.Context(), 60*time.Second, func() error {
				alerts, err := r.Alerts(t.Context(), "--since", since(began), "--workload", "full/*")
				if err == nil && len(alerts) < deeds {
					err = fmt.Errorf("%d of %d alerts are stored", len(alerts), deeds)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	quiesce(t, r, 30*time.Second)
	alerts, err := r.Alerts(t.Context(), "--since", since(began), "--workload", "full/*")
	if err != nil {
		t.Fatal(err)
	}
	once := map[string]int{}
	for _, a := range alerts {
		once[a.Container.Pod+a.Event.File.Path]++
	}
	n := node(t, r)
	t.Logf("%d deeds with full disks: %d alerts of %d deeds stored; lost %v, undelivered %v", deeds, len(alerts), len(once), n.Health.Losses, n.Undelivered)
	if len(alerts) != deeds || len(once) != deeds || n.Lost != 0 {
		t.Errorf("%d alerts of %d deeds, %d lost; want %d, once each", len(alerts), len(once), n.Lost, deeds)
	}
}

// inLab runs a program of the machine in the lab's namespaces.
func inLab(t *testing.T, r *rig.Rig, name string, args ...string) {
	t.Helper()
	if out, err := r.Lab.Command(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}
