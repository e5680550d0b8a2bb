// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestContainerOptions runs a command for each option, whose output shows
// whether the option is in force.
func TestContainerOptions(t *testing.T) {
	l := start(t, Config{Memory: true})
	ctx := within(t, time.Minute)
	if err := l.Load(ctx, Busybox); err != nil {
		t.Fatal(err)
	}
	pod, err := l.RunPod(ctx, PodConfig{Namespace: "shop", Name: "web", Privileged: true})
	if err != nil {
		t.Fatal(err)
	}
	shared := t.TempDir()
	if err := os.WriteFile(filepath.Join(shared, "token"), []byte("secret\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	uid, gid := int64(1000), int64(2000)
	const capabilities = "grep CapEff /proc/self/status | cut -f2"
	for _, c := range []struct {
		name   string
		cfg    ContainerConfig
		script string
		want   string
	}{
		{"env", ContainerConfig{Env: map[string]string{"A": "b"}}, "echo $A", "b\n"},
		{"working directory", ContainerConfig{WorkingDir: "/usr"}, "pwd", "/usr\n"},
		{"user", ContainerConfig{UID: &uid, GID: &gid}, "id -u; id -g", "1000\n2000\n"},
		{"mount", ContainerConfig{Mounts: []Mount{{HostPath: shared, ContainerPath: "/mnt", ReadOnly: true}}},
			"cat /mnt/token; touch /mnt/a 2>/dev/null || echo refused", "secret\nrefused\n"},
		{"read-only root", ContainerConfig{ReadOnlyRoot: true}, "touch /a 2>/dev/null || echo refused", "refused\n"},
		{"default capabilities", ContainerConfig{}, capabilities, "00000000a80425fb\n"},
		{"no capabilities", ContainerConfig{DropCapabilities: []string{"ALL"}}, capabilities, "0000000000000000\n"},
		{"more capabilities", ContainerConfig{DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"NET_ADMIN"}},
			capabilities, "0000000000001000\n"},
		{"no seccomp", ContainerConfig{}, "grep Seccomp: /proc/self/status | cut -f2", "0\n"},
		{"seccomp", ContainerConfig{RuntimeDefaultSeccomp: true}, "grep Seccomp: /proc/self/status | cut -f2", "2\n"},
		{"privileged", ContainerConfig{Privileged: true}, "touch /proc/sys/kernel/hostname && echo allowed", "allowed\n"},
		{"not privileged", ContainerConfig{}, "touch /proc/sys/kernel/hostname 2>/dev/null || echo refused", "refused\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Name, c.cfg.Image = "main", BusyboxImage
			c.cfg.Command = []string{"sh", "-c", c.script}
			if got := output(t, pod, c.cfg); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// output runs a container to its end and returns what it wrote.
func output(t *testing.T, pod *Pod, cfg ContainerConfig) string {
	t.Helper()
	ctx := within(t, 30*time.Second)
	c, err := pod.Run(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	logs, err := c.Logs()
	if err != nil || s.ExitCode != 0 {
		t.Errorf("it ended with %d, %v", s.ExitCode, err)
	}
	return logs
}

// TestPodOptions compares the namespaces of a container with the lab's, the
// machine's and the pod's.
func TestPodOptions(t *testing.T) {
	l := start(t, Config{Memory: true})
	ctx := within(t, time.Minute)
	if err := l.Load(ctx, Busybox); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		cfg  PodConfig
		// Whose network a container sees, and its first process.
		net, first string
	}{
		{"plain", PodConfig{Name: "plain"}, "own", "sh"},
		{"host network", PodConfig{Name: "hostnet", HostNetwork: true}, "lab", "sh"},
		{"shared processes", PodConfig{Name: "shared", ShareProcesses: true}, "own", "pause"},
		{"name servers", PodConfig{Name: "dns", Nameservers: []string{"192.0.2.1"}}, "own", "sh"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod, err := l.RunPod(ctx, c.cfg)
			if err != nil {
				t.Fatal(err)
			}
			got := output(t, pod, ContainerConfig{Name: "main", Image: BusyboxImage, Command: []string{"sh", "-c",
				"ip link show " + bridgeName + " >/dev/null 2>&1 && echo lab || echo own; cat /proc/1/comm; cat /etc/resolv.conf"}})
			server := l.Gateway().String()
			if len(c.cfg.Nameservers) > 0 {
				server = c.cfg.Nameservers[0]
			}
			if want := c.net + "\n" + c.first + "\nnameserver " + server + "\n"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if own := len(pod.IPs) > 0; own != (c.net == "own") {
				t.Errorf("the pod has the addresses %v", pod.IPs)
			}
			if err := pod.Remove(ctx); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(pod.CgroupDir()); err == nil {
				t.Errorf("%s is still there", pod.CgroupDir())
			}
		})
	}
	t.Run("machine's processes", func(t *testing.T) {
		pod, err := l.RunPod(ctx, PodConfig{Name: "hostpid", HostPID: true})
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.Readlink("/proc/self/ns/pid")
		if err != nil {
			t.Fatal(err)
		}
		got := output(t, pod, ContainerConfig{Name: "main", Image: BusyboxImage, Command: []string{"readlink", "/proc/self/ns/pid"}})
		if got != want+"\n" {
			t.Errorf("container is in %q, want %q", got, want)
		}
	})
}

func TestHeldBurst(t *testing.T) {
	l := start(t, Config{Memory: true})
	ctx := within(t, time.Minute)
	if err := l.Load(ctx, Busybox); err != nil {
		t.Fatal(err)
	}
	pod, err := l.RunPod(ctx, PodConfig{Name: "many"})
	if err != nil {
		t.Fatal(err)
	}
	count := fromEnv(t, "HOLDFAST_LAB_BURST", 5)
	result, err := l.RunBurst(ctx, Burst{Count: count, Pods: []*Pod{pod}, Hold: true, Container: func(int) ContainerConfig {
		return ContainerConfig{Name: "held", Image: BusyboxImage, Command: []string{"sleep", "1000"}}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d containers started in %v: %.1f a second", count, result.Took.Round(time.Millisecond), result.Rate())
	ids := map[uint64]bool{}
	for _, c := range result.Containers {
		id, err := c.CgroupID()
		if err != nil {
			t.Fatal(err)
		}
		ids[id] = true
		if !c.Status.Running || c.Status.PID == 0 {
			t.Errorf("a held container is %+v", c.Status)
		}
	}
	if len(ids) != count {
		t.Errorf("%d containers have %d cgroup ids", count, len(ids))
	}
}
