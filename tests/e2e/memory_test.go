// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// TestMemory bounds what the agent takes with 500 containers that it knows.
func TestMemory(t *testing.T) {
	const count, limit = 500, 80 << 20
	r := startRig(t, rig.Config{})
	if err := r.Lab.Load(t.Context(), lab.Busybox); err != nil {
		t.Fatal(err)
	}
	idle := resident(t, r.Agent.PID(), "VmRSS")
	var pods []*lab.Pod
	for i := range 10 {
		pods = append(pods, runPod(t, r, lab.PodConfig{Namespace: "many", Name: fmt.Sprintf("pod-%d", i)}))
	}
	burst, err := r.Lab.RunBurst(t.Context(), lab.Burst{
		Count: count, Pods: pods, Hold: true,
		Container: func(n int) lab.ContainerConfig {
			return lab.ContainerConfig{Name: fmt.Sprintf("c%d", n), Image: lab.BusyboxImage, Command: []string{"sleep", "3600"}}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	err = wait.For(t.Context(), 30*time.Second, func() error {
		n, err := r.Node(t.Context())
		if err == nil && n.Health.Containers < count {
			err = fmt.Errorf("the agent knows %d containers of %d", n.Health.Containers, count)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	now, peak := resident(t, r.Agent.PID(), "VmRSS"), resident(t, r.Agent.PID(), "VmHWM")
	t.Logf("resident: %d KiB at the start, %d KiB with %d containers (%.1f/s), %d KiB at most; of it %d KiB anonymous, %d KiB files, %d KiB shared",
		idle>>10, now>>10, count, burst.Rate(), peak>>10, resident(t, r.Agent.PID(), "RssAnon")>>10,
		resident(t, r.Agent.PID(), "RssFile")>>10, resident(t, r.Agent.PID(), "RssShmem")>>10)
	if now > limit {
		t.Errorf("%d bytes are resident, at most %d are allowed", now, limit)
	}
}

// resident reads a size of a process, bytes, under its name in /proc/PID/status.
func resident(t *testing.T, pid int, name string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == name+":" {
			kib, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal(errors.New(name + " is not told"))
	return 0
}
