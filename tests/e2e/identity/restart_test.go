// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// plain is a containerd without CRI in a lab, that a test starts and kills as it likes.
type plain struct {
	t      *testing.T
	l      *lab.Lab
	dir    string
	socket string
	cmd    *lab.Cmd
}

func newPlain(t *testing.T, l *lab.Lab) *plain {
	t.Helper()
	p := &plain{t: t, l: l, dir: filepath.Join(l.Dir(), "plain")}
	p.socket = filepath.Join(p.dir, "containerd.sock")
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"+
		"[grpc]\naddress = %q\n", filepath.Join(p.dir, "root"), filepath.Join(p.dir, "state"), p.socket)
	if err := os.MkdirAll(filepath.Join(p.dir, "rootfs/bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.dir, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.dir, "rootfs/bin/busybox"), busybox, 0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *plain) start() {
	p.t.Helper()
	p.cmd = p.l.Command(p.t.Context(), "containerd", "-c", filepath.Join(p.dir, "config.toml"))
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	wait.True(p.t, patience, "containerd answers", func() bool {
		return p.l.Command(p.t.Context(), "ctr", "-a", p.socket, "version").Run() == nil
	})
}

func (p *plain) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Wait(); err == nil {
		p.t.Fatal("containerd ended by itself")
	}
}

func (p *plain) ctr(args ...string) {
	p.t.Helper()
	out, err := p.l.Command(p.t.Context(), "ctr", append([]string{"-a", p.socket}, args...)...).CombinedOutput()
	if err != nil {
		p.t.Fatalf("ctr %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// run starts a container by any name; an empty path leaves the choice of the cgroup to ctr.
func (p *plain) run(namespace, id, path string) {
	p.t.Helper()
	args := []string{"-n", namespace, "run", "-d", "--rootfs", "--label", "tier=front"}
	if path != "" {
		args = append(args, "--cgroup", path)
	}
	p.ctr(append(args, filepath.Join(p.dir, "rootfs"), id, "/bin/busybox", "sleep", "600")...)
}

func (p *plain) remove(namespace, id string) {
	p.t.Helper()
	p.ctr("-n", namespace, "task", "kill", "-s", "KILL", id)
	wait.True(p.t, patience, "the task is deleted", func() bool {
		return p.l.Command(p.t.Context(), "ctr", "-a", p.socket, "-n", namespace, "task", "rm", id).Run() == nil
	})
	p.ctr("-n", namespace, "container", "rm", id)
}

// TestContainerdComesAndGoes has no containerd at first, then one that is killed and comes back. Containers with names
// for ids are recognised by the paths that their specs name.
func TestContainerdComesAndGoes(t *testing.T) {
	l := startLab(t)
	p := newPlain(t, l)
	n := startNode(t, l, p.socket, false)
	watchBirths(t, n, l)

	source := func() container.SourceStatus { return n.reg.Sources()[0] }
	if s := source(); s.State != "off" || !strings.Contains(s.Reason, p.socket) {
		t.Errorf("without containerd: %+v", s)
	}
	p.start()
	wait.True(t, patience, "the source is up", func() bool { return source().State == "up" })

	named := func(id string) *container.Container {
		for _, c := range n.reg.Snapshot() {
			if c.ID == id && c.State == container.StateResolved {
				return c
			}
		}
		return nil
	}
	base := "/" + l.Name() + "/named"
	p.run("team", "before", base+"/before")
	wait.True(t, patience, "the first container has its name and process", func() bool { c := named("before"); return c != nil && c.InitPID != 0 })
	first := named("before")
	expect(t, first, map[string]string{
		"kind": "container", "name": "before", "workload": "Container/before", "runtime": "containerd/team", "label": "front",
	})
	if first.CgroupPath != base+"/before" {
		t.Errorf("path %s", first.CgroupPath)
	}

	p.kill()
	wait.True(t, patience, "the loss is noticed", func() bool { return source().State != "up" })
	if got, state := n.reg.Lookup(first.Cgroup); state != container.StateResolved || got.ID != "before" {
		t.Errorf("while containerd is away: %s %+v", state, got)
	}
	p.start()
	wait.True(t, patience, "the source is up again", func() bool { return source().State == "up" })
	if got, _ := n.reg.Lookup(first.Cgroup); got == nil || got.State != container.StateResolved || got.Cgroup != first.Cgroup {
		t.Errorf("after the restart: %+v", got)
	}
	p.run("team", "after", base+"/after")
	wait.True(t, patience, "the second container has its name", func() bool { return named("after") != nil })
	if s := n.ctrd.Stats(); s.Connects != 2 || s.BadEvents != 0 {
		t.Errorf("source: %+v", s)
	}
	if s := n.reg.Stats(); s.Unattributed != 0 || s.ResolvedAtBirth != 2 {
		t.Errorf("registry: %+v", s)
	}
	p.remove("team", "before")
	p.remove("team", "after")
	n.reg.Advance(time.Now().Add(container.DefaultGrace + time.Second))
	wait.True(t, patience, "both are forgotten", func() bool {
		n.reg.Advance(time.Now().Add(container.DefaultGrace + time.Second))
		return n.reg.Stats().Records == 0
	})
}

// TestDefaultPath runs a container at the place that ctr chooses, /<namespace>/<id>, which nothing else marks as one, in
// a namespace that is made for it.
func TestDefaultPath(t *testing.T) {
	l := startLab(t)
	p := newPlain(t, l)
	p.start()
	n := startNode(t, l, p.socket, false)
	watchBirths(t, n, l)
	namespace := l.Name() + "-team"
	t.Cleanup(func() { removeCgroups(t, namespace) })
	p.run(namespace, "web", "")
	wait.True(t, patience, "the container has its name", func() bool {
		for _, c := range n.reg.Snapshot() {
			if c.ID == "web" && c.CgroupPath == "/"+namespace+"/web" && c.State == container.StateResolved {
				return true
			}
		}
		return false
	})
	p.remove(namespace, "web")
	if s := n.reg.Stats(); s.Unattributed != 0 || s.Converted != 0 {
		t.Errorf("registry: %+v", s)
	}
}

// removeCgroups removes a directory at the root of every hierarchy, which runc leaves behind.
func removeCgroups(t *testing.T, name string) {
	t.Helper()
	for _, pattern := range []string{"/sys/fs/cgroup/" + name, "/sys/fs/cgroup/*/" + name} {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range dirs {
			if err := os.Remove(dir); err != nil {
				t.Errorf("left behind: %v", err)
			}
		}
	}
}
