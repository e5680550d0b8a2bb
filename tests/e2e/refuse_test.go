// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
)

// file writes a file into the rig's directory and returns its path.
func file(t *testing.T, r *rig.Rig, name, content string) string {
	t.Helper()
	path := filepath.Join(r.Dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// agentArgs are those of the rig's agent, for another one with a data directory of its own.
func agentArgs(r *rig.Rig, name string, more ...string) []string {
	return append(r.AgentArgs(), append([]string{"--data-dir", filepath.Join(r.Dir, "data-"+name)}, more...)...)
}

// TestRefusals starts the programs where they cannot work. Each must end by itself, with a code that is not 0 and words
// that name the trouble; where the collector is what says no, it logs that too.
func TestRefusals(t *testing.T) {
	r := startRig(t, rig.Config{})
	agent, collector, cli := r.Program("holdfast-agent"), r.Program("holdfast-collector"), r.Program("holdfast")
	tokenFile := func(args ...string) string {
		path, err := r.JoinTokenFile(t.Context(), args...)
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	foreign, err := r.Lab.Command(t.Context(), collector, "token", "create", "--data-dir", filepath.Join(r.Dir, "foreign")).Output()
	if err != nil {
		t.Fatal(err)
	}
	expired := tokenFile("--ttl", "1ms")
	nobody := func(c *lab.Cmd) {
		// The checkout may lie where nobody cannot go.
		c.Dir = "/"
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	without := func(capability uintptr) func(*lab.Cmd) {
		// CAP_SYS_ADMIN would stand for it.
		return func(c *lab.Cmd) { c.Without = []uintptr{capability, unix.CAP_SYS_ADMIN} }
	}
	withoutBTF := append([]string{"-m", "sh", "-c", `mount -t tmpfs none /sys/kernel/btf && exec "$@"`, "sh", agent},
		agentArgs(r, "btf", "--join-token-file", tokenFile())...)
	for _, test := range []struct {
		name, program string
		args          []string
		prepare       func(*lab.Cmd)
		want          []string
		// logged is what the collector logs of it.
		logged string
	}{
		{"agent: unknown key", agent, []string{"run", "--config", file(t, r, "agent.yaml", "node: a\ncollektor: b\n")}, nil,
			[]string{"agent.yaml:2", "collektor"}, ""},
		{"collector: unknown key", collector, []string{"serve", "--config", file(t, r, "collector.yaml", "data-dirr: a\n")}, nil,
			[]string{"collector.yaml:1", "data-dirr"}, ""},
		{"holdfast: unknown key", cli, []string{"nodes", "--config", file(t, r, "cli.yaml", "adress: a\n")}, nil,
			[]string{"cli.yaml", "adress"}, ""},
		{"agent: unknown class", agent, []string{"run", "--record", "exec,nothing"}, nil, []string{"nothing", "exec"}, ""},
		{"agent: no token", agent, agentArgs(r, "none"), nil, []string{"not enrolled", "join-token-file"}, ""},
		{"agent: token of another collector", agent,
			agentArgs(r, "foreign", "--join-token-file", file(t, r, "foreign-token", string(foreign))), nil,
			[]string{"not the collector"}, `"reason":"handshake"`},
		{"agent: expired token", agent, agentArgs(r, "expired", "--join-token-file", expired), nil,
			[]string{"join token", "expired"}, `"msg":"rejected"`},
		{"agent: token of another node", agent, agentArgs(r, "bound", "--join-token-file", tokenFile("--node", "node-7")), nil,
			[]string{"denies"}, `"msg":"rejected"`},
		{"agent: not root", agent, []string{"run", "--data-dir", "/tmp/holdfast-nobody"}, nobody, []string{"root", "CAP_BPF"}, ""},
		{"agent: without CAP_BPF", agent, []string{"capabilities"}, without(unix.CAP_BPF), []string{"CAP_BPF is missing"}, ""},
		{"agent: without CAP_PERFMON", agent, []string{"capabilities"}, without(unix.CAP_PERFMON), []string{"CAP_PERFMON is missing"}, ""},
		{"agent: no BTF", "unshare", withoutBTF, nil, []string{"BTF", "CONFIG_DEBUG_INFO_BTF"}, ""},
		{"collector: data directory in use", collector,
			[]string{"serve", "--data-dir", r.CollectorDir(), "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"}, nil,
			[]string{r.CollectorDir()}, ""},
		{"collector: address in use", collector,
			[]string{"serve", "--data-dir", filepath.Join(r.Dir, "second"), "--grpc-listen", rig.GRPCAddress, "--http-listen", "127.0.0.1:0"}, nil,
			[]string{rig.GRPCAddress, "in use"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			before := len(r.Collector.Log(1 << 20))
			cmd := r.Lab.Command(ctx, test.program, test.args...)
			if test.prepare != nil {
				test.prepare(cmd)
			}
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() <= 0 {
				t.Fatalf("it ended with %v: %s", err, out)
			}
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			t.Logf("code %d: %s", exit.ExitCode(), lines[len(lines)-1])
			for _, want := range test.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("it does not say %q: %s", want, out)
				}
			}
			if strings.Contains(string(out), "goroutine ") {
				t.Errorf("it crashed: %s", out)
			}
			if strings.Contains(string(out), "MEMLOCK") {
				t.Errorf("it guesses at a limit of memory: %s", out)
			}
			if test.logged != "" {
				expectLog(t, r, before, test.logged)
			}
		})
	}
}
