// SPDX-License-Identifier: Apache-2.0

package nri

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/metrics"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

var mayBuild = flag.Bool("build", false, "build containerd where the cache does not have it")

// another is for runs against a runtime that is at hand.
var another = flag.String("containerd", "", "test this containerd, which has NRI, with its shim beside it")

// bin is where the programs under test are, containerd the one with NRI, unless missing says why there is none.
var (
	bin, containerd string
	missing         error
)

func TestMain(m *testing.M) {
	lab.RunHolder()
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getuid() != 0 {
		missing = lab.ErrNotRoot
		return m.Run()
	}
	var err error
	if containerd = *another; containerd == "" {
		containerd, err = Containerd(context.Background(), *mayBuild)
	}
	if errors.Is(err, ErrNotBuilt) {
		missing = err
		return m.Run()
	}
	if err == nil {
		bin, err = rig.BuildTemp(context.Background())
		defer os.RemoveAll(bin)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

const (
	metricsAddress = "127.0.0.1:7490"
	// markDir is where a container's first program leaves its mark.
	markDir = "/marks"
)

// start makes a lab with the containerd that has NRI, a collector, and an agent that enforces policies.
func start(t *testing.T, policies string, args ...string) *rig.Rig {
	t.Helper()
	if missing != nil {
		t.Skip(missing)
	}
	if packages := lab.Missing(); len(packages) > 0 {
		t.Fatalf("Debian packages are missing: %s", strings.Join(packages, " "))
	}
	file := filepath.Join(t.TempDir(), "policies.yaml")
	if err := os.WriteFile(file, []byte(policies), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := rig.Start(t.Context(), rig.Config{
		Bin: bin, Lab: lab.Config{Containerd: containerd, NRI: true, Memory: true},
		AgentArgs: append([]string{"--policy-file", file, "--brake-workloads", "0", "--metrics-listen", metricsAddress}, args...),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("agent:\n%s\ncontainerd:\n%s", r.Agent.Log(40), r.Lab.ContainerdLog(20))
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := r.Lab.Load(t.Context(), lab.Busybox); err != nil {
		t.Fatal(err)
	}
	return r
}

// policy is a profile in enforce for one container of the workload shop/Deployment/web that lets one program run.
func policy(container, program string) string {
	return listed(container, program) + "modes: {process: enforce, file: \"off\", egress: \"off\"}\n"
}

// listed is such a profile without a word on how strict to be.
func listed(container, program string) string {
	return fmt.Sprintf(`---
apiVersion: holdfast.dev/v1alpha1
kind: Profile
metadata: {namespace: shop, kind: Deployment, name: web, container: %s}
processes:
  - path: %s
    anyArguments: true
    parents: [{path: (runtime)}]
`, container, program)
}

// runPods starts pods of that workload.
func runPods(t *testing.T, r *rig.Rig, count int, annotations map[string]string) []*lab.Pod {
	t.Helper()
	var pods []*lab.Pod
	for i := range count {
		pod, err := r.Lab.RunPod(t.Context(), lab.PodConfig{
			Namespace: "shop", Name: fmt.Sprintf("web-7d4b9-abcd%d", i), Labels: map[string]string{"pod-template-hash": "7d4b9"},
			Annotations: annotations,
		})
		if err != nil {
			t.Fatal(err)
		}
		pods = append(pods, pod)
	}
	return pods
}

// marker is a container whose very first program leaves a mark.
func marker(name, marks string) lab.ContainerConfig {
	return lab.ContainerConfig{
		Name: name, Image: lab.BusyboxImage, Command: []string{"/bin/touch", markDir + "/" + name},
		Mounts: []lab.Mount{{HostPath: marks, ContainerPath: markDir}},
	}
}

// before waits until the collector has the agent's word on whether verdicts come before the first program.
func before(t *testing.T, r *rig.Rig, want string) view.Capability {
	t.Helper()
	var word view.Capability
	wait.Until(t, time.Minute, func() error {
		n, err := r.Node(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range n.Capabilities {
			if c.Signal == "verdict before first exec" && c.Block == want && n.Connected {
				word = c
				return nil
			}
		}
		return fmt.Errorf("no word %q on verdicts before the first program: %+v", want, n.Capabilities)
	})
	return word
}

// measured reads the agent's metrics, by name and labels without what all names begin with.
func measured(t *testing.T, r *rig.Rig) map[string]float64 {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: r.Lab.DialContext, DisableKeepAlives: true}}
	all, err := metrics.Read(t.Context(), client, "http://"+metricsAddress+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for series, v := range all {
		values[strings.TrimPrefix(series, "holdfast_agent_")] = v
	}
	return values
}

// window says how long containers were there before their policy was in force: the share that had it from the start, and
// the bounds below which half of them and all of them were.
func window(values map[string]float64) string {
	count := values["policy_window_seconds_count"]
	quantile := func(share float64) string {
		best, text := -1.0, "more than measured"
		for name, v := range values {
			bound, found := strings.CutPrefix(name, `policy_window_seconds_bucket{le="`)
			if !found || v < share*count {
				continue
			}
			s, err := strconv.ParseFloat(strings.TrimSuffix(bound, `"}`), 64)
			if err == nil && (best < 0 || s < best) {
				best, text = s, "at most "+strconv.FormatFloat(s*1000, 'f', -1, 64)+" ms"
			}
		}
		return text
	}
	return fmt.Sprintf("policy in force from the start for %.0f of %.0f; median %s, the longest %s",
		values[`policy_window_seconds_bucket{le="0"}`], count, quantile(0.5), quantile(1))
}

// TestFirstProgram starts containers whose very first program their profile does not list. With NRI none of the programs
// runs an instruction, be the agent starved of its CPU; by containerd's events alone some may.
func TestFirstProgram(t *testing.T) {
	for _, way := range []struct {
		name, block string
		count       int
		starved     bool
		args        []string
	}{
		{"nri", view.SupportYes, 200, false, nil},
		{"events", view.SupportNo, 200, false, []string{"--nri-socket", ""}},
		{"nri, starved", view.SupportYes, 100, true, []string{"--nri-wait", "1s"}},
		{"events, starved", view.SupportNo, 100, true, []string{"--nri-socket", ""}},
	} {
		t.Run(way.name, func(t *testing.T) {
			var policies strings.Builder
			for i := range way.count {
				policies.WriteString(policy(fmt.Sprintf("c%d", i), "/bin/nothing"))
			}
			r := start(t, policies.String(), way.args...)
			c := before(t, r, way.block)
			t.Logf("%s: block %s by %s; %s", c.Signal, c.Block, c.Mechanism, c.Reason)
			pods := runPods(t, r, 8, nil)
			if way.starved {
				defer starve(t, r)()
			}
			ran, killed := unlisted(t, r, pods, way.count)
			m := measured(t, r)
			t.Logf("%d of %d first programs ran, %d were killed; %s", ran, way.count, killed, window(m))
			if way.block != view.SupportYes {
				return
			}
			t.Logf("NRI: %.0f announcements, %.0f ready, %.0f late, %.0f failed; held up %.1f ms each", m["nri_announced_total"],
				m["nri_ready_total"], m["nri_late_total"], m["nri_failed_total"], 1000*m["nri_waited_seconds_total"]/m["nri_announced_total"])
			if ran != 0 || killed != way.count {
				t.Errorf("%d of %d programs ran that the profile does not list, %d were killed", ran, way.count, killed)
			}
			if m["nri_announced_total"] < float64(way.count) || m["nri_bad_messages_total"] != 0 || m["nri_failed_total"] != 0 {
				t.Error("containers were not announced, or not made ready")
			}
		})
	}
}

// unlisted runs containers whose first program leaves a mark and is not listed, and returns how many did and how many were
// killed.
func unlisted(t *testing.T, r *rig.Rig, pods []*lab.Pod, count int) (ran, killed int) {
	t.Helper()
	marks := t.TempDir()
	burst, err := r.Lab.RunBurst(t.Context(), lab.Burst{
		Count: count, Pods: pods, Container: func(n int) lab.ContainerConfig { return marker(fmt.Sprintf("c%d", n), marks) },
	})
	if err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(marks)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range burst.Containers {
		if c.Status.ExitCode == 137 {
			killed++
		}
	}
	t.Logf("%d containers in %s", count, burst.Took.Round(time.Second))
	return len(left), killed
}

// starve lets the agent run for a quarter of the time, in turns of 200 ms, until what it returns is called.
func starve(t *testing.T, r *rig.Rig) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		var err error
		for ctx.Err() == nil && err == nil {
			err = syscall.Kill(r.Agent.PID(), syscall.SIGSTOP)
			time.Sleep(150 * time.Millisecond)
			err = errors.Join(err, syscall.Kill(r.Agent.PID(), syscall.SIGCONT))
			time.Sleep(50 * time.Millisecond)
		}
		done <- err
	}()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestStartsGoOn starts containers while the agent is killed, stopped and started again, and while the runtime restarts:
// each of them starts, and when the agent is back, so is what it keeps containers to.
func TestStartsGoOn(t *testing.T) {
	policies := policy("good", "/usr/bin/busybox")
	for i := range 4 {
		policies += policy(fmt.Sprintf("bad%d", i), "/bin/nothing")
	}
	r := start(t, policies)
	before(t, r, view.SupportYes)
	pods := runPods(t, r, 1, nil)
	marks := t.TempDir()
	goOn := func(when string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		c, err := pods[0].Run(ctx, marker("good", marks))
		took := time.Since(began)
		if err == nil {
			_, err = c.Wait(ctx)
		}
		_, mark := os.Stat(filepath.Join(marks, "good"))
		if err = errors.Join(err, mark, os.Remove(filepath.Join(marks, "good"))); err != nil {
			t.Fatalf("%s: a container did not start: %v", when, err)
		}
		t.Logf("%s: started in %s", when, took.Round(time.Millisecond))
	}
	tried := 0
	kept := func(when string) {
		t.Helper()
		// Another one each time: a container that is blocked and started again is a reason to enforce no more.
		name := fmt.Sprintf("bad%d", tried)
		tried++
		c, err := pods[0].Run(t.Context(), marker(name, marks))
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.Wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(marks, name)); !errors.Is(err, os.ErrNotExist) || s.ExitCode != 137 {
			t.Errorf("%s: what the profile does not list ran (%v), code %d", when, err, s.ExitCode)
		}
	}
	goOn("in peace")
	kept("in peace")

	if err := r.Lab.RestartContainerd(t.Context()); err != nil {
		t.Fatal(err)
	}
	goOn("right after the runtime's restart")
	sessions(t, r, 2)
	kept("after the runtime's restart")

	if err := r.Agent.Kill(); err != nil {
		t.Fatal(err)
	}
	goOn("without an agent")
	if err := r.Lab.RestartContainerd(t.Context()); err != nil {
		t.Fatal(err)
	}
	goOn("after the runtime's restart, without an agent")
	if err := r.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	goOn("while the agent comes back")
	sessions(t, r, 1)
	kept("with the agent back")

	signal(t, r, syscall.SIGSTOP)
	goOn("with an agent that does not answer")
	goOn("with an agent that the runtime gave up")
	signal(t, r, syscall.SIGCONT)
	sessions(t, r, 2)
	goOn("with the agent awake")
	kept("with the agent awake")
}

// TestAnnotation has nothing but the pod's annotation say that its containers are to be kept to their profiles: NRI brings
// it in time for the first program.
func TestAnnotation(t *testing.T) {
	var policies string
	for i := range 20 {
		policies += listed(fmt.Sprintf("c%d", i), "/bin/nothing")
	}
	r := start(t, policies)
	before(t, r, view.SupportYes)
	pods := runPods(t, r, 1, map[string]string{"holdfast.dev/mode": "enforce"})
	if ran, killed := unlisted(t, r, pods, 20); ran != 0 || killed != 20 {
		t.Errorf("%d of 20 programs ran, %d were killed", ran, killed)
	}
	// Without it, they are learned.
	if ran, killed := unlisted(t, r, runPods(t, r, 1, nil), 5); ran != 5 || killed != 0 {
		t.Errorf("without the annotation %d of 5 programs ran, %d were killed", ran, killed)
	}
}

// sessions waits until the agent has had as many sessions with the runtime since it started, and the last one stands.
func sessions(t *testing.T, r *rig.Rig, want float64) {
	t.Helper()
	wait.Until(t, time.Minute, func() error {
		m := measured(t, r)
		if m["nri_sessions_total"] < want || m[`capability{mechanism="up",signal="names from nri"}`] != 1 {
			return fmt.Errorf("%.0f sessions with the runtime, want %.0f", m["nri_sessions_total"], want)
		}
		return nil
	})
}

// signal sends the agent a signal.
func signal(t *testing.T, r *rig.Rig, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(r.Agent.PID(), sig); err != nil {
		t.Fatal(err)
	}
}
