// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

// TestBurst runs short containers, each of which says its number, and gives
// the rate. HOLDFAST_LAB_BURST and HOLDFAST_LAB_PARALLEL change how many.
func TestBurst(t *testing.T) {
	l := start(t, Config{})
	ctx := within(t, 10*time.Minute)
	if err := l.Load(ctx, Busybox); err != nil {
		t.Fatal(err)
	}
	burst := Burst{
		Count:    fromEnv(t, "HOLDFAST_LAB_BURST", 20),
		Parallel: fromEnv(t, "HOLDFAST_LAB_PARALLEL", 4),
		Container: func(n int) ContainerConfig {
			return ContainerConfig{
				Name:    fmt.Sprintf("short-%d", n),
				Image:   BusyboxImage,
				Command: []string{"sh", "-c", fmt.Sprintf("exit %d", n%100)},
			}
		},
	}
	for i := range fromEnv(t, "HOLDFAST_LAB_PODS", 2) {
		pod, err := l.RunPod(ctx, PodConfig{Namespace: "burst", Name: fmt.Sprintf("pod-%d", i)})
		if err != nil {
			t.Fatal(err)
		}
		burst.Pods = append(burst.Pods, pod)
	}
	result, err := l.RunBurst(ctx, burst)
	if err != nil {
		t.Fatal(err)
	}
	for n, c := range result.Containers {
		if want := n % 100; c.Status.ExitCode != want {
			t.Errorf("container %d ended with %d, want %d", n, c.Status.ExitCode, want)
		}
	}
	t.Logf("%d containers in %v: %.1f a second", burst.Count, result.Took.Round(time.Millisecond), result.Rate())
	for _, pod := range burst.Pods {
		if err := pod.Remove(ctx); err != nil {
			t.Error(err)
		}
	}
	if pids := cgroupPIDs(l.CgroupDir() + "/kubepods"); len(pids) > 0 {
		t.Errorf("processes %v are left of removed pods", pids)
	}
}

// fromEnv returns a number from the environment, or a default.
func fromEnv(t *testing.T, name string, value int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return value
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}
