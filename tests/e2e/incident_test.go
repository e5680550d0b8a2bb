// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
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

// incidentScript makes a file; then, when it is told to, runs what it has dropped, and goes on making files as before.
const incidentScript = `
touch /tmp/before
while ! [ -e /orders/go ]; do usleep 100000; done
cp /usr/bin/busybox /tmp/dropped; /tmp/dropped true
while ! [ -e /orders/on ]; do usleep 100000; done
touch /tmp/after
while :; do usleep 1000000; done`

// TestIncidentsAreNotLearned has a container run a dropped program while it is learned. What it did before is learned; what
// the same program of the image does after the alert waits for a person.
func TestIncidentsAreNotLearned(t *testing.T) {
	r := startRig(t, rig.Config{})
	image := attacker(t, r)
	dir := filepath.Join(r.Dir, "orders")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	order := func(name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	run(t, runPod(t, r, lab.PodConfig{Namespace: "incident", Name: "web"}), lab.ContainerConfig{
		Name: "app", Image: image.Name, Command: []string{"/bin/sh", "-c", incidentScript},
		Mounts: []lab.Mount{{HostPath: dir, ContainerPath: "/orders", ReadOnly: true}},
	})
	await := func(what string, condition func() error) {
		t.Helper()
		if err := wait.For(t.Context(), time.Minute, condition); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	await("what it did before", func() error {
		return has(learnedOf(t, r), "path: /tmp/before,")
	})
	order("go")
	await("the alert", func() error {
		alerts, err := r.Alerts(t.Context(), "--since", since(began), "--workload", "incident/*", "--rule", "Executable not from the image")
		if err == nil && len(alerts) == 0 {
			err = fmt.Errorf("none")
		}
		return err
	})
	order("on")
	await("what it did after", func() error {
		if err := has(candidatesOf(t, r), "/tmp/after during an incident"); err != nil {
			return fmt.Errorf("%w; learned: %q", err, learnedOf(t, r))
		}
		return nil
	})
	if has(learnedOf(t, r), "path: /tmp/after,") == nil {
		t.Error("what was done during the incident was learned")
	}
	if has(candidatesOf(t, r), "/tmp/before") == nil {
		t.Error("what was done before the incident waits for a person")
	}
}

func has(lines []string, want string) error {
	for _, line := range lines {
		if strings.Contains(line, want) {
			return nil
		}
	}
	return fmt.Errorf("%q is not among %q", want, lines)
}

// candidatesOf gives what waits for a person, with the reason; none while there is no profile.
func candidatesOf(t *testing.T, r *rig.Rig) []string {
	t.Helper()
	out, err := r.Holdfast(t.Context(), "profile", "candidates", "incident/web", "-o", "json").Output()
	if err != nil {
		return nil
	}
	var lines []string
	for line := range bytes.Lines(out) {
		var c struct{ Entry, Suspect string }
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		lines = append(lines, c.Entry+" "+c.Suspect)
	}
	return lines
}

// learnedOf gives the lines of the merged profile that list what is learned.
func learnedOf(t *testing.T, r *rig.Rig) []string {
	t.Helper()
	out, err := r.Holdfast(t.Context(), "profile", "export", "--workload", "incident/web", "--layer", "merged").Output()
	if err != nil {
		return nil
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "origin: learned") {
			lines = append(lines, line)
		}
	}
	return lines
}
