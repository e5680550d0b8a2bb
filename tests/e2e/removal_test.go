// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// TestRemovedProfile removes the profile of a workload that one node does not run any more, while the agent of another is
// away that still runs it. Both nodes forget what they learned: the one at once, the other when it is back, where learning
// begins anew with what runs. Nothing of before comes back, also after agents have started anew.
func TestRemovedProfile(t *testing.T) {
	n := startNodes(t)
	n.learns, n.kept = startReplica(t, n.first, "once"), startReplica(t, n.second, "once")
	for _, c := range []*lab.Container{n.learns, n.kept} {
		ask(t, c, "first")
		said(t, c, 0, "first "+ran, patience)
	}
	n.merged(t, func(p *profile.Profile) error {
		first := programOf(p, "/opt/first/true")
		if first == nil || first.Seen.Replicas["node-1"] != 1 || first.Seen.Replicas["node-2"] != 1 {
			return errors.New("what both nodes did is not learned of both")
		}
		return nil
	})
	if err := errors.Join(n.second.Agent.Stop(), n.learns.Pod.Remove(t.Context())); err != nil {
		t.Fatal(err)
	}
	// Until the first node has noticed that its replica is gone, the profile is in use.
	err := wait.For(t.Context(), patience, func() error {
		out, err := n.first.Holdfast(t.Context(), "profile", "remove", "fleet/web", "--reason", "tried").CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	forgotten(t, n.first)

	n.startSecond(t)
	forgotten(t, n.second)
	n.merged(t, func(p *profile.Profile) error {
		shell := programOf(p, "/usr/bin/busybox")
		if shell == nil || !slices.ContainsFunc(shell.Parents, func(x profile.Parent) bool { return x.Path == profile.Runtime }) {
			return errors.New("what runs on the second node is not learned anew")
		}
		return anew(p)
	})
	_, from := outcomes(t, n.kept, 0)
	ask(t, n.kept, "second")
	said(t, n.kept, from, "second "+ran, patience)
	second := func(p *profile.Profile) error {
		if programOf(p, "/opt/second/true") == nil {
			return errors.New("what was done afterwards is not learned")
		}
		return anew(p)
	}
	n.merged(t, second)

	// Both have nothing older to tell when they start anew.
	if err := errors.Join(n.first.Agent.Stop(), n.second.Agent.Stop()); err != nil {
		t.Fatal(err)
	}
	if err := n.first.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.startSecond(t)
	back := startReplica(t, n.first, "once")
	ask(t, back, "third")
	said(t, back, 0, "third "+ran, patience)
	n.merged(t, func(p *profile.Profile) error {
		if programOf(p, "/opt/third/true") == nil {
			return errors.New("what was done on the first node is not learned")
		}
		return second(p)
	})
}

// merged waits until what the nodes have observed of the workload meets a condition.
func (n *twoNodes) merged(t *testing.T, condition func(*profile.Profile) error) {
	t.Helper()
	var text []byte
	err := wait.For(t.Context(), patience, func() error {
		var err error
		text, err = n.first.Holdfast(t.Context(), "profile", "export", "--workload", "fleet/web", "--layer", "merged").Output()
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			return fmt.Errorf("%w: %s", err, failed.Stderr)
		}
		if err != nil {
			return err
		}
		p, err := profile.DecodeOne("merged", text)
		if err != nil {
			return err
		}
		return condition(p)
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

// programOf finds what was learned of a program, nil for nothing.
func programOf(p *profile.Profile, path string) *profile.Process {
	i := slices.IndexFunc(p.Processes, func(q profile.Process) bool { return q.Path == path && q.Seen.Origin == profile.Learned })
	if i < 0 {
		return nil
	}
	return &p.Processes[i]
}

// anew is an error if there is something of before the removal.
func anew(p *profile.Profile) error {
	if slices.ContainsFunc(p.Processes, func(q profile.Process) bool { return q.Path == "/opt/first/true" }) {
		return errors.New("what was learned before the removal is back")
	}
	return nil
}

// forgotten waits until a node has nothing on disk any more of what was learned before.
func forgotten(t *testing.T, r *rig.Rig) {
	t.Helper()
	err := wait.For(t.Context(), patience, func() error {
		files, err := filepath.Glob(filepath.Join(r.AgentDir(), "observed", "*.yaml"))
		if err != nil {
			return err
		}
		for _, path := range files {
			if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), "/opt/first/true") {
				return fmt.Errorf("%s has what was learned before:\n%s", path, text)
			}
		}
		_, err = os.Stat(filepath.Join(r.AgentDir(), "observed", "removals.json"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
