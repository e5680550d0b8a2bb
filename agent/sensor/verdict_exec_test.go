// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/rig/rootfs"
)

const proof = "/tmp/proof"

var (
	enforceProcess = map[wire.Signal]wire.Mode{wire.SignalProcess: wire.ModeEnforce}
	enforceProtect = map[wire.Signal]wire.Mode{wire.SignalProtect: wire.ModeEnforce}
)

// execDeed is something that is done in a house whose policy lists the shell and some of the applets, each of which is
// run by anybody with any arguments. What is refused leaves no proof.
type execDeed struct {
	name   string
	modes  map[wire.Signal]wire.Mode
	before func(*testing.T, *house)
	script string
	// proof says whether the deed takes effect; says what is told, of the family in use.
	proof bool
	says  func(*house) []string
}

func nothing(*house) []string { return nil }

// refused tells of one exec that is not done.
func refused(path string, signal wire.Signal, reason wire.Reason) func(*house) []string {
	return func(h *house) []string { return []string{h.refusedExec(path, signal, reason)} }
}

// told tells of an exec that is done, or killed when it was done.
func told(path, flag string, signal wire.Signal, reason wire.Reason) func(*house) []string {
	return func(*house) []string {
		return []string{fmt.Sprintf("exec %s: %s by %d for %d", path, flag, signal, reason)}
	}
}

func execDeeds() []execDeed {
	const process, protect = wire.SignalProcess, wire.SignalProtect
	only := func(signal wire.Signal, mode wire.Mode) map[wire.Signal]wire.Mode {
		return map[wire.Signal]wire.Mode{signal: mode}
	}
	both := func(a, b wire.Mode) map[wire.Signal]wire.Mode {
		return map[wire.Signal]wire.Mode{process: a, protect: b}
	}
	const unlisted = "/bin/touch " + proof
	return []execDeed{
		{"listed", enforceProcess, nil, "/bin/cp /etc/secret " + proof, true, nothing},
		{"unlisted", enforceProcess, nil, unlisted, false, refused("/bin/touch", process, wire.ReasonExecutable)},
		{"unlisted monitored", only(process, wire.ModeMonitor), nil, unlisted, true,
			told("/bin/touch", "would block", process, wire.ReasonExecutable)},
		{"unlisted learned", only(process, wire.ModeLearn), nil, unlisted, true,
			told("/bin/touch", "learn", process, wire.ReasonExecutable)},
		{"unlisted off", enforceProtect, nil, unlisted, true, nothing},
		{"by a symbolic link", enforceProcess, nil, "/bin/ln -s /bin/touch /tmp/cp; /tmp/cp " + proof, false,
			refused("/bin/touch", process, wire.ReasonExecutable)},
		{"by a hard link", enforceProcess, nil, "/bin/ln /bin/touch /tmp/touch; /tmp/touch " + proof, false,
			refused("/tmp/touch", process, wire.ReasonDrift)},
		{"mounted on what is listed", enforceProcess, nil,
			"/bin/mount -o bind /bin/touch /bin/true && exec -a touch /bin/true " + proof, false,
			refused("/bin/true", process, wire.ReasonExecutable)},
		{"in another root", enforceProcess, listRoots,
			"/bin/mkdir /tmp/r && /bin/mount -o bind / /tmp/r && /bin/chroot /tmp/r /bin/cp /etc/secret " + proof, true, nothing},
		{"unlisted in another root", enforceProcess, listRoots,
			"/bin/mkdir /tmp/r && /bin/mount -o bind / /tmp/r && /bin/chroot /tmp/r /bin/touch " + proof, false,
			refused("/tmp/r/bin/touch", process, wire.ReasonExecutable)},
		{"in other mounts", enforceProcess, listRoots, "/bin/unshare -m " + unlisted, false,
			refused("/bin/touch", process, wire.ReasonExecutable)},
		{"moved to what is listed", enforceProcess, nil,
			"/bin/cp /bin/touch /tmp/x && /bin/mv /tmp/x /bin/true && exec -a touch /bin/true " + proof, false,
			refused("/bin/true", process, wire.ReasonDrift)},
		{"copied up", enforceProcess, listChmod, "/bin/chmod 755 /bin/true; exec -a touch /bin/true " + proof, false,
			refused("/bin/true", process, wire.ReasonDrift)},
		{"dropped", enforceProcess, nil, "/bin/cp /bin/touch /tmp/touch; /tmp/touch " + proof, false,
			refused("/tmp/touch", process, wire.ReasonDrift)},
		{"dropped under protection", enforceProtect, nil, "/bin/cp /bin/touch /tmp/touch; /tmp/touch " + proof, false,
			refused("/tmp/touch", protect, wire.ReasonDrift)},
		{"dropped learned under protection", both(wire.ModeLearn, wire.ModeEnforce), nil,
			"/bin/cp /bin/touch /tmp/touch; /tmp/touch " + proof, false,
			refused("/tmp/touch", protect, wire.ReasonDrift)},
		{"dropped protection monitored", both(wire.ModeOff, wire.ModeMonitor), nil,
			"/bin/cp /bin/touch /tmp/touch; /tmp/touch " + proof, true,
			told("/tmp/touch", "would block", protect, wire.ReasonDrift)},
		{"dropped listed so", enforceProcess, listDropped, "/bin/cp /bin/touch /tmp/touch; /tmp/touch " + proof, true, nothing},
		{"arguments", enforceProcess, listArguments, "/bin/touch " + proof, false,
			told("/bin/touch", "killed", process, wire.ReasonArguments)},
		{"arguments of a shape", enforceProcess, listArguments, "/bin/touch /tmp/job-77 /tmp/job-1f3c", false, nothing},
		{"arguments monitored", only(process, wire.ModeMonitor), listArguments, "/bin/touch " + proof, true,
			told("/bin/touch", "would block", process, wire.ReasonArguments)},
		{"another parent", enforceProcess, listParent, "/bin/touch " + proof, false,
			refused("/bin/touch", process, wire.ReasonParent)},
		{"another parent and arguments listed", enforceProcess, listParentArguments, "/bin/touch " + proof, false,
			refused("/bin/touch", process, wire.ReasonParent)},
		{"the parent", enforceProcess, listParentShell, "/bin/touch " + proof, true, nothing},
		{"script", enforceProcess, nil, "/etc/script", true, nothing},
		{"script with other arguments", enforceProcess, listShellArguments, "/etc/script", false,
			told("/bin/sh", "killed", process, wire.ReasonArguments)},
		{"another program's deed", enforceProcess, nil, "/deed -test.list=none", false, refused("/deed", process, wire.ReasonExecutable)},
	}
}

func listRoots(t *testing.T, h *house) {
	h.runs(t, "/bin/mkdir", "/bin/chroot", "/bin/unshare")
}

func listChmod(t *testing.T, h *house) { h.runs(t, "/bin/chmod") }

func listDropped(t *testing.T, h *house) {
	h.list(t, wire.AllowExec, "", h.text("/tmp/touch"), uint16(wire.SourceUpper))
	h.list(t, wire.AllowArguments, "/tmp/touch", [2]uint64{}, 1)
}

func listArguments(t *testing.T, h *house) {
	h.list(t, wire.AllowExec, "", h.text("/bin/touch"), uint16(wire.SourceImage))
	h.list(t, wire.AllowArguments, "/bin/touch", h.shape("/bin/touch\x00/tmp/job-12\x00/tmp/job-cafe0\x00"), 1)
}

func listParent(t *testing.T, h *house) {
	h.list(t, wire.AllowExec, profile.Runtime, h.text("/bin/touch"), uint16(wire.SourceImage))
	h.list(t, wire.AllowArguments, "/bin/touch", [2]uint64{}, 1)
}

func listParentArguments(t *testing.T, h *house) {
	h.list(t, wire.AllowExec, profile.Runtime, h.text("/bin/touch"), uint16(wire.SourceImage))
	h.list(t, wire.AllowArguments, "/bin/touch", h.shape("/bin/touch\x00"+proof+"\x00"), 1)
	h.list(t, wire.AllowArguments, "/bin/touch", [2]uint64{0, 1}, 1)
}

func listParentShell(t *testing.T, h *house) {
	h.list(t, wire.AllowExec, "/bin/sh", h.text("/bin/touch"), uint16(wire.SourceImage))
	h.list(t, wire.AllowArguments, "/bin/touch", [2]uint64{}, 1)
}

// listShellArguments lets the shell be run as the test does it, and not with a script.
func listShellArguments(t *testing.T, h *house) {
	key := wire.AllowKey{Policy: h.policy.Id, Class: uint32(wire.AllowArguments), Subject: h.subject("/bin/sh")}
	must(t, h.r.sensor.Policies().Allow.Delete(key))
	h.list(t, wire.AllowArguments, "/bin/sh", h.shape("/bin/sh\x00-c\x00/etc/script\x00"), 1)
}

// testExecVerdicts does each deed in a house of its own.
func testExecVerdicts(t *testing.T, r *rig) {
	image := newImage(t)
	for i, d := range execDeeds() {
		t.Run(d.name, func(t *testing.T) {
			h := newHouse(t, r, image, uint32(100+i))
			h.runs(t, "/bin/sh", "/bin/true", "/bin/cp", "/bin/mv", "/bin/ln", "/bin/mount")
			if d.before != nil {
				d.before(t, h)
			}
			h.hold(t, d.modes)
			h.sh(t, d.script)
			if there := h.there(t, proof); there != d.proof {
				t.Errorf("took effect: %t, want %t", there, d.proof)
			}
			h.says(t, d.says(h)...)
		})
	}
	t.Run("memory", func(t *testing.T) { testMemoryVerdict(t, r, image) })
	t.Run("dropped script", func(t *testing.T) { testScriptVerdict(t, r, image) })
	t.Run("failed", func(t *testing.T) { testAfterFailedExec(t, r, image) })
	t.Run("loader", func(t *testing.T) { testLoaderVerdict(t, r, image) })
	t.Run("generation", func(t *testing.T) { testGeneration(t, r, image) })
	t.Run("announced", func(t *testing.T) { testAnnounced(t, r) })
	t.Run("counts", func(t *testing.T) { testCounts(t, r, image) })
	t.Run("there already", func(t *testing.T) { testThereAlready(t, r, image) })
}

// actRunMemory runs the shell from memory.
func actRunMemory(say) error {
	data, err := os.ReadFile("/bin/touch")
	if err != nil {
		return err
	}
	fd, err := unix.MemfdCreate("touch", 0)
	if err != nil {
		return err
	}
	if _, err := os.NewFile(uintptr(fd), "touch").Write(data); err != nil {
		return err
	}
	return execveat(fd, "touch", proof)
}

// testMemoryVerdict wants what has no file not to run, by protection alone.
func testMemoryVerdict(t *testing.T, r *rig, image string) {
	h := newHouse(t, r, image, 200)
	h.hold(t, enforceProtect)
	cmd := h.command("/deed", "-test.run=^TestAct$")
	cmd.Env = append(cmd.Env, "HOLDFAST_ACT=verdict memfd")
	_ = cmd.Run()
	if h.there(t, proof) {
		t.Error("it ran")
	}
	h.says(t, h.refusedExec("/memfd:touch", wire.SignalProtect, wire.ReasonFileless))
}

// actRunAgain begins an exec that the kernel finds to be of no program, and then, in the same process, runs the shell.
func actRunAgain(say) error {
	if err := unix.Exec("/etc/secret", []string{"secret"}, nil); !errors.Is(err, unix.ENOEXEC) {
		return fmt.Errorf("exec of what is no program: %w", err)
	}
	return unix.Exec("/bin/sh", []string{"sh", "-c", "/bin/touch " + proof}, nil)
}

// testAfterFailedExec wants a program to be known as itself, and not as the file that its process could not run before.
func testAfterFailedExec(t *testing.T, r *rig, image string) {
	h := newHouse(t, r, image, 207)
	h.runs(t, "/deed", "/etc/secret", "/bin/sh")
	listParentShell(t, h)
	h.hold(t, enforceProcess)
	cmd := h.command("/deed", "-test.run=^TestAct$")
	cmd.Env = append(cmd.Env, "HOLDFAST_ACT=verdict failed")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if !h.there(t, proof) {
		t.Error("what the shell alone may run did not run")
	}
	h.says(t)
}

// testScriptVerdict wants a script that is not of the image not to run, where that can be told.
func testScriptVerdict(t *testing.T, r *rig, image string) {
	h := newHouse(t, r, image, 201)
	h.runs(t, "/bin/sh", "/bin/cp")
	h.hold(t, enforceProcess)
	h.sh(t, "/bin/cp /etc/script /tmp/script; /tmp/script")
	if r.bySyscall() {
		// The interpreter and its arguments are what is left to judge.
		if !h.there(t, proof) {
			t.Error("it did not run")
		}
		h.says(t)
		return
	}
	if h.there(t, proof) {
		t.Error("it ran")
	}
	h.says(t, h.refusedExec("/tmp/script", wire.SignalProcess, wire.ReasonDrift))
}

// testLoaderVerdict runs a program by the dynamic loader, which is the executable then, and not listed.
func testLoaderVerdict(t *testing.T, r *rig, image string) {
	h := newHouse(t, r, image, 202)
	files := rootfs.Needed(t, "/proc/self/exe")
	if len(files) == 0 {
		t.Skip("unsupported: the loader needs a test that is linked dynamically")
	}
	h.runs(t, "/bin/sh", "/deed")
	h.hold(t, enforceProcess)
	h.sh(t, files[0]+" /deed -test.list=. > "+proof)
	data, err := os.ReadFile(filepath.Join(h.root, proof))
	must(t, err)
	if len(data) > 0 {
		t.Errorf("it ran: %.80q", data)
	}
	path, err := filepath.EvalSymlinks(filepath.Join(h.root, files[0]))
	must(t, err)
	h.says(t, h.refusedExec(strings.TrimPrefix(path, h.root), wire.SignalProcess, wire.ReasonExecutable))
}

// testGeneration changes two entries and wants both to hold at once, with the generation of the policy.
func testGeneration(t *testing.T, r *rig, image string) {
	h := newHouse(t, r, image, 203)
	h.runs(t, "/bin/sh", "/bin/touch", "/bin/cp")
	h.hold(t, enforceProcess)
	change := func(path string, was, now wire.Source) {
		key := wire.AllowKey{Policy: h.policy.Id, Class: uint32(wire.AllowExec), Object: h.text(path)}
		must(t, r.sensor.Policies().Allow.Put(key, wire.Allow{Since: 2, Was: uint16(was), Now: uint16(now)}))
	}
	change("/bin/touch", wire.SourceImage, 0)
	change("/bin/cp", 0, wire.SourceImage)
	h.sh(t, "/bin/touch "+proof)
	h.sh(t, "/bin/cp /etc/secret /tmp/copied")
	if !h.there(t, proof) || h.there(t, "/tmp/copied") {
		t.Error("the new entries hold before their generation")
	}
	h.policy.Generation = 2
	h.hold(t, enforceProcess)
	h.sh(t, "/bin/touch "+proof)
	h.sh(t, "/bin/cp /etc/secret /tmp/copied")
	if h.there(t, proof) || !h.there(t, "/tmp/copied") {
		t.Error("the old entries hold beyond their generation")
	}
}

// testAnnounced wants the policy of a container that was announced to hold from its cgroup's beginning, and to go with it.
func testAnnounced(t *testing.T, r *rig) {
	name := strings.Repeat("0123456789abcdef", 4)
	var key wire.ContainerName
	copy(key.Id[:], name)
	maps := r.sensor.Policies()
	want := wire.Policy{Id: 204, Generation: 7, Mode: [wire.Signals]uint8{1, 2, 3}}
	must(t, maps.ByName.Put(key, want))
	defer func() { must(t, maps.ByName.Delete(key)) }()
	path := filepath.Join(r.root, "cri-containerd-"+name+".scope")
	must(t, os.Mkdir(path, 0o755))
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	var got wire.Policy
	err := maps.ByContainer.Lookup(st.Ino, &got)
	must(t, os.Remove(path))
	must(t, err)
	if got != want {
		t.Errorf("policy is %+v, want %+v", got, want)
	}
	if err := maps.ByContainer.Lookup(st.Ino, &got); err == nil {
		t.Error("the policy is there after the container")
	}
}

// testCounts wants hits and tallies to count.
func testCounts(t *testing.T, r *rig, image string) {
	h := newHouse(t, r, image, 205)
	h.runs(t, "/bin/sh", "/bin/true")
	h.hold(t, enforceProcess)
	h.sh(t, "/bin/true; /bin/true; /bin/touch "+proof)
	var tally wire.Tally
	must(t, r.sensor.Policies().Tally.Lookup(h.policy.Id, &tally))
	var entry wire.Allow
	key := wire.AllowKey{Policy: h.policy.Id, Class: uint32(wire.AllowExec), Object: h.text("/bin/true")}
	must(t, r.sensor.Policies().Allow.Lookup(key, &entry))
	same(t, "counts", []pair{
		{"known", tally.Known[wire.SignalProcess], uint64(3)},
		{"blocked", tally.Blocked[wire.SignalProcess], uint64(1)},
		{"hits", entry.Hits, uint64(2)},
	})
}

// testThereAlready wants a program that runs already when a sensor starts to be named as if its exec had been seen.
func testThereAlready(t *testing.T, r *rig, image string) {
	h := newHouse(t, r, image, 206)
	cmd := h.command("/bin/sh", "-c", "read line")
	line, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	defer func() {
		must(t, line.Close())
		_ = cmd.Wait()
	}()
	kernel, err := probe.Run()
	must(t, err)
	late, err := New(Config{CgroupRoot: r.root, Family: r.family, LimitFamily: true}, kernel)
	must(t, err)
	defer func() { must(t, late.Close()) }()
	must(t, late.Start(func() error { return late.PlaceCgroup(h.id, h.id) }))
	var key wire.HashKey
	must(t, late.Policies().HashKey.Lookup(uint32(0), &key))
	var process wire.Process
	must(t, late.Policies().Processes.Lookup(uint32(cmd.Process.Pid), &process))
	same(t, "process", []pair{
		{"origin", process.Origin, h.id}, {"executable", process.Exe, nhOf(&key, []byte("/bin/sh"))[0]},
		{"source", wire.Source(process.Flags & uint32(wire.ProcessSource)), wire.SourceImage},
	})
}
