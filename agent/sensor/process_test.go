// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/wire"
)

func testProcess(t *testing.T, r *rig) {
	b := r.container(t, everything)
	t.Run("life", func(t *testing.T) { testLife(t, r, b) })
	t.Run("script", func(t *testing.T) { testScript(t, r, b) })
	t.Run("long arguments", func(t *testing.T) { testLongArguments(t, r, b) })
	t.Run("memfd", func(t *testing.T) { testMemfdExec(t, r, b) })
	t.Run("execveat", func(t *testing.T) { testExecveat(t, r, b) })
	t.Run("terminal", func(t *testing.T) { testTerminal(t, r, b) })
	t.Run("sockets", func(t *testing.T) { testStdio(t, r, b) })
	t.Run("deleted", func(t *testing.T) { testDeletedExec(t, r, b) })
	t.Run("setuid", func(t *testing.T) { testSetuid(t, r, b) })
	t.Run("overlay", func(t *testing.T) { testOverlay(t, r, b) })
	t.Run("stray", func(t *testing.T) { testStray(t, r, b) })
}

// execOf gives the exec of a process, which must be its only one.
func (r *rig) execOf(t *testing.T, pid int) *event.Event {
	t.Helper()
	return r.one(t, "exec", func(e *event.Event) bool { return e.Type == wire.TypeExec && int(e.Head.Tgid) == pid })
}

// run starts a program in the container, to its end, and gives its pid.
func (b *box) run(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &unix.SysProcAttr{}
	}
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(b.dir.Fd())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", cmd, err, out)
	}
	return cmd.Process.Pid
}

// space gives the inode number of a namespace of this process.
func space(t *testing.T, name string) uint32 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Stat("/proc/self/ns/"+name, &st))
	return uint32(st.Ino)
}

// testLife follows a process from fork to exit.
func testLife(t *testing.T, r *rig, b *box) {
	dir := t.TempDir()
	d := b.act(t, "nothing", dir)
	self, err := os.Executable()
	must(t, err)
	e := r.execOf(t, d.pid)
	b.checkHead(t, e, d.pid, 0, false)
	x := e.Exec()
	var st unix.Stat_t
	must(t, unix.Stat(self, &st))
	same(t, "exec", []pair{
		{"exe", string(e.Exe()), self},
		{"filename", string(e.Filename()), "/proc/self/exe"},
		{"interpreter", string(e.Interpreter()), ""},
		{"cwd", string(e.Cwd()), dir},
		{"argv", string(e.Argv()), "/proc/self/exe\x00-test.run=^TestAct$\x00"},
		{"argv size", int(x.ArgvSize), len(e.Argv())},
		{"argv hash", x.ArgvHash, hashOf(e.Argv())},
		{"parent", int(x.Ppid), os.Getpid()},
		{"parent start", x.ParentStart > 0 && x.ParentStart < e.Head.Start, true},
		{"comm", string(bytes.TrimRight(x.Comm[:], "\x00")), "exe"},
		{"stdio", wire.Stdio(x.Stdio), wire.StdoutPipe | wire.StderrPipe},
		{"inode", x.File.Inode, st.Ino},
		{"file mode", x.File.Mode, uint16(st.Mode)},
		{"file flags", wire.FileFlag(x.File.Flags) & (wire.FileMemfd | wire.FileDeleted | wire.FileSetuid), wire.FileFlag(0)},
		{"uid", x.Cred.Uid, uint32(0)},
		{"gid", x.Cred.Gid, uint32(0)},
		{"can chown", x.Cred.Effective & 1, uint64(1)},
		{"mnt", x.Spaces.Mnt, space(t, "mnt")},
		{"net", x.Spaces.Net, space(t, "net")},
		{"pid space", x.Spaces.Pid, space(t, "pid")},
		{"user", x.Spaces.User, space(t, "user")},
		{"ipc", x.Spaces.Ipc, space(t, "ipc")},
		{"uts", x.Spaces.Uts, space(t, "uts")},
		{"cgroup space", x.Spaces.Cgroup, space(t, "cgroup")},
		{"user of credentials", x.Cred.Userns, space(t, "user")},
	})
	fork := r.one(t, "fork", func(e *event.Event) bool { return e.Fork() != nil && int(e.Fork().ChildTgid) == d.pid })
	same(t, "fork", []pair{
		{"parent", int(fork.Head.Tgid), os.Getpid()},
		{"child start", fork.Fork().ChildStart, e.Head.Start},
		{"child cgroup", fork.Fork().ChildCgroup, b.id},
		{"child origin", fork.Fork().ChildOrigin, b.id},
		{"strayed", fork.Has(wire.FlagStrayed), false},
	})
	exit := r.one(t, "exit", func(e *event.Event) bool { return e.Exit() != nil && int(e.Head.Tgid) == d.pid })
	same(t, "exit", []pair{{"status", exit.Exit().Status, uint32(0)}, {"start", exit.Head.Start, e.Head.Start}})
	testFailedExec(t, r, b)
}

// testFailedExec wants the exit status of a program that found nothing to execute, and no exec of that.
func testFailedExec(t *testing.T, r *rig, b *box) {
	pid := b.run(t, exec.Command("/bin/sh", "-c", "(exec /absent) 2>/dev/null; :"))
	r.execOf(t, pid)
	found := r.settled(t, func(e *event.Event) bool {
		return e.Type == wire.TypeExec && strings.Contains(string(e.Filename()), "/absent")
	})
	if len(found) != 0 {
		t.Errorf("%d execs of what is not there", len(found))
	}
}

// hashOf is the hash that wire.h describes.
func hashOf(argv []byte) uint64 {
	hash := uint64(14695981039346656037)
	for len(argv) > 0 {
		var word [8]byte
		argv = argv[copy(word[:], argv):]
		hash = (hash ^ binary.LittleEndian.Uint64(word[:])) * 1099511628211
	}
	return hash
}

func testScript(t *testing.T, r *rig, b *box) {
	script := filepath.Join(t.TempDir(), "script")
	must(t, os.WriteFile(script, []byte("#!/bin/sh\n:\n"), 0o755))
	shell, err := filepath.EvalSymlinks("/bin/sh")
	must(t, err)
	e := r.execOf(t, b.run(t, exec.Command(script, "argument")))
	same(t, "exec", []pair{
		{"exe", string(e.Exe()), shell},
		{"filename", string(e.Filename()), script},
		{"interpreter", string(e.Interpreter()), "/bin/sh"},
		{"argv", string(e.Argv()), "/bin/sh\x00" + script + "\x00argument\x00"},
	})
}

func testLongArguments(t *testing.T, r *rig, b *box) {
	long := make([]string, 0, 10)
	for i := range 10 {
		long = append(long, strings.Repeat(string(rune('a'+i)), 10<<10))
	}
	whole := []byte("/bin/sh\x00-c\x00:\x00" + strings.Join(long, "\x00") + "\x00")
	e := r.execOf(t, b.run(t, exec.Command("/bin/sh", append([]string{"-c", ":"}, long...)...)))
	if e.Has(wire.FlagPartial) {
		t.Skip("unsupported: a hash of arguments that are not resident needs memory")
	}
	same(t, "exec", []pair{
		{"truncated", e.Has(wire.FlagTruncated), true},
		{"size", int(e.Exec().ArgvSize), len(whole)},
		{"hash", e.Exec().ArgvHash, hashOf(whole)},
		{"text", string(e.Argv()), string(whole[:4096]) + string(whole[len(whole)-4096:])},
	})
}

// shellCopy copies the shell, whose path the dynamic linker does not care for.
func shellCopy(t *testing.T, path string, mode uint32) {
	t.Helper()
	data, err := os.ReadFile("/bin/sh")
	must(t, err)
	must(t, os.WriteFile(path, data, 0o755))
	// The umask and setuid bits have no part in it.
	must(t, unix.Chmod(path, mode))
}

func testMemfdExec(t *testing.T, r *rig, b *box) {
	fd, err := unix.MemfdCreate("sneaky", 0)
	must(t, err)
	file := os.NewFile(uintptr(fd), "sneaky")
	defer file.Close()
	data, err := os.ReadFile("/bin/sh")
	must(t, err)
	_, err = file.Write(data)
	must(t, err)
	cmd := exec.Command(fmt.Sprintf("/proc/self/fd/%d", 3), "-c", ":")
	cmd.Args[0] = "sh"
	cmd.ExtraFiles = []*os.File{file}
	e := r.execOf(t, b.run(t, cmd))
	same(t, "exec", []pair{
		{"exe", string(e.Exe()), "/memfd:sneaky"},
		{"flags", wire.FileFlag(e.Exec().File.Flags), wire.FileMemfd | wire.FileDeleted | wire.FileTmpfs},
		{"links", e.Exec().File.Nlink, uint16(0)},
	})
}

// actExecveat replaces itself, from a thread that is not the first, with a file in memory that it names by descriptor alone.
func actExecveat(s say) error {
	runtime.LockOSThread()
	data, err := os.ReadFile("/bin/sh")
	if err != nil {
		return err
	}
	fd, err := unix.MemfdCreate("", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	if _, err := os.NewFile(uintptr(fd), "").Write(data); err != nil {
		return err
	}
	// What it says comes first, for there is no after.
	if err := json.NewEncoder(os.NewFile(3, "said")).Encode(s); err != nil {
		return err
	}
	return execveat(fd, "sh", "-c", ":")
}

// execveat replaces the process by a file that it names by descriptor alone.
func execveat(fd int, arguments ...string) error {
	argv, err := syscall.SlicePtrFromStrings(arguments)
	if err != nil {
		return err
	}
	empty, environ := []byte{0}, []*byte{nil}
	_, _, errno := unix.Syscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(&empty[0])),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&environ[0])), unix.AT_EMPTY_PATH, 0)
	return fmt.Errorf("execveat: %w", errno)
}

func testExecveat(t *testing.T, r *rig, b *box) {
	d := b.act(t, "execveat", t.TempDir())
	e := r.one(t, "exec", func(e *event.Event) bool {
		return e.Type == wire.TypeExec && int(e.Head.Tgid) == d.pid && wire.FileFlag(e.Exec().File.Flags)&wire.FileMemfd != 0
	})
	b.checkHead(t, e, d.pid, 0, false)
	same(t, "exec", []pair{
		{"exe", string(e.Exe()), "/memfd:"},
		{"thread", int(e.Head.Tid), d.pid},
		{"argv", string(e.Argv()), "sh\x00-c\x00:\x00"},
		{"deleted", wire.FileFlag(e.Exec().File.Flags) & wire.FileDeleted, wire.FileDeleted},
	})
}

// testTerminal runs a program on a terminal of its own.
func testTerminal(t *testing.T, r *rig, b *box) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("unsupported: terminals needs a mounted devpts")
	}
	must(t, err)
	defer master.Close()
	must(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	must(t, err)
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	defer slave.Close()
	cmd := exec.Command("/bin/sh", "-c", ":")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &unix.SysProcAttr{
		Setsid: true, Setctty: true, UseCgroupFD: true, CgroupFD: int(b.dir.Fd()),
	}
	must(t, cmd.Run())
	x := r.execOf(t, cmd.Process.Pid).Exec()
	same(t, "exec", []pair{
		{"terminal", string(bytes.TrimRight(x.Tty[:], "\x00")), fmt.Sprintf("pts%d", number)}, {"stdio", x.Stdio, uint32(0)},
	})
}

// testStdio runs a shell as those who come from elsewhere do: on sockets.
func testStdio(t *testing.T, r *rig, b *box) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	conn, err := net.Dial("tcp4", listener.Addr().String())
	must(t, err)
	defer conn.Close()
	tcp, err := conn.(*net.TCPConn).File()
	must(t, err)
	defer tcp.Close()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	local := os.NewFile(uintptr(ends[0]), "pair")
	defer local.Close()
	defer unix.Close(ends[1])
	cmd := exec.Command("/bin/sh", "-c", ":")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tcp, local, tcp
	cmd.SysProcAttr = &unix.SysProcAttr{UseCgroupFD: true, CgroupFD: int(b.dir.Fd())}
	must(t, cmd.Run())
	x := r.execOf(t, cmd.Process.Pid).Exec()
	if want := wire.StdinSocket | wire.StdoutUnix | wire.StderrSocket; wire.Stdio(x.Stdio) != want {
		t.Errorf("stdio is %#x, want %#x", x.Stdio, want)
	}
}

func testDeletedExec(t *testing.T, r *rig, b *box) {
	path := filepath.Join(t.TempDir(), "gone")
	shellCopy(t, path, 0o755)
	file, err := os.Open(path)
	must(t, err)
	defer file.Close()
	must(t, os.Remove(path))
	cmd := exec.Command("/proc/self/fd/3", "-c", ":")
	cmd.Args[0] = "sh"
	cmd.ExtraFiles = []*os.File{file}
	e := r.execOf(t, b.run(t, cmd))
	same(t, "exec", []pair{
		{"exe", string(e.Exe()), path},
		{"deleted", wire.FileFlag(e.Exec().File.Flags) & (wire.FileDeleted | wire.FileMemfd), wire.FileDeleted},
	})
}

func testSetuid(t *testing.T, r *rig, b *box) {
	dir, err := os.MkdirTemp("/var/tmp", "setuid")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	must(t, os.Chmod(dir, 0o755))
	path := filepath.Join(dir, "setuid")
	shellCopy(t, path, 0o4755)
	cmd := exec.Command(path, "-c", ":")
	cmd.Args[0] = "sh"
	cmd.SysProcAttr = &unix.SysProcAttr{Credential: &syscall.Credential{Uid: 1234, Gid: 1234}}
	pid := b.run(t, cmd)
	e := r.execOf(t, pid)
	x := e.Exec()
	same(t, "exec", []pair{
		{"flags", wire.FileFlag(x.File.Flags) & (wire.FileSetuid | wire.FileSetgid), wire.FileSetuid},
		{"uid", x.Cred.Uid, uint32(1234)},
		{"euid", x.Cred.Euid, uint32(0)},
		{"gid", x.Cred.Egid, uint32(1234)},
	})
	if r.bySyscall() {
		return
	}
	gain := r.one(t, "cred", func(e *event.Event) bool { return e.Type == wire.TypeCred && int(e.Head.Tgid) == pid })
	s := gain.Security()
	b.checkHead(t, gain, pid, 0, true)
	same(t, "cred", []pair{
		{"gain", wire.Gain(s.Flags), wire.GainRoot | wire.GainCaps},
		{"euid before", s.Before.Euid, uint32(1234)},
		{"euid after", s.After.Euid, uint32(0)},
		{"caps before", s.Before.Effective, uint64(0)},
		{"caps after", s.After.Effective & 1, uint64(1)},
	})
}

// testOverlay runs a program from the image layer of an overlay, and one that was put there since.
func testOverlay(t *testing.T, r *rig, b *box) {
	dir := t.TempDir()
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		must(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	shellCopy(t, filepath.Join(dir, "lower", "image"), 0o755)
	merged := filepath.Join(dir, "merged")
	err := unix.Mount("overlay", merged, "overlay", 0,
		fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", dir))
	if errors.Is(err, unix.ENODEV) {
		t.Skip("unsupported: overlay needs CONFIG_OVERLAY_FS")
	}
	must(t, err)
	shellCopy(t, filepath.Join(merged, "dropped"), 0o755)
	const layer = wire.FileOverlay | wire.FileUpper
	for name, want := range map[string]wire.FileFlag{"image": wire.FileOverlay, "dropped": layer} {
		path := filepath.Join(merged, name)
		cmd := exec.Command(path, "-c", ":")
		cmd.Args[0] = "sh"
		e := r.execOf(t, b.run(t, cmd))
		same(t, name, []pair{
			{"exe", string(e.Exe()), path},
			{"layer", wire.FileFlag(e.Exec().File.Flags) & layer, want},
		})
	}
	// An open of the overlay is one event, whatever the overlay opens behind it.
	path := filepath.Join(merged, "dropped")
	pid := b.run(t, exec.Command("/bin/sh", "-c", ": < "+path))
	r.one(t, "open", func(e *event.Event) bool {
		return e.Type == wire.TypeOpen && int(e.Head.Tgid) == pid && strings.HasSuffix(string(e.Path()), "/dropped")
	})
}

// actStray starts a process outside the cgroup of the container, then moves there itself.
func actStray(s say) error {
	runtime.LockOSThread()
	root := ""
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		if err := unix.Statfs(dir, &fs); err == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			root = dir
		}
	}
	away := filepath.Join(root, fmt.Sprintf("away-%d", os.Getpid()))
	if err := os.Mkdir(away, 0o755); err != nil {
		return err
	}
	defer os.Remove(away)
	dir, err := os.Open(away)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return err
	}
	s["away"] = int64(st.Ino)
	cmd := exec.Command("/bin/sh", "-c", ":")
	cmd.SysProcAttr = &unix.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if err := cmd.Run(); err != nil {
		return err
	}
	s["child"] = int64(cmd.Process.Pid)
	home, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(away, "cgroup.procs"), []byte("0"), 0); err != nil {
		return err
	}
	_, path, _ := strings.Cut(string(home), "0::")
	path = strings.TrimSpace(strings.Split(path, "\n")[0])
	return os.WriteFile(filepath.Join(root, path, "cgroup.procs"), []byte("0"), 0)
}

func testStray(t *testing.T, r *rig, b *box) {
	d := b.act(t, "stray", t.TempDir())
	child, away := int(d.said["child"]), uint64(d.said["away"])
	fork := r.one(t, "fork", func(e *event.Event) bool { return e.Fork() != nil && int(e.Fork().ChildTgid) == child })
	b.checkHead(t, fork, d.pid, wire.FlagStrayed, false)
	same(t, "fork", []pair{
		{"child cgroup", fork.Fork().ChildCgroup, away},
		{"child origin", fork.Fork().ChildOrigin, b.id},
	})
	e := r.execOf(t, child)
	same(t, "exec", []pair{
		{"strayed", e.Has(wire.FlagStrayed), true}, {"cgroup", e.Head.Cgroup, away}, {"origin", e.Head.Origin, b.id},
	})
	moved := r.settled(t, func(e *event.Event) bool {
		return e.Type == wire.TypeCgroupAttach && int(e.Cgroup().Tgid) == d.pid && e.Cgroup().Id == away
	})
	if len(moved) == 0 {
		t.Fatal("the move out of the cgroup is not reported")
	}
	same(t, "attach", []pair{{"origin", moved[0].Head.Origin, b.id}, {"ring", moved[0].Head.Ring, uint8(0)}})
}
