// SPDX-License-Identifier: Apache-2.0

package effect

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/enforce"
	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/rig/rootfs"
)

// Files of the image that deeds are about.
const (
	secret     = "root:the password"
	secretFile = "/etc/shadow"
	dataFile   = "/data/there"
	dataText   = "as it was"
	stolenFile = "/tmp/stolen"
	readyFile  = "/tmp/ready"
)

// newImage makes the folder that the containers' roots lie over: the tools, this test as the service, small programs that
// make a mark, and some files.
func newImage(t *testing.T) string {
	t.Helper()
	dir := rootfs.Tmpfs(t, "bin", "data", "data/folder", "dev", "etc", "lib64", "marks", "proc", "srv", "tmp", "usr", "usr/bin")
	rootfs.Applets(t, dir, "ash", "awk", "cat", "chmod", "chown", "chroot", "cp", "ln", "mkdir", "mount", "mv", "rm", "rmdir", "sh", "true", "unshare")
	rootfs.Self(t, dir, "srv/service")
	if _, err := os.Stat(loader); err == nil {
		rootfs.Copy(t, loader, filepath.Join(dir, loader))
	}
	for path, data := range map[string][]byte{
		"usr/bin/intruder": program(ranMark), "usr/bin/stranger": linked(ranMark), "usr/bin/tool": program(ranMark), "usr/bin/login": program(ranMark),
		"usr/bin/linked": linked(usualMark), "usr/bin/library.so": library(ranMark),
		secretFile: []byte(secret), dataFile: []byte(dataText),
		"srv/job.sh":   []byte("echo job > /tmp/job\n"),
		"srv/other.sh": []byte("echo other > " + ranMark + "\n"),
		"srv/awk":      []byte("#!/bin/awk -f\nBEGIN { print \"other\" > \"" + ranMark + "\" }\n"),
	} {
		must(t, os.WriteFile(filepath.Join(dir, path), data, 0o755))
	}
	must(t, unix.Mknod(filepath.Join(dir, "dev/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	return dir
}

// box is a container: a cgroup, an overlay as root, a network.
type box struct {
	rig   *rig
	id    uint64
	dir   *os.File
	root  string
	world *world
	// also are other worlds whose sinks count.
	also []*world
}

// newBox makes a container in which the policy holds with the mode, for the signals.
func newBox(t *testing.T, r *rig, w *world, mode profile.Mode, signals ...profile.Signal) *box {
	t.Helper()
	b := &box{rig: r, world: w}
	var random [32]byte
	_, err := rand.Read(random[:])
	must(t, err)
	name := hex.EncodeToString(random[:])
	b.dir = newCgroup(t, r, name)
	var st unix.Stat_t
	must(t, unix.Fstat(int(b.dir.Fd()), &st))
	b.id = st.Ino
	dir := rootfs.Tmpfs(t, "upper", "work", "root")
	b.root = filepath.Join(dir, "root")
	rootfs.Overlay(t, r.image, dir, b.root)
	must(t, unix.Mount("proc", filepath.Join(b.root, "proc"), "proc", 0, ""))
	modes := profile.Modes{}
	for _, signal := range signals {
		modes[signal] = mode
	}
	compiled, err := enforce.ModesOf(modes)
	must(t, err)
	container := enforce.Container{Cgroup: b.id, Name: name}
	must(t, r.enforcer.Assign(container, r.policy, compiled))
	t.Cleanup(func() { must(t, r.enforcer.Unassign(container)) })
	return b
}

// newCgroup makes one. What still runs in it at the end is killed.
func newCgroup(t *testing.T, r *rig, name string) *os.File {
	t.Helper()
	path := filepath.Join(r.root, name)
	must(t, os.Mkdir(path, 0o755))
	t.Cleanup(func() { must(t, emptyAndRemove(path)) })
	dir, err := os.Open(path)
	must(t, err)
	t.Cleanup(func() { dir.Close() })
	return dir
}

func emptyAndRemove(path string) error {
	limit := time.Now().Add(patience)
	for {
		err := os.Remove(path)
		if err == nil || !errors.Is(err, unix.EBUSY) || time.Now().After(limit) {
			return err
		}
		text, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if err != nil {
			return err
		}
		for _, word := range strings.Fields(string(text)) {
			var pid int
			if _, err := fmt.Sscan(word, &pid); err == nil && pid > 0 {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// running is a process of a container.
type running struct {
	cmd *exec.Cmd
	out *bytes.Buffer
	end chan error
}

// start runs a program of the container's image, with files from descriptor 3 on.
func (b *box) start(t *testing.T, files []*os.File, env []string, path string, arguments ...string) *running {
	t.Helper()
	cmd := exec.Command(path, arguments...)
	cmd.Path, cmd.Err, cmd.Dir = path, nil, "/"
	cmd.Env = append([]string{"PATH=/bin"}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Chroot: b.root, Unshareflags: unix.CLONE_NEWNS, UseCgroupFD: true, CgroupFD: int(b.dir.Fd()),
	}
	p := &running{cmd: cmd, out: &bytes.Buffer{}, end: make(chan error, 1)}
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = p.out, p.out, files
	// A child has the network of the thread that makes it.
	b.world.in(t, cmd.Start)
	go func() { p.end <- cmd.Wait() }()
	return p
}

// wait waits for the end of a process, or until it says that it is ready. Meanwhile its world is at its service.
func (b *box) wait(t *testing.T, p *running) {
	t.Helper()
	limit := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-p.end:
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			p.end <- err
			return
		case <-tick.C:
			b.world.count()
			if b.has(readyFile) {
				return
			}
		case <-limit:
			t.Fatalf("%v did not end: %s", p.cmd.Args, p.out)
		}
	}
}

// stop kills a process, if it still runs.
func (p *running) stop() {
	_ = p.cmd.Process.Kill()
	<-p.end
}

// act has the service do one of the acts.
func (b *box) act(t *testing.T, act string, files ...*os.File) *running {
	t.Helper()
	return b.start(t, files, []string{actVariable + "=" + act}, "/srv/service", "-test.run=^TestAct$")
}

// sh runs a script.
func (b *box) sh(t *testing.T, script string) *running {
	t.Helper()
	return b.start(t, nil, nil, "/bin/sh", "-c", script)
}

func (b *box) path(path string) string { return filepath.Join(b.root, path) }

// has reports whether a file of the container is there.
func (b *box) has(path string) bool {
	_, err := os.Lstat(b.path(path))
	return err == nil
}

// text gives what a file of the container has in it, or why it has nothing.
func (b *box) text(path string) string {
	data, err := os.ReadFile(b.path(path))
	if err != nil {
		return "(" + strings.TrimPrefix(err.Error(), "open "+b.root) + ")"
	}
	return string(data)
}

// onlyHere says on what the small programs can run.
func onlyHere(t *testing.T) {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("unsupported: the programs that are planted need an amd64 processor")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
}
