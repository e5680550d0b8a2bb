// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/rig/rootfs"
)

// HF_EXE_ANY and HF_EXE_RUNTIME of bpf/include/wire.h.
const (
	exeAny     = 0
	exeRuntime = 1
)

// house is a container with a root file system of its own, an overlay, and a policy.
type house struct {
	*box
	r      *rig
	root   string
	key    wire.HashKey
	policy wire.Policy
}

// applets are programs of the house that are one file each, in the image.
var applets = []string{"sh", "touch", "true", "cp", "mv", "ln", "mount", "cat", "rm", "mkdir", "chmod", "chroot", "unshare"}

// newImage makes the image of the houses: the applets in /bin, this test as /deed and files in /etc.
func newImage(t *testing.T) string {
	t.Helper()
	dir := rootfs.Tmpfs(t, "bin", "etc", "tmp", "data")
	rootfs.Applets(t, dir, applets...)
	rootfs.Self(t, dir, "deed")
	for name, text := range map[string]string{"secret": "secret", "script": "#!/bin/sh\necho script > /tmp/proof\n"} {
		must(t, os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o755))
	}
	return dir
}

// newHouse makes a container of the image. Nothing holds for it yet.
func newHouse(t *testing.T, r *rig, image string, id uint32) *house {
	t.Helper()
	box := r.container(t, Interest{})
	dir := rootfs.Tmpfs(t, "upper", "work", "merged")
	h := &house{box: box, r: r, root: filepath.Join(dir, "merged"), policy: wire.Policy{Id: id, Generation: 1}}
	rootfs.Overlay(t, image, dir, h.root)
	must(t, r.sensor.Policies().HashKey.Lookup(uint32(0), &h.key))
	must(t, r.sensor.Policies().Tally.Put(id, wire.Tally{}))
	return h
}

// hold makes the modes hold.
func (h *house) hold(t *testing.T, modes map[wire.Signal]wire.Mode) {
	t.Helper()
	h.policy.Mode = [wire.Signals]uint8{}
	for signal, mode := range modes {
		h.policy.Mode[signal] = uint8(mode)
	}
	must(t, h.r.sensor.Policies().ByContainer.Put(h.id, h.policy))
	t.Cleanup(func() { _ = h.r.sensor.Policies().ByContainer.Delete(h.id) })
}

// subject is an executable as the subject of entries; empty for all, Runtime for the runtime.
func (h *house) subject(path string) uint64 {
	switch path {
	case "":
		return exeAny
	case profile.Runtime:
		return exeRuntime
	default:
		return max(nhOf(&h.key, []byte(path))[0], exeRuntime+1)
	}
}

// list lets the bits be allowed to the subject from now on.
func (h *house) list(t *testing.T, class wire.AllowClass, subject string, object [2]uint64, bits uint16) {
	t.Helper()
	key := wire.AllowKey{Policy: h.policy.Id, Class: uint32(class), Subject: h.subject(subject), Object: object}
	must(t, h.r.sensor.Policies().Allow.Put(key, wire.Allow{Since: h.policy.Generation, Now: bits}))
}

func (h *house) text(text string) [2]uint64  { return nhOf(&h.key, []byte(text)) }
func (h *house) shape(text string) [2]uint64 { return nhOf(&h.key, profile.Shape([]byte(text))) }

// runs lists executables of the image, run by any, with any arguments.
func (h *house) runs(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		h.list(t, wire.AllowExec, "", h.text(path), uint16(wire.SourceImage))
		h.list(t, wire.AllowArguments, path, [2]uint64{}, 1)
	}
}

// command prepares a program of the house, in mounts of its own.
func (h *house) command(path string, arguments ...string) *exec.Cmd {
	cmd := exec.Command(path, arguments...)
	cmd.Path, cmd.Err, cmd.Dir = path, nil, "/"
	cmd.Env = []string{"PATH=/bin"}
	cmd.SysProcAttr = &unix.SysProcAttr{
		Chroot: h.root, Unshareflags: unix.CLONE_NEWNS, UseCgroupFD: true, CgroupFD: int(h.dir.Fd()),
	}
	return cmd
}

// do runs a program of the house to its end. What becomes of it is seen by what it did.
func (h *house) do(t *testing.T, path string, arguments ...string) *exec.Cmd {
	t.Helper()
	cmd := h.command(path, arguments...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Logf("%s: %v: %s", cmd, err, &out)
	}
	return cmd
}

// sh runs a shell of the house.
func (h *house) sh(t *testing.T, script string) *exec.Cmd {
	t.Helper()
	return h.do(t, "/bin/sh", "-c", script)
}

// there reports whether a file of the house exists, and takes it away.
func (h *house) there(t *testing.T, path string) bool {
	t.Helper()
	err := os.Remove(filepath.Join(h.root, path))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// verdicts gives the events of the house on which the policy said something, one line each, and forgets them.
func (h *house) verdicts(t *testing.T) []string {
	t.Helper()
	const said = wire.FlagLearn | wire.FlagWouldBlock | wire.FlagBlocked | wire.FlagKilled
	fits := func(e *event.Event) bool { return e.Head.Origin == h.id && wire.Flag(e.Head.Flags)&said != 0 }
	var lines []string
	for _, e := range h.r.settled(t, fits) {
		text := ""
		switch {
		case e.Exec() != nil:
			text = string(e.Exe())
		case e.File() != nil:
			text = string(e.Path())
		}
		lines = append(lines, fmt.Sprintf("%s %s: %s by %d for %d", event.Name(e.Type), strings.TrimPrefix(text, h.root),
			flagNames[wire.Flag(e.Head.Flags)&said], e.Head.Signal, e.Head.Reason))
	}
	h.r.Forget(func(*event.Event) bool { return true })
	return lines
}

var flagNames = map[wire.Flag]string{
	wire.FlagLearn: "learn", wire.FlagWouldBlock: "would block", wire.FlagBlocked: "blocked", wire.FlagKilled: "killed",
}

// refusedExec is how a refused exec of the file is told in the family of hooks that is in use.
func (h *house) refusedExec(path string, signal wire.Signal, reason wire.Reason) string {
	if h.r.bySyscall() {
		return fmt.Sprintf("exec %s: killed by %d for %d", path, signal, reason)
	}
	return fmt.Sprintf("execute %s: blocked by %d for %d", path, signal, reason)
}

// says wants the verdicts, and no others.
func (h *house) says(t *testing.T, want ...string) {
	t.Helper()
	if got := h.verdicts(t); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("verdicts:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
