// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/tests/wait"
)

// childEnv makes the test binary start a lab in a directory, say where it is
// and wait to be killed.
const childEnv = "HOLDFAST_LAB_TEST_CHILD"

// runChild is the main function of the test binary as a child.
func runChild(dir string) error {
	l, err := New(Config{Dir: dir})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := l.Start(ctx); err != nil {
		return err
	}
	if err := l.Load(ctx, Busybox); err != nil {
		return err
	}
	pod, err := l.RunPod(ctx, PodConfig{Name: "web"})
	if err != nil {
		return err
	}
	if _, err := pod.Run(ctx, ContainerConfig{Name: "main", Image: BusyboxImage, Command: []string{"sleep", "1000"}}); err != nil {
		return err
	}
	fmt.Println(l.Name(), l.HolderPID(), l.Dir())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// child is a lab that belongs to another process.
type child struct {
	cmd    *exec.Cmd
	holder int
	spec   spec
	nsIDs  []string
}

func startChild(t *testing.T, dir string) *child {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip(ErrNotRoot)
	}
	c := &child{cmd: exec.Command("/proc/self/exe")}
	c.cmd.Env = append(os.Environ(), childEnv+"="+dir)
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(line, &c.spec.Name, &c.holder, &c.spec.Dir); err != nil {
		t.Fatal(err)
	}
	if c.spec.Hierarchies, err = findHierarchies(); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"mnt", "net"} {
		path := fmt.Sprintf("/proc/%d/ns/%s", c.holder, kind)
		// Kept open so that no other namespace gets its number.
		pin, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { pin.Close() })
		id, err := os.Readlink(path)
		if err != nil {
			t.Fatal(err)
		}
		c.nsIDs = append(c.nsIDs, id)
	}
	if left := leftovers(c.spec, c.nsIDs); len(left) < 8 {
		t.Fatalf("a lab that runs has only %q to leave behind", left)
	}
	return c
}

// gone waits until nothing of the child's lab is left.
func (c *child) gone(t *testing.T) {
	t.Helper()
	wait.Until(t, time.Minute, func() error {
		if left := leftovers(c.spec, c.nsIDs); len(left) > 0 {
			return fmt.Errorf("left behind: %s", strings.Join(left, "; "))
		}
		return nil
	})
}

func TestKilledOwnerLeavesNothing(t *testing.T) {
	c := startChild(t, t.TempDir())
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Wait()
	c.gone(t)
}

func TestNextLabClearsWhatAKilledHolderLeft(t *testing.T) {
	ctx := within(t, 30*time.Second)
	dir := t.TempDir()
	c := startChild(t, dir)
	for _, pid := range []int{c.holder, c.cmd.Process.Pid} {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.cmd.Wait()
	if len(cgroupPIDs(filepath.Join(c.spec.Hierarchies.Unified, c.spec.Name))) == 0 {
		t.Fatal("the containers ended without being cleared up")
	}
	// A killed process keeps its lock until the kernel has taken it apart.
	wait.Until(t, time.Minute, func() error {
		lock, err := os.Open(paths{c.spec.Dir}.lock())
		if err != nil {
			return err
		}
		defer lock.Close()
		return syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	})
	next := start(t, Config{Dir: dir})
	c.gone(t)
	// The living lab is not mistaken for one that was left.
	other := start(t, Config{Dir: dir})
	if _, err := next.runtime.Version(ctx, nil); err != nil {
		t.Errorf("a lab started beside %s ended it: %v", other.Name(), err)
	}
}

func TestCloseNamesLeftovers(t *testing.T) {
	l := start(t, Config{Memory: true})
	ctx := within(t, time.Minute)
	// A process that has left the lab's cgroup is out of reach, but is seen.
	root, err := os.Open(l.CgroupRoot())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	cmd := l.Command(ctx, "sleep", "100")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(root.Fd())}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	want := fmt.Sprintf("process %d (sleep)", cmd.Process.Pid)
	if err := l.Close(); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("close says %v, want it to name %s", err, want)
	}
}

func TestCloseLeavesNoDescriptors(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	var before int
	for round := range 2 {
		l := start(t, Config{Memory: true})
		ctx := within(t, time.Minute)
		if err := l.Command(ctx, "true").Run(); err != nil {
			t.Fatal(err)
		}
		if _, err := l.RunPod(ctx, PodConfig{Name: "web"}); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		// The first round opens what the process keeps for good.
		if after := count(); round > 0 && after > before {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
		before = count()
	}
}

func TestEndOfContainerdEndsTheLab(t *testing.T) {
	l := start(t, Config{Memory: true})
	ctx := within(t, 30*time.Second)
	pids := cgroupPIDs(filepath.Join(l.CgroupDir(), "system"))
	if len(pids) != 1 {
		t.Fatalf("processes of a new lab are %v, want containerd alone", pids)
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-l.Down():
	case <-ctx.Done():
		t.Fatal("the lab goes on without containerd")
	}
	if left := leftovers(l.spec, l.nsIDs); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestStartFails(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip(ErrNotRoot)
	}
	dir := t.TempDir()
	for _, c := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"no containerd", Config{Containerd: "/nowhere/containerd"}, "Debian package containerd"},
		{"no plugins", Config{CNIBinDir: "/nowhere"}, "Debian package containernetworking-plugins"},
		{"containerd ends", Config{Containerd: "/bin/false"}, "containerd ended"},
		{"a cgroup of that name", Config{Name: "holdfast-lab-taken"}, "make the lab's cgroup"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := findHierarchies()
			if err != nil {
				t.Fatal(err)
			}
			taken := filepath.Join(h.Unified, "holdfast-lab-taken")
			if err := os.Mkdir(taken, 0o755); err != nil {
				t.Fatal(err)
			}
			defer os.Remove(taken)
			c.cfg.Dir = dir
			l, err := New(c.cfg)
			if err != nil {
				t.Fatal(err)
			}
			err = l.Start(within(t, 20*time.Second))
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "left behind") {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			if _, err := os.Stat(taken); err != nil {
				t.Errorf("somebody else's cgroup is gone: %v", err)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
				t.Errorf("left behind: %v, %v", entries, err)
			}
		})
	}
}

func TestConfigRefuses(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{Name: "../etc"}, "lab name"},
		{Config{Dir: "/run/labs"}, "hides /run"},
		{Config{Dir: "/var/lib"}, "hides /var/lib"},
	} {
		if _, err := New(c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want an error with %q", c.cfg, err, c.want)
		}
	}
}

func TestMissingNamesPackages(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	got := strings.Join(Missing(), " ")
	for _, want := range []string{"containerd", "runc", "busybox-static"} {
		if strings.Count(" "+got+" ", " "+want+" ") != 1 {
			t.Errorf("missing are %q, want %s once", got, want)
		}
	}
}
