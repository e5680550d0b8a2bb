// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// bin is where the programs are built to, by the first test that needs them.
var bin struct {
	sync.Once
	dir string
	err error
}

func TestMain(m *testing.M) {
	lab.RunHolder()
	code := m.Run()
	if bin.dir != "" {
		_ = os.RemoveAll(bin.dir)
	}
	os.Exit(code)
}

// programs builds the programs once, unless HOLDFAST_BIN names a directory that has them.
func programs(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("HOLDFAST_BIN"); dir != "" {
		return dir
	}
	bin.Do(func() {
		if bin.dir, bin.err = os.MkdirTemp("", "holdfast-bin-"); bin.err != nil {
			return
		}
		// Others than root run them too.
		if bin.err = os.Chmod(bin.dir, 0o755); bin.err != nil {
			return
		}
		bin.err = errors.Join(
			rig.Build(context.Background(), bin.dir, append(rig.Programs(), "./tests/attacks/deeds", "./tests/e2e/goserver")...),
			rig.Build(context.Background(), filepath.Join(bin.dir, "demo"), "./tests/demo", "./tests/demo/webshop", "./tests/demo/render", "./tests/attacks/deeds"))
	})
	if bin.err != nil {
		t.Fatal(bin.err)
	}
	return bin.dir
}

// prepare makes a lab ready for a test, without collector and agent. When the test ends, all of it is closed; when it
// has failed, the logs are shown.
func prepare(t *testing.T, cfg rig.Config) *rig.Rig {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip(lab.ErrNotRoot)
	}
	if missing := lab.Missing(); len(missing) > 0 {
		t.Fatalf("Debian packages are missing: %s", strings.Join(missing, " "))
	}
	cfg.Bin, cfg.Lab.Memory = programs(t), true
	r, err := rig.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			showLogs(t, r)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// showLogs shows the last of what all programs have logged, but for what the agent says of its capabilities.
func showLogs(t *testing.T, r *rig.Rig) {
	t.Helper()
	for _, p := range []*rig.Program{r.Agent, r.Collector} {
		if p == nil {
			continue
		}
		var lines []string
		for line := range strings.Lines(p.Log(80)) {
			if !strings.Contains(line, "msg=capability") {
				lines = append(lines, line)
			}
		}
		t.Logf("%s:\n%s", p.Name, strings.Join(lines, ""))
	}
	t.Logf("containerd:\n%s", r.Lab.ContainerdLog(20))
}

// startRig makes a lab with a collector and a connected agent.
func startRig(t *testing.T, cfg rig.Config) *rig.Rig {
	t.Helper()
	r := prepare(t, cfg)
	if err := errors.Join(r.StartCollector(t.Context()), r.StartAgent(t.Context())); err != nil {
		t.Fatal(err)
	}
	return r
}

// attacker imports the image that holds the deeds program.
func attacker(t *testing.T, r *rig.Rig) *lab.Built {
	t.Helper()
	files := []lab.File{{Path: "/usr/bin/deeds", Mode: 0o755, Source: r.Program("deeds")}}
	image, err := lab.NewImage("docker.io/acme/attacker:1", files, "/usr/bin/deeds")
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
	return built
}

func runPod(t *testing.T, r *rig.Rig, cfg lab.PodConfig) *lab.Pod {
	t.Helper()
	p, err := r.Lab.RunPod(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func run(t *testing.T, p *lab.Pod, cfg lab.ContainerConfig) *lab.Container {
	t.Helper()
	c, err := p.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// long reports whether tests take as long as the documentation claims.
func long() bool { return os.Getenv("HOLDFAST_LONG") == "1" }

// lasting is how long something goes on: the first in every run, the second in a long one.
func lasting(short, whole time.Duration) time.Duration {
	if long() {
		return whole
	}
	return short
}

// node asks how the agent's node is.
func node(t *testing.T, r *rig.Rig) *view.Node {
	t.Helper()
	n, err := r.Node(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// setMode sets the mode of all signals about deeds of the workloads that match, and waits until their nodes say that it holds.
func setMode(t *testing.T, r *rig.Rig, pattern, mode string) {
	t.Helper()
	out, err := r.Holdfast(t.Context(), "mode", "set", pattern, mode, "--reason", "the test wants it").CombinedOutput()
	if err != nil {
		t.Fatalf("holdfast mode set: %v\n%s", err, out)
	}
	wait.Until(t, 20*time.Second, func() error { return r.InMode(t.Context(), pattern, mode, profile.Deeds()...) })
}

// workloads asks what was counted of the workloads that match.
func workloads(t *testing.T, r *rig.Rig, pattern string) []view.WorkloadState {
	t.Helper()
	states, err := r.Workloads(t.Context(), pattern)
	if err != nil {
		t.Fatal(err)
	}
	return states
}

// since is a moment as the holdfast command takes it.
func since(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }

// quiesce waits until the collector has acknowledged all that the agent had spooled by now.
func quiesce(t *testing.T, r *rig.Rig, within time.Duration) {
	t.Helper()
	now := time.Now()
	err := wait.For(t.Context(), within, func() error {
		n, err := r.Node(t.Context())
		if err != nil {
			return err
		}
		if n.Health == nil || n.Health.Time.Before(now) {
			return errors.New("the agent has not told how it is since")
		}
		for _, s := range n.Health.Spools {
			if s.Pending() > 0 {
				return fmt.Errorf("%d records wait in the spool of %s", s.Pending(), s.Lane)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// cgroupPath is a new cgroup outside all containers, gone after the test.
func cgroupPath(t *testing.T, r *rig.Rig, name string) string {
	t.Helper()
	dir := filepath.Join(r.Lab.CgroupDir(), name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
