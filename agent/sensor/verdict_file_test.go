// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// fileDeed is something that is done in a house, by the shell or one of its applets, where any may write below /data/own,
// read /etc/listed, which is protected as /etc/secret is, and otherwise nothing is listed.
type fileDeed struct {
	name   string
	modes  map[wire.Signal]wire.Mode
	script string
	// effect says whether the last command succeeds; says what is told where the deed can be refused. Where it comes too
	// late for that, an open kills, and what has another class is told as late.
	effect bool
	says   []string
	late   []string
	// killed says that without hooks the process that does it is killed.
	killed bool
}

var enforceFile = map[wire.Signal]wire.Mode{wire.SignalFile: wire.ModeEnforce}

func fileSays(deed, path, flag string, signal wire.Signal, reason wire.Reason) string {
	return fmt.Sprintf("%s %s: %s by %d for %d", deed, path, flag, signal, reason)
}

func fileDeeds() []fileDeed {
	const file, protect = wire.SignalFile, wire.SignalProtect
	only := func(signal wire.Signal, mode wire.Mode) map[wire.Signal]wire.Mode {
		return map[wire.Signal]wire.Mode{signal: mode}
	}
	one := func(deed, path, flag string, signal wire.Signal, reason wire.Reason) []string {
		return []string{fileSays(deed, path, flag, signal, reason)}
	}
	blocked := func(deed, path string) []string { return one(deed, path, "blocked", file, wire.ReasonFile) }
	late := func(deed, path string) []string { return one(deed, path, "would block", file, wire.ReasonFile) }
	killed := func(deed, path string) []string { return one(deed, path, "killed", file, wire.ReasonFile) }
	return []fileDeed{
		{"write listed", enforceFile, "echo x > /data/own/file", true, nil, nil, false},
		{"write", enforceFile, "echo x >> /data/there", false, blocked("open", "/data/there"), killed("open", "/data/there"), true},
		{"write monitored", only(file, wire.ModeMonitor), "echo x >> /data/there", true, late("open", "/data/there"),
			late("open", "/data/there"), false},
		{"write learned", only(file, wire.ModeLearn), "echo x >> /data/there", true,
			one("open", "/data/there", "learn", file, wire.ReasonFile), one("open", "/data/there", "learn", file, wire.ReasonFile), false},
		{"write off", only(protect, wire.ModeEnforce), "echo x >> /data/there", true, nil, nil, false},
		{"create", enforceFile, "echo x > /data/new", false, blocked("create", "/data/new"),
			killed("create", "/data/new"), true},
		{"create monitored", only(file, wire.ModeMonitor), "echo x > /data/new", true, late("create", "/data/new"),
			late("create", "/data/new"), false},
		{"create learned", only(file, wire.ModeLearn), "echo x > /data/new", true,
			append(one("create", "/data/new", "learn", file, wire.ReasonFile), one("open", "/data/new", "learn", file, wire.ReasonFile)...),
			append(one("create", "/data/new", "learn", file, wire.ReasonFile), one("open", "/data/new", "learn", file, wire.ReasonFile)...), false},
		{"create listed and write monitored", only(file, wire.ModeMonitor), "echo x > /data/made", true, late("open", "/data/made"),
			late("open", "/data/made"), false},
		{"make folder", enforceFile, "/bin/mkdir /data/new", false, blocked("create", "/data/new"), late("create", "/data/new"), false},
		{"delete", enforceFile, "/bin/rm /data/there", false, blocked("unlink", "/data/there"), late("unlink", "/data/there"), false},
		{"rename away", enforceFile, "/bin/mv /data/there /data/own/x", false, blocked("rename", "/data/there"),
			late("rename", "/data/there"), false},
		{"rename into", enforceFile, "/bin/mv /data/own/here /data/x", false, blocked("rename", "/data/own/here"),
			late("rename", "/data/own/here"), false},
		{"link", enforceFile, "/bin/ln /data/own/here /data/x", false, blocked("link", "/data/own/here"),
			late("link", "/data/own/here"), false},
		{"link what is protected", enforceFile, "/bin/ln /etc/secret /data/own/x", false,
			one("link", "/etc/secret", "blocked", file, wire.ReasonProtectedFile),
			one("link", "/etc/secret", "would block", file, wire.ReasonProtectedFile), false},
		{"symbolic link", enforceFile, "/bin/ln -s /etc /data/x", false, blocked("symlink", "/data/x"), late("symlink", "/data/x"), false},
		{"change mode", enforceFile, "/bin/chmod 700 /data/there", false, blocked("chmod", "/data/there"), late("chmod", "/data/there"), false},
		{"through a symbolic link", enforceFile, "echo x >> /data/own/out", false, blocked("open", "/data/there"),
			killed("open", "/data/there"), true},
		{"through a mount", enforceFile, "/bin/mount -o bind /data /data/own && echo x >> /data/own/there", false,
			blocked("open", "/data/there"), killed("open", "/data/there"), true},
		{"read", enforceFile, "/bin/cat /data/there", true, nil, nil, false},
		{"read what is protected", enforceFile, "/bin/cat /etc/secret", false,
			one("open", "/etc/secret", "blocked", file, wire.ReasonProtectedFile),
			one("open", "/etc/secret", "killed", file, wire.ReasonProtectedFile), true},
		{"read by protection alone", only(protect, wire.ModeEnforce), "/bin/cat /etc/secret", false,
			one("open", "/etc/secret", "blocked", protect, wire.ReasonProtectedFile),
			one("open", "/etc/secret", "killed", protect, wire.ReasonProtectedFile), true},
		{"read what is listed", enforceFile, "/bin/cat /etc/listed", true, nil, nil, false},
		{"write a device", enforceFile, "echo x > /data/null", true, nil, nil, false},
	}
}

func testFileVerdicts(t *testing.T, r *rig) {
	for _, name := range []string{"secret", "listed"} {
		must(t, r.sensor.WatchName(name, wire.WatchProtect))
		t.Cleanup(func() { must(t, r.sensor.UnwatchName(name)) })
	}
	image := newImage(t)
	for i, d := range fileDeeds() {
		t.Run(d.name, func(t *testing.T) { testFileVerdict(t, r, image, uint32(300+i), d) })
	}
	t.Run("templates", func(t *testing.T) { testTemplates(t, r, image) })
	t.Run("told once", func(t *testing.T) { testToldOnce(t, r, image) })
	t.Run("known", func(t *testing.T) { testKnown(t, r) })
	t.Run("library", func(t *testing.T) { testLibraryVerdict(t, r, image) })
}

func testFileVerdict(t *testing.T, r *rig, image string, id uint32, d fileDeed) {
	h := newHouse(t, r, image, id)
	h.furnish(t)
	h.hold(t, d.modes)
	err := h.command("/bin/sh", "-c", d.script+"; exit $?").Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	effect, says := d.effect, d.says
	if r.bySyscall() {
		effect, says = !d.killed, d.late
	}
	if (err == nil) != effect {
		t.Errorf("it ended with %v; took effect is wanted: %t", err, effect)
	}
	h.says(t, says...)
}

// furnish makes what the deeds are done on, and lists what is allowed.
func (h *house) furnish(t *testing.T) {
	t.Helper()
	must(t, os.Mkdir(filepath.Join(h.root, "data/own"), 0o755))
	for _, path := range []string{"data/there", "data/own/here", "etc/listed"} {
		must(t, os.WriteFile(filepath.Join(h.root, path), []byte("text"), 0o644))
	}
	must(t, os.Symlink("/data/there", filepath.Join(h.root, "data/own/out")))
	must(t, unix.Mknod(filepath.Join(h.root, "data/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	const all = wire.MayRead | wire.MayWrite | wire.MayCreate | wire.MayDelete
	h.tree(t, "", "/data/own/", uint16(all))
	h.list(t, wire.AllowFile, "", h.text("/etc/listed"), uint16(wire.MayRead))
	h.list(t, wire.AllowFile, "", h.text("/data/made"), uint16(wire.MayCreate))
}

// tree lets the bits be allowed to the subject in all paths that begin with the text.
func (h *house) tree(t *testing.T, subject, prefix string, bits uint16) {
	t.Helper()
	key := wire.TreeKey{Policy: h.policy.Id, Subject: h.subject(subject), Bits: uint32(12+len(prefix)) * 8}
	copy(key.Path[:], prefix)
	must(t, h.r.sensor.Policies().Tree.Put(key, wire.Allow{Since: h.policy.Generation, Now: bits}))
}

// testTemplates wants each kind of entry to hold for its files, and for no others.
func testTemplates(t *testing.T, r *rig, image string) {
	h := newHouse(t, r, image, 350)
	const write = uint16(wire.MayWrite | wire.MayCreate)
	for _, dir := range []string{"exact", "folder", "folder/deeper", "day-2", "day-x"} {
		must(t, os.Mkdir(filepath.Join(h.root, "data", dir), 0o777))
	}
	h.list(t, wire.AllowFile, "/bin/sh", h.text("/data/exact/a"), write)
	h.list(t, wire.AllowFileShape, "", h.shape("/data/exact/log-1.txt"), write)
	h.list(t, wire.AllowFolder, "", h.text("/data/folder"), write)
	h.list(t, wire.AllowFolderShape, "", h.shape("/data/day-1"), write)
	h.list(t, wire.AllowFile, "/bin/cp", h.text("/data/exact/c"), write)
	h.hold(t, enforceFile)
	for path, want := range map[string]bool{
		"/data/exact/a": true, "/data/exact/b": false, "/data/exact/c": false, "/data/exact/log-77.txt": true,
		"/data/exact/log-x.txt": false, "/data/folder/any": true, "/data/folder/deeper/any": false, "/data/day-2/any": true,
		"/data/day-x/any": false,
	} {
		err := h.command("/bin/sh", "-c", "echo x > "+path).Run()
		if (err == nil) != want {
			t.Errorf("write %s: %v; want it allowed: %t", path, err, want)
		}
	}
}

// testToldOnce repeats a deed and wants it told once a second, and counted each time.
func testToldOnce(t *testing.T, r *rig, image string) {
	h := newHouse(t, r, image, 351)
	h.furnish(t)
	h.hold(t, map[wire.Signal]wire.Mode{wire.SignalFile: wire.ModeMonitor})
	const times = 50
	begun := time.Now()
	must(t, h.command("/bin/sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do echo x >> /data/there; i=$((i+1)); done", times)).Run())
	told, most := len(h.verdicts(t)), 1+int(time.Since(begun)/time.Second)
	if told < 1 || told > most {
		t.Errorf("told %d times, want 1 to %d", told, most)
	}
	var tally wire.Tally
	must(t, r.sensor.Policies().Tally.Lookup(h.policy.Id, &tally))
	if n := tally.WouldBlock[wire.SignalFile]; n != times {
		t.Errorf("counted %d times, want %d", n, times)
	}
}

// actLoad maps a copy of a program for execution, and one that is mapped for reading before it becomes executable.
func actLoad(s say) error {
	for name, protection := range map[string]int{"/tmp/at once": unix.PROT_READ | unix.PROT_EXEC, "/tmp/later": unix.PROT_READ} {
		if err := copyLibrary(name); err != nil {
			return err
		}
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		memory, err := unix.Mmap(int(file.Fd()), 0, 4096, protection, unix.MAP_PRIVATE)
		if err == nil && protection == unix.PROT_READ {
			err = unix.Mprotect(memory, unix.PROT_READ|unix.PROT_EXEC)
		}
		var errno syscall.Errno
		if errors.As(err, &errno) {
			s[name] = int64(errno)
		}
	}
	return nil
}

func copyLibrary(to string) error {
	from, err := os.Open("/bin/true")
	if err != nil {
		return err
	}
	defer from.Close()
	file, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, from); err != nil {
		return errors.Join(err, file.Close())
	}
	return file.Close()
}

// testLibraryVerdict wants no code to be mapped that is not of the image, unless it is listed: where mappings cannot be
// refused, who makes one is killed.
func testLibraryVerdict(t *testing.T, r *rig, image string) {
	h := newHouse(t, r, image, 352)
	h.runs(t, "/deed")
	h.hold(t, enforceProcess)
	load := func() say { return h.act(t, "verdict load", "/", h.inside).said }
	if r.bySyscall() {
		cmd := h.command("/deed", "-test.run=^TestAct$")
		cmd.Env = append(cmd.Env, "HOLDFAST_ACT=verdict load")
		var exit *exec.ExitError
		if err := cmd.Run(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
			t.Errorf("it was not killed: %v", err)
		}
		h.says(t, fileSays("mmap_exec", "/tmp/at once", "killed", wire.SignalProcess, wire.ReasonLibrary))
		h.list(t, wire.AllowLibrary, "/deed", h.text("/tmp/at once"), uint16(wire.SourceUpper))
		if said := load(); len(said) != 0 {
			t.Errorf("refused what is listed: %v", said)
		}
		h.says(t)
		return
	}
	const refused = int64(unix.EPERM)
	if said := load(); said["/tmp/at once"] != refused || said["/tmp/later"] != refused {
		t.Errorf("refused: %v, want both", said)
	}
	got := map[string]bool{}
	for _, line := range h.verdicts(t) {
		got[line] = true
	}
	for _, name := range []string{"/tmp/at once", "/tmp/later"} {
		if want := fileSays("mmap_exec", name, "blocked", wire.SignalProcess, wire.ReasonLibrary); !got[want] {
			t.Errorf("no verdict %q in %v", want, got)
		}
		h.list(t, wire.AllowLibrary, "/deed", h.text(name), uint16(wire.SourceUpper))
	}
	if said := load(); len(said) != 0 {
		t.Errorf("refused what is listed: %v; verdicts: %q", said, h.verdicts(t))
	}
}

// inside makes an act one of the house.
func (h *house) inside(cmd *exec.Cmd) {
	cmd.Path, cmd.Err = "/deed", nil
	cmd.SysProcAttr.Chroot, cmd.SysProcAttr.Unshareflags = h.root, unix.CLONE_NEWNS
}
