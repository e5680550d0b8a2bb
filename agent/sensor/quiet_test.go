// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/tests/rig/rootfs"
)

// testQuiet wants what a policy lists to go no further than the kernel, and whoever something is told of to be known.
func testQuiet(t *testing.T, r *rig) {
	image := newImage(t)
	t.Run("known", func(t *testing.T) { testQuietKnown(t, r, image) })
	t.Run("introduced by what it does", func(t *testing.T) { testIntroduced(t, r, image) })
	t.Run("introduced by an exec", func(t *testing.T) { testIntroducedAncestors(t, r, image) })
	t.Run("recorded", func(t *testing.T) { testRecorded(t, r, image) })
	t.Run("session", func(t *testing.T) { testSessionLoud(t, r, image) })
	t.Run("dropped", func(t *testing.T) { testDroppedLoud(t, r, image) })
	t.Run("connection as input", func(t *testing.T) { testConnectionLoud(t, r, image) })
	t.Run("names", func(t *testing.T) { testNamesRemounted(t, r) })
}

// life gives what is told of the house's processes so far, the first one left out, one line each in the order in which it
// came: the type, and of execs and tasks the executable and the arguments.
func (h *house) life(t *testing.T, first *exec.Cmd) []string {
	t.Helper()
	var lines []string
	for _, e := range h.r.settled(t, func(e *event.Event) bool {
		return e.Head.Origin == h.id && int(e.Head.Tgid) != first.Process.Pid
	}) {
		line := event.Name(e.Type)
		if e.Exec() != nil {
			line += " " + strings.TrimPrefix(string(e.Exe()), h.root) + " [" +
				strings.TrimRight(strings.ReplaceAll(string(e.Argv()), "\x00", " "), " ") + "]"
		}
		lines = append(lines, line)
	}
	return lines
}

func (h *house) wantLife(t *testing.T, first *exec.Cmd, want ...string) {
	t.Helper()
	if got := h.life(t, first); !slices.Equal(got, want) {
		t.Errorf("told:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func (h *house) known(t *testing.T) uint64 {
	t.Helper()
	var tally wire.Tally
	must(t, h.r.sensor.Policies().Tally.Lookup(h.policy.Id, &tally))
	return tally.Known[wire.SignalProcess]
}

// quietExecs is how many known execs are done under the mode. The environment can ask for a long run of the strongest.
func quietExecs(mode wire.Mode) int {
	if mode == wire.ModeEnforce && os.Getenv("HOLDFAST_LONG") != "" {
		return 50000
	}
	return 300
}

// testQuietKnown does known execs in each mode. Of the first process alone anything is told.
func testQuietKnown(t *testing.T, r *rig, image string) {
	for i, mode := range []wire.Mode{wire.ModeLearn, wire.ModeMonitor, wire.ModeEnforce} {
		h := newHouse(t, r, image, uint32(220+i))
		h.runs(t, "/bin/sh")
		h.list(t, wire.AllowExec, "/bin/sh", h.text("/bin/cat"), uint16(wire.SourceImage))
		h.list(t, wire.AllowArguments, "/bin/cat", h.shape("/bin/cat\x00/etc/job-77\x00"), 1)
		h.hold(t, map[wire.Signal]wire.Mode{wire.SignalProcess: mode})
		times := quietExecs(mode)
		before, err := r.sensor.Counted()
		must(t, err)
		first := h.sh(t, fmt.Sprintf("i=0; while [ $i -lt %d ]; do /bin/cat /etc/job-$i; i=$((i+1)); done", times))
		h.wantLife(t, first)
		after, err := r.sensor.Counted()
		must(t, err)
		same(t, "counts", []pair{
			{"known", h.known(t), uint64(times + 1)},
			{"forks", after[wire.TypeFork]-before[wire.TypeFork] >= uint64(times), true},
			{"execs", after[wire.TypeExec]-before[wire.TypeExec] >= uint64(times), true},
			{"exits", after[wire.TypeExit]-before[wire.TypeExit] >= uint64(times), true},
		})
	}
}

// testIntroduced has a quiet process do something that is wanted: it is introduced, with its arguments, after its parent,
// and told from then on.
func testIntroduced(t *testing.T, r *rig, image string) {
	h := newHouse(t, r, image, 223)
	h.runs(t, "/bin/sh", "/bin/unshare", "/bin/true")
	h.hold(t, enforceProcess)
	must(t, r.sensor.SetInterest(h.id, Interest{All: 1 << wire.TypeUnshare}))
	first := h.sh(t, "/bin/sh -c '/bin/unshare -m /bin/true; /bin/true; :'; :")
	h.wantLife(t, first,
		"task /bin/sh []", "task /bin/unshare [/bin/unshare -m /bin/true]", "unshare", "exec /bin/true [/bin/true]", "exit", "exit")
	tasks := r.Find(func(e *event.Event) bool { return e.Head.Origin == h.id && e.Type == wire.TypeTask })
	if len(tasks) != 2 {
		t.Fatalf("%d introductions", len(tasks))
	}
	shell, unshare := tasks[0].Exec(), tasks[1].Exec()
	caused := r.one(t, "unshare", func(e *event.Event) bool {
		return e.Head.Origin == h.id && e.Type == wire.TypeUnshare && int(e.Head.Tgid) != first.Process.Pid
	})
	same(t, "introductions", []pair{
		{"the shell's parent", int(shell.Ppid), first.Process.Pid},
		{"the shell's executable", shell.Before, h.subject("/bin/sh")},
		{"the shell has run", shell.ExecTime != 0, true},
		{"parent", unshare.Ppid, shell.Head.Tgid},
		{"start of the parent", unshare.ParentStart, shell.Head.Start},
		{"executable", unshare.Before, h.subject("/bin/unshare")},
		{"hash of the arguments", unshare.ArgvHash != 0, true},
		{"who did it", caused.Head.Tgid, unshare.Head.Tgid},
		{"ring", unshare.Head.Ring, caused.Head.Ring},
		{"not later", unshare.Head.Time <= caused.Head.Time, true},
		{"cgroup", unshare.Head.Cgroup, h.id},
	})
}

// testIntroducedAncestors has a quiet process replaced by a program that is not listed.
func testIntroducedAncestors(t *testing.T, r *rig, image string) {
	h := newHouse(t, r, image, 224)
	h.runs(t, "/bin/sh")
	h.hold(t, map[wire.Signal]wire.Mode{wire.SignalProcess: wire.ModeMonitor})
	first := h.sh(t, "/bin/sh -c '/bin/touch "+proof+"; :'; :")
	h.wantLife(t, first, "task /bin/sh []", "exec /bin/touch [/bin/touch "+proof+"]", "exit", "exit")
	told := r.one(t, "exec", func(e *event.Event) bool {
		return e.Head.Origin == h.id && e.Type == wire.TypeExec && int(e.Head.Tgid) != first.Process.Pid
	})
	same(t, "exec", []pair{
		{"before", told.Exec().Before, h.subject("/bin/sh")}, {"time", told.Exec().ExecTime, told.Head.Time},
		{"would block", wire.Flag(told.Head.Flags)&wire.FlagWouldBlock != 0, true},
	})
}

// testRecorded has somebody record the execs of a house: all are told.
func testRecorded(t *testing.T, r *rig, image string) {
	h := newHouse(t, r, image, 225)
	h.runs(t, "/bin/sh", "/bin/true")
	h.hold(t, enforceProcess)
	must(t, r.sensor.SetInterest(h.id, Interest{All: 1 << wire.TypeExec}))
	first := h.sh(t, "/bin/true; /bin/true; :")
	h.wantLife(t, first, "exec /bin/true [/bin/true]", "exit", "exec /bin/true [/bin/true]", "exit")
}

// testSessionLoud enters a container after its entry point: all that the session does is told.
func testSessionLoud(t *testing.T, r *rig, image string) {
	h := newHouse(t, r, image, 226)
	h.runs(t, "/bin/sh", "/bin/true")
	h.hold(t, enforceProcess)
	h.wantLife(t, h.sh(t, "/bin/true; :"))
	h.verdicts(t)
	session := h.sh(t, "/bin/true; /bin/sh -c '/bin/true; :'; :")
	h.wantLife(t, session, "exec /bin/true [/bin/true]", "exit", "exec /bin/sh [/bin/sh -c /bin/true; :]", "fork",
		"exec /bin/true [/bin/true]", "exit", "exit")
}

// testDroppedLoud runs a file of the upper layer that is listed so: it and its children are told.
func testDroppedLoud(t *testing.T, r *rig, image string) {
	h := newHouse(t, r, image, 227)
	h.runs(t, "/bin/sh", "/bin/cp", "/bin/true")
	h.list(t, wire.AllowExec, "", h.text("/tmp/sh"), uint16(wire.SourceUpper))
	h.list(t, wire.AllowArguments, "/tmp/sh", [2]uint64{}, 1)
	h.hold(t, enforceProcess)
	first := h.sh(t, "/bin/cp /bin/sh /tmp/sh; /tmp/sh -c '/bin/true; :'; :")
	h.wantLife(t, first, "exec /tmp/sh [/tmp/sh -c /bin/true; :]", "fork", "exec /bin/true [/bin/true]", "exit", "exit")
}

// testConnectionLoud gives a listed program a connection for its input.
func testConnectionLoud(t *testing.T, r *rig, image string) {
	h := newHouse(t, r, image, 228)
	h.runs(t, "/bin/sh", "/bin/true")
	h.hold(t, enforceProcess)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	first := h.command("/bin/sh", "-c", "/bin/true; /bin/true < /etc/secret; :")
	first.Stdin = theirs
	err = first.Run()
	must(t, theirs.Close())
	must(t, err)
	h.wantLife(t, first, "exec /bin/true [/bin/true]", "exit")
}

// testNamesRemounted puts other file systems in the place of a container's root, with files of the same numbers and last
// names: what is worked out once about the files of one must not be believed of the other's.
func testNamesRemounted(t *testing.T, r *rig) {
	listed, other := rootfs.Tmpfs(t, "bin", "sbin", "tmp"), rootfs.Tmpfs(t, "bin", "sbin", "tmp")
	busybox, err := exec.LookPath("busybox")
	must(t, err)
	rootfs.Copy(t, busybox, filepath.Join(listed, "bin/busybox"))
	rootfs.Copy(t, busybox, filepath.Join(other, "sbin/busybox"))
	h := newHouse(t, r, listed, 229)
	h.runs(t, "/bin/busybox")
	h.hold(t, enforceProcess)
	for i := range 40 {
		image, path := listed, "/bin/busybox"
		if i%2 == 1 {
			image, path = other, "/sbin/busybox"
		}
		must(t, unix.Unmount(h.root, 0))
		dir := rootfs.Tmpfs(t, "upper", "work")
		rootfs.Overlay(t, image, dir, h.root)
		h.do(t, path, "touch", proof)
		if done := h.there(t, proof); done && image == other {
			t.Fatalf("round %d: %s was taken for another", i, path)
		} else if !done && i == 0 {
			t.Fatalf("%s is refused", path)
		}
	}
}
