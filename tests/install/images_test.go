// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/tests/lab"
)

// TestImages gives the archives to a containerd as a user would, and runs them.
func TestImages(t *testing.T) {
	out := makeFrom(t, "./deploy/images", "--tag", "test")
	l, err := lab.New(lab.Config{})
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	must(t, l.Start(ctx))
	t.Cleanup(func() { must(t, l.Close()) })
	for _, name := range []string{"holdfast-agent", "holdfast-collector"} {
		archive := one(t, out, name+"-"+runtime.GOARCH+".tar")
		if text, err := l.Command(ctx, "ctr", "-a", l.Socket(), "-n", "k8s.io", "images", "import", archive).CombinedOutput(); err != nil {
			t.Fatalf("import %s: %v: %s", name, err, text)
		}
		bill, err := os.ReadFile(one(t, out, name+"-"+runtime.GOARCH+".cdx.json"))
		if err != nil || !strings.Contains(string(bill), "pkg:golang/google.golang.org/grpc@v") {
			t.Errorf("the bill of materials of %s lacks gRPC (%v)", name, err)
		}
	}
	t.Run("agent", func(t *testing.T) { runAgent(t, ctx, l) })
	t.Run("collector", func(t *testing.T) { runCollector(t, ctx, l) })
}

// runAgent asks the agent's image for its version, and for what this kernel lets it see when it has what the unit grants
// and no more: the same that root sees with everything.
func runAgent(t *testing.T, ctx context.Context, l *lab.Lab) {
	pod, err := l.RunPod(ctx, lab.PodConfig{Name: "agent", Namespace: "holdfast-system", HostPID: true, HostNetwork: true})
	must(t, err)
	const image = "docker.io/library/holdfast-agent:test"
	version := output(t, ctx, pod, lab.ContainerConfig{Name: "version", Image: image, Args: []string{"--version"}})
	if !strings.HasPrefix(version, "holdfast-agent version ") {
		t.Errorf("--version: %q", version)
	}
	told := output(t, ctx, pod, lab.ContainerConfig{
		Name: "capabilities", Image: image, Args: []string{"capabilities", "-o", "json"},
		DropCapabilities: []string{"ALL"}, AddCapabilities: grantable(t), ReadOnlyRoot: true,
		Mounts: []lab.Mount{{HostPath: "/sys", ContainerPath: "/sys", ReadOnly: true}},
	})
	all, err := exec.CommandContext(ctx, filepath.Join(bin, "holdfast-agent"), "capabilities", "-o", "json").Output()
	must(t, err)
	want := seen(t, string(all))
	if got := seen(t, told); !maps.Equal(got, want) || !strings.HasPrefix(want["exec"], "yes") {
		t.Errorf("from the image: %v\nnatively: %v", got, want)
	}
}

// grantable are the capabilities that the agent's unit leaves it, but for SYS_RESOURCE where this process lacks it and so
// cannot give it; it matters before Linux 5.11 alone.
func grantable(t *testing.T) []string {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	must(t, unix.Capget(&header, &have[0]))
	return slices.DeleteFunc(granted(t), func(name string) bool {
		return name == "SYS_RESOURCE" && have[0].Effective&(1<<unix.CAP_SYS_RESOURCE) == 0
	})
}

// seen is what an agent says it can see, by signal. What it can pin depends on mounts.
func seen(t *testing.T, told string) map[string]string {
	t.Helper()
	signals := map[string]string{}
	for line := range strings.Lines(told) {
		var c struct{ Signal, See, Block string }
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if c.Signal != "pinned" {
			signals[c.Signal] = c.See + ", blocked: " + c.Block
		}
	}
	return signals
}

// runCollector serves from the collector's image as its own user, and asks it with the command that is in it.
func runCollector(t *testing.T, ctx context.Context, l *lab.Lab) {
	pod, err := l.RunPod(ctx, lab.PodConfig{Name: "collector", Namespace: "holdfast-system"})
	must(t, err)
	cfg := lab.ContainerConfig{
		Name: "collector", Image: "docker.io/library/holdfast-collector:test", DropCapabilities: []string{"ALL"}, RuntimeDefaultSeccomp: true,
	}
	c, err := pod.Run(ctx, cfg)
	must(t, err)
	ask := func(args ...string) string {
		var text string
		await(t, "an answer to "+args[0], func() (bool, string) {
			answer, err := c.Exec(ctx, append([]string{"/holdfast-collector"}, args...)...)
			text = answer.Stdout
			return err == nil && answer.Code == 0, answer.Stderr
		})
		return text
	}
	const data = "--data-dir=/var/lib/holdfast-collector"
	ca := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(ca, []byte(ask("ca", "show", data)), 0o644))
	must(t, os.Chmod(filepath.Dir(ca), 0o755))
	token := strings.TrimSpace(ask("token", "create", data, "--role=viewer"))

	client := cfg
	client.Name, client.Command, client.Args = "client", []string{"/holdfast"}, []string{"nodes", "-o", "json"}
	client.Mounts = []lab.Mount{{HostPath: ca, ContainerPath: "/ca.pem", ReadOnly: true}}
	client.Env = map[string]string{"HOLDFAST_ADDRESS": "127.0.0.1:7480", "HOLDFAST_CA": "/ca.pem", "HOLDFAST_TOKEN": token}
	if text := output(t, ctx, pod, client); strings.TrimSpace(text) != "" {
		t.Errorf("nodes that nobody has made: %s", text)
	}

	status, err := c.Status(ctx)
	must(t, err)
	text, err := os.ReadFile("/proc/" + strconv.Itoa(status.PID) + "/status")
	must(t, err)
	for _, want := range []string{`(?m)^Uid:\s+65532\s+65532\s+65532\s+65532$`, `(?m)^CapBnd:\s+0+$`} {
		if !regexp.MustCompile(want).Match(text) {
			t.Errorf("the collector's process lacks %s:\n%s", want, text)
		}
	}
	must(t, c.Stop(ctx, 20*time.Second))
	if status, err = c.Status(ctx); err != nil || status.ExitCode != 0 {
		t.Errorf("stopped with %d (%v)", status.ExitCode, err)
	}
}

// output runs a container to its end and returns what it wrote.
func output(t *testing.T, ctx context.Context, pod *lab.Pod, cfg lab.ContainerConfig) string {
	t.Helper()
	c, err := pod.Run(ctx, cfg)
	must(t, err)
	status, err := c.Wait(ctx)
	must(t, err)
	text, err := c.Logs()
	must(t, err)
	if status.ExitCode != 0 {
		t.Fatalf("%s ended with %d: %s", cfg.Name, status.ExitCode, text)
	}
	return text
}
