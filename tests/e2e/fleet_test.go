// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// fleetScript does what it is asked to by files in /tmp/want, once each on the first node and again and again on the second,
// where it also runs what was dropped all the time: on the first, that would be an incident, during which nothing is learned.
const fleetScript = `mkdir -p /tmp/want; cp /usr/bin/busybox /tmp/true
while :; do
	for p in first second third away; do
		if [ -e /tmp/want/$p ]; then
			[ $0 = always ] || rm /tmp/want/$p
			/opt/$p/true; echo $p $?
		fi
	done
	if [ $0 = always ]; then /tmp/true; echo dropped $?; fi
	usleep 20000
done 2>/dev/null`

// fleetPolicy keeps the second node's replica to its profile.
const fleetPolicy = `apiVersion: holdfast.dev/v1alpha1
kind: Profile
metadata: {namespace: fleet, kind: Pod, name: web, container: service}
modes: {process: enforce}
processes:
  - path: /usr/bin/busybox
    parents: [{path: '*'}]
    anyArguments: true
`

// twoNodes is a collector with two agents, each of a containerd of its own, and a replica of one workload on each: learning on
// the first node, enforced on the second.
type twoNodes struct {
	first, second *rig.Rig
	learns, kept  *lab.Container
}

func startTwoNodes(t *testing.T) *twoNodes {
	t.Helper()
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(policy, []byte(fleetPolicy), 0o600); err != nil {
		t.Fatal(err)
	}
	n := startNodes(t, "--policy-file", policy)
	n.learns, n.kept = startReplica(t, n.first, "once"), startReplica(t, n.second, "always")
	return n
}

// startNodes starts the collector and the agents, the second with more arguments, and no replicas.
func startNodes(t *testing.T, more ...string) *twoNodes {
	t.Helper()
	n := &twoNodes{first: startRig(t, rig.Config{})}
	n.second = prepare(t, rig.Config{AgentArgs: append([]string{"--node", "node-2"}, more...)})
	// The second node reaches the collector as if it were its own.
	listener, err := n.second.Lab.Listen(t.Context(), "tcp", rig.GRPCAddress)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	forwarded := make(chan error, 1)
	go func() {
		forwarded <- lab.Forward(ctx, listener, func(ctx context.Context) (net.Conn, error) {
			return n.first.Lab.DialContext(ctx, "tcp", rig.GRPCAddress)
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-forwarded; err != nil {
			t.Error(err)
		}
	})
	token, err := n.first.JoinTokenFile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n.startSecond(t, "--join-token-file", token)
	return n
}

// startSecond starts the agent of the second node and waits until it is connected.
func (n *twoNodes) startSecond(t *testing.T, more ...string) {
	t.Helper()
	var err error
	args := append(n.second.AgentArgs(), more...)
	if n.second.Agent, err = n.second.Launch("agent", nil, n.second.Program("holdfast-agent"), args...); err != nil {
		t.Fatal(err)
	}
	err = wait.For(t.Context(), patience, func() error {
		out, err := n.first.Holdfast(t.Context(), "nodes", "show", "node-2").CombinedOutput()
		if err == nil && !strings.Contains(string(out), "node-2: connected") {
			err = fmt.Errorf("node-2 is not connected: %s", out)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func startReplica(t *testing.T, r *rig.Rig, how string) *lab.Container {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	var files []lab.File
	for _, name := range []string{"first", "second", "third", "away"} {
		files = append(files, lab.File{Path: "/opt/" + name + "/true", Mode: 0o755, Source: busybox})
	}
	image, err := lab.NewImage("docker.io/acme/fleet:1", files, "/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	built, err := image.Build()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Lab.ImportBuilt(t.Context(), built); err != nil {
		t.Fatal(err)
	}
	pod := runPod(t, r, lab.PodConfig{Namespace: "fleet", Name: "web"})
	return run(t, pod, lab.ContainerConfig{Name: "service", Image: image.Name, Args: []string{"-c", fleetScript, how}})
}

// ask has a replica do something from now on.
func ask(t *testing.T, c *lab.Container, what string) {
	t.Helper()
	got, err := c.Exec(t.Context(), "touch", "/tmp/want/"+what)
	if err != nil || got.Code != 0 {
		t.Fatalf("%s: touch ended with %d: %s: %v", c.Name, got.Code, got.Stderr, err)
	}
}

// said waits until a replica has said something since a length of its log.
func said(t *testing.T, c *lab.Container, from int, line string, within time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		got, _ := outcomes(t, c, from)
		if got[line] > 0 {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s did not say %q within %s, but %v", c.ID, line, within, got)
		case <-tick.C:
		}
	}
}

// TestTwoNodes has a replica on one node do what nobody has done before, and the enforced replica on another node the same:
// it is refused until the first was seen to do it, and allowed a moment later. While the collector is away, both nodes go on,
// and what was learned then is told once, when it is back.
func TestTwoNodes(t *testing.T) {
	n := startTwoNodes(t)
	said(t, n.kept, 0, "dropped "+killed, 30*time.Second)
	var best time.Duration
	for _, what := range []string{"first", "second", "third"} {
		took := n.spread(t, what, func() {})
		t.Logf("%s: allowed on the second node %s after it was done on the first", what, took.Round(time.Millisecond))
		if best == 0 || took < best {
			best = took
		}
	}
	// The others may have met a machine that was busy with something else.
	if best > 5*time.Second {
		t.Errorf("behaviour was allowed on the other node after %s at the earliest, want 5s", best)
	}
	if err := n.first.Collector.Stop(); err != nil {
		t.Fatal(err)
	}
	took := n.spread(t, "away", func() { n.away(t) })
	t.Logf("away: allowed on the second node %s after it was done, with the collector away", took.Round(time.Millisecond))
	n.once(t)
	if got, _ := outcomes(t, n.kept, 0); got["dropped "+ran] > 0 {
		t.Errorf("what was dropped ran on the enforced node: %v", got)
	}
}

// spread has the second replica do something, then the first, does more, and returns how long it took from the first
// replica's deed until the second may do it.
func (n *twoNodes) spread(t *testing.T, what string, more func()) time.Duration {
	t.Helper()
	_, from := outcomes(t, n.kept, 0)
	ask(t, n.kept, what)
	said(t, n.kept, from, what+" "+killed, 30*time.Second)
	ask(t, n.learns, what)
	said(t, n.learns, 0, what+" "+ran, 30*time.Second)
	began := time.Now()
	more()
	said(t, n.kept, from, what+" "+ran, time.Minute)
	return time.Since(began)
}

// away checks that both nodes go on without the collector, and brings it back.
func (n *twoNodes) away(t *testing.T) {
	t.Helper()
	err := wait.For(t.Context(), 30*time.Second, func() error {
		files, err := filepath.Glob(filepath.Join(n.first.AgentDir(), "observed", "*.yaml"))
		if err != nil {
			return err
		}
		for _, path := range files {
			if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), "/opt/away/true") {
				return nil
			}
		}
		return fmt.Errorf("nothing is learned: %v", files)
	})
	if err != nil {
		t.Error(err)
	}
	_, from := outcomes(t, n.kept, 0)
	said(t, n.kept, from, "dropped "+killed, 30*time.Second)
	said(t, n.kept, from, "away "+killed, 30*time.Second)
	if got, _ := outcomes(t, n.kept, from); got["away "+ran] > 0 || got["dropped "+ran] > 0 {
		t.Errorf("without the collector, the second node allows what it did not: %v", got)
	}
	if err := n.first.StartCollector(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// once checks that the collector has what the first node did, as often as it was done.
func (n *twoNodes) once(t *testing.T) {
	t.Helper()
	out, err := n.first.Holdfast(t.Context(), "profile", "export", "--workload", "fleet/web", "--layer", "merged").Output()
	if err != nil {
		t.Fatal(err)
	}
	p, err := profile.DecodeOne("merged", out)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	found := 0
	for _, one := range p.Processes {
		if name, ok := strings.CutPrefix(one.Path, "/opt/"); ok && one.Seen.Origin == profile.Learned {
			found++
			if one.Seen.Count != 1 || one.Seen.Replicas["node-1"] != 1 || one.Seen.Replicas["node-2"] != 0 {
				t.Errorf("%s was done once, by one container of node-1: %d times, %v", name, one.Seen.Count, one.Seen.Replicas)
			}
		}
	}
	if found != 4 {
		t.Errorf("%d programs are learned, want 4:\n%s", found, out)
	}
}
