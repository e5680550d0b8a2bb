// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// TestLossesAreNoted holds the agent up while a container starts more programs than the kernel's ring has room for. What it
// learned meanwhile is partial: nobody knows what was in the events that are lost.
func TestLossesAreNoted(t *testing.T) {
	r := startRig(t, rig.Config{AgentArgs: []string{"--ring-bytes", "65536"}})
	image := attacker(t, r)
	c := run(t, runPod(t, r, lab.PodConfig{Namespace: "loss", Name: "web"}),
		lab.ContainerConfig{Name: "app", Image: image.Name, Command: []string{"/bin/sleep", "3600"}})
	learned := func(want profile.State) {
		t.Helper()
		err := wait.For(t.Context(), patience, func() error {
			out, err := r.Holdfast(t.Context(), "profile", "export", "--workload", "loss/web", "--layer", "merged").Output()
			if err != nil {
				return fmt.Errorf("profile export: %w", err)
			}
			p, err := profile.DecodeOne("merged", out)
			if err != nil {
				return err
			}
			for _, signal := range profile.LearnedSignals() {
				if state := p.Signals[signal].State; state != want {
					return fmt.Errorf("%s is %s, want %s", signal, state, want)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	learned(profile.StateLearning)

	stopped := r.Agent.PID()
	if err := syscall.Kill(stopped, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	result, err := c.Exec(t.Context(), "/usr/bin/deeds", "burst", "5000")
	if err := errors.Join(err, syscall.Kill(stopped, syscall.SIGCONT)); err != nil {
		t.Fatal(err)
	}
	if result.Code != 0 {
		t.Fatalf("the programs were not started: %+v", result)
	}
	learned(profile.StatePartial)
}
