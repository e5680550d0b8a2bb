// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// lateScript is a service, and with it what nobody asked for: a program that was written into the container, one whose
// file is gone, and one of the image that the profile does not list. The service counts as it works.
const lateScript = `
cp /usr/bin/busybox /tmp/sleep; /tmp/sleep 4000 &
cp /usr/bin/busybox /tmp/tail; /tmp/tail -f /dev/null & while ! [ -e /proc/$!/exe ]; do :; done; sleep 1; rm /tmp/tail
/opt/sleep 3000 &
/usr/bin/sleep 5000 &
n=0; while :; do n=$((n+1)); echo $n; usleep 100000; done`

// latePolicy lets busybox of the image run, whoever starts it.
const latePolicy = `apiVersion: holdfast.dev/v1alpha1
kind: Profile
metadata: {namespace: late, kind: Pod, name: %[1]s, container: service}
modes: {process: %[1]s}
processes:
  - path: /usr/bin/busybox
`

// TestLateDenial starts agents when a container runs already, with things in it that its policy does not let run: what was
// written, what is in memory, what is not listed. They are ended where the policy is enforced, each told of once, and left
// where it is monitored; the service and the processes of the host go on.
func TestLateDenial(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "late.yaml")
	text := fmt.Sprintf(latePolicy, "enforce") + "---\n" + fmt.Sprintf(latePolicy, "monitor")
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := prepare(t, rig.Config{AgentArgs: []string{"--policy-file", policy}})
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	image, err := lab.NewImage("docker.io/acme/late:1", []lab.File{{Path: "/opt/sleep", Mode: 0o755, Source: busybox}}, "/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	built, err := image.Build()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Lab.ImportBuilt(t.Context(), built), r.StartCollector(t.Context())); err != nil {
		t.Fatal(err)
	}
	services := map[string]*lab.Container{}
	for _, mode := range []string{"enforce", "monitor"} {
		pod := runPod(t, r, lab.PodConfig{Namespace: "late", Name: mode})
		services[mode] = run(t, pod, lab.ContainerConfig{Name: "service", Image: image.Name, Args: []string{"-c", lateScript}})
	}
	for mode, c := range services {
		if err := wait.For(t.Context(), 20*time.Second, func() error { return runsAll(c, "/opt/sleep", "/tmp/sleep", "/tmp/tail (deleted)") }); err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
	}
	host := r.Lab.Command(t.Context(), "/bin/sleep", "6000")
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = host.Process.Kill(); _ = host.Wait() }()
	began := time.Now()
	if err := r.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{"drift", "executable", "fileless"}
	for mode, action := range map[string]string{"enforce": "killed", "monitor": "would_block"} {
		var alerts []view.Alert
		err := wait.For(t.Context(), 20*time.Second, func() (err error) {
			alerts, err = r.Alerts(t.Context(), "--since", since(began), "--workload", "late/"+mode)
			if err == nil && len(alerts) < len(want) {
				err = fmt.Errorf("%d alerts", len(alerts))
			}
			return err
		})
		if err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
		var got []string
		for _, a := range alerts {
			t.Logf("%s", a.Output)
			if a.Action != action || a.Violation == nil || a.Process.PID == 0 {
				t.Errorf("action %s, want %s, of a process: %+v", a.Action, action, a)
				continue
			}
			if len(a.Process.Args) < 2 {
				t.Errorf("with which arguments is not told: %s", a.Output)
			}
			got = append(got, a.Violation.Reason)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: reasons %v, want each of %v once", mode, got, want)
		}
	}
	err = wait.For(t.Context(), 10*time.Second, func() error { return runsNone(services["enforce"], "/opt/sleep", "/tmp/sleep", "/tmp/tail (deleted)") })
	if err != nil {
		t.Error(err)
	}
	if err := runsAll(services["monitor"], "/opt/sleep", "/tmp/sleep", "/tmp/tail (deleted)"); err != nil {
		t.Errorf("in monitor, something was ended: %v", err)
	}
	if err := host.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("a process of the host: %v", err)
	}
	for mode, c := range services {
		works(t, mode, c)
	}
	tallies(t, r)
	allows(t, r, began)
}

// allows checks that an alert about what ran already can be acted on like any other.
func allows(t *testing.T, r *rig.Rig, began time.Time) {
	t.Helper()
	alerts, err := r.Alerts(t.Context(), "--since", since(began), "--workload", "late/monitor", "--rule", "Executable not in profile")
	if err != nil || len(alerts) != 1 {
		t.Fatalf("%d alerts, %v", len(alerts), err)
	}
	out, err := r.Holdfast(t.Context(), "allow", alerts[0].ID, "--yes", "--reason", "the test wants it").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "/opt/sleep") {
		t.Errorf("holdfast allow: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// works checks that the service goes on.
func works(t *testing.T, mode string, c *lab.Container) {
	t.Helper()
	before, err := c.Logs()
	if err != nil {
		t.Fatal(err)
	}
	err = wait.For(t.Context(), 10*time.Second, func() error {
		now, err := c.Logs()
		if err == nil && len(now) <= len(before) {
			err = errors.New("it counts no further")
		}
		return err
	})
	if err != nil {
		t.Errorf("%s: the service: %v", mode, err)
	}
}

// tallies checks that what was done is counted where people look.
func tallies(t *testing.T, r *rig.Rig) {
	t.Helper()
	err := wait.For(t.Context(), 30*time.Second, func() error {
		states, err := r.Workloads(t.Context(), "late/*")
		if err != nil {
			return err
		}
		for _, w := range states {
			blocked, would := uint64(3), uint64(0)
			if w.Workload.Name == "monitor" {
				blocked, would = 0, 3
			}
			if w.Blocked != blocked || w.WouldBlock != would {
				return fmt.Errorf("%s: %d blocked, %d would be", w.Workload.Name, w.Blocked, w.WouldBlock)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// executables lists what runs in a container, as /proc names it.
func executables(c *lab.Container) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(c.CgroupDir(), "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	var list []string
	for pid := range strings.FieldsSeq(string(text)) {
		if _, err := strconv.Atoi(pid); err != nil {
			return nil, err
		}
		if exe, err := os.Readlink("/proc/" + pid + "/exe"); err == nil {
			list = append(list, exe)
		}
	}
	return list, nil
}

func runsAll(c *lab.Container, exes ...string) error {
	running, err := executables(c)
	for _, exe := range exes {
		if err == nil && !slices.Contains(running, exe) {
			err = fmt.Errorf("%s does not run: %v", exe, running)
		}
	}
	return err
}

func runsNone(c *lab.Container, exes ...string) error {
	running, err := executables(c)
	for _, exe := range exes {
		if err == nil && slices.Contains(running, exe) {
			err = fmt.Errorf("%s runs: %v", exe, running)
		}
	}
	return err
}
