// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/wire"
)

func testSecurity(t *testing.T, r *rig) {
	b := r.container(t, everything)
	t.Run("namespaces", func(t *testing.T) { testNamespaces(t, r, b) })
	t.Run("clone", func(t *testing.T) { testClone(t, r, b) })
	t.Run("credentials", func(t *testing.T) { testCredentials(t, r, b) })
	t.Run("trace", func(t *testing.T) { testTrace(t, r, b) })
	t.Run("memfd", func(t *testing.T) { testMemfd(t, r, b) })
	t.Run("bpf", func(t *testing.T) { testBPF(t, r, b) })
	t.Run("io_uring", func(t *testing.T) { testRing(t, r, b) })
	t.Run("module", func(t *testing.T) { testModule(t, r, b) })
}

// security gives the security events of a class of a process.
func (r *rig) security(t *testing.T, pid int, class wire.Type) []*event.Event {
	t.Helper()
	return r.settled(t, func(e *event.Event) bool { return e.Type == class && int(e.Head.Tgid) == pid })
}

// outcome are the flags of security events, which the family of system calls sees when they are done.
func (r *rig) outcome(more wire.Flag) wire.Flag {
	if r.bySyscall() {
		return wire.FlagResult | more
	}
	return 0
}

// actNamespaces leaves two namespaces and comes back to one, after calls that fail.
func actNamespaces(s say) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/uts")
	if err != nil {
		return err
	}
	if err := unix.Unshare(0x1); !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unshare with a wrong flag: %w", err)
	}
	if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("setns with a wrong flag: %w", err)
	}
	for _, when := range []string{"before", "between", "after"} {
		for _, name := range []string{"uts", "ipc"} {
			var st unix.Stat_t
			if err := unix.Stat("/proc/thread-self/ns/"+name, &st); err != nil {
				return err
			}
			s[name+" "+when] = int64(st.Ino)
		}
		switch when {
		case "before":
			err = unix.Unshare(unix.CLONE_NEWUTS | unix.CLONE_NEWIPC)
		case "between":
			err = unix.Setns(int(home.Fd()), unix.CLONE_NEWUTS)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", when, err)
		}
	}
	return nil
}

func testNamespaces(t *testing.T, r *rig, b *box) {
	d := b.act(t, "namespaces", t.TempDir())
	// Of what changed, the system call no longer knows what was before.
	before := func(said string, changed bool) uint32 {
		if r.bySyscall() && changed {
			return 0
		}
		return uint32(d.said[said])
	}
	for _, want := range []struct {
		class   wire.Type
		flags   uint64
		was, is string
		head    wire.Flag
	}{
		{wire.TypeUnshare, unix.CLONE_NEWUTS | unix.CLONE_NEWIPC, "before", "between", wire.FlagResult},
		{wire.TypeSetns, unix.CLONE_NEWUTS, "between", "after", 0},
	} {
		got := r.security(t, d.pid, want.class)
		if len(got) != 1 {
			t.Fatalf("%s: %d events, want 1", event.Name(want.class), len(got))
		}
		s := got[0].Security()
		b.checkHead(t, got[0], d.pid, want.head|r.outcome(wire.FlagPartial), true)
		same(t, event.Name(want.class), []pair{
			{"flags", s.Flags, want.flags},
			{"uts before", s.SpacesBefore.Uts, before("uts "+want.was, true)},
			{"uts after", s.SpacesAfter.Uts, uint32(d.said["uts "+want.is])},
			{"ipc before", s.SpacesBefore.Ipc, before("ipc "+want.was, want.class == wire.TypeUnshare)},
			{"ipc after", s.SpacesAfter.Ipc, uint32(d.said["ipc "+want.is])},
			{"mnt before", s.SpacesBefore.Mnt, space(t, "mnt")},
			{"mnt after", s.SpacesAfter.Mnt, space(t, "mnt")},
			{"user after", s.SpacesAfter.User, space(t, "user")},
		})
	}
}

// actClone has a process born into other namespaces.
func actClone(s say) error {
	cmd := exec.Command("/bin/sh", "-c", ":")
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWUTS}
	if err := cmd.Run(); err != nil {
		return err
	}
	s["child"] = int64(cmd.Process.Pid)
	return nil
}

func testClone(t *testing.T, r *rig, b *box) {
	d := b.act(t, "clone", t.TempDir())
	got := r.security(t, d.pid, wire.TypeUnshare)
	if len(got) != 1 {
		t.Fatalf("%d events, want 1", len(got))
	}
	s := got[0].Security()
	b.checkHead(t, got[0], d.pid, wire.FlagResult, true)
	same(t, "unshare", []pair{
		{"op", s.Op, uint32(1)},
		{"flags", s.Flags, uint64(unix.CLONE_NEWUTS)},
		{"target", int64(s.TargetTgid), d.said["child"]},
		{"target origin", s.TargetOrigin, b.id},
		{"uts before", s.SpacesBefore.Uts, space(t, "uts")},
		{"uts after differs", s.SpacesAfter.Uts != s.SpacesBefore.Uts && s.SpacesAfter.Uts != 0, true},
	})
}

// actCredentials gives root away and takes it back.
func actCredentials(say) error {
	runtime.LockOSThread()
	for _, uid := range []uintptr{1234, 0} {
		// Of this thread alone.
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uid, ^uintptr(0)); errno != 0 {
			return fmt.Errorf("setresuid %d: %w", uid, errno)
		}
	}
	return nil
}

func testCredentials(t *testing.T, r *rig, b *box) {
	d := b.act(t, "credentials", t.TempDir())
	got := r.security(t, d.pid, wire.TypeCred)
	if len(got) != 1 {
		t.Fatalf("%d changes of credentials, want 1", len(got))
	}
	s := got[0].Security()
	b.checkHead(t, got[0], d.pid, r.outcome(wire.FlagPartial), true)
	was := uint32(1234)
	if r.bySyscall() {
		was = 0
	}
	same(t, "cred", []pair{
		// The real and saved ids were 0 all the while.
		{"gain", wire.Gain(s.Flags), wire.GainCaps},
		{"euid before", s.Before.Euid, was},
		{"euid after", s.After.Euid, uint32(0)},
		{"uid after", s.After.Uid, uint32(0)},
		{"caps before", s.Before.Effective, uint64(0)},
		{"can chown after", s.After.Effective & 1, uint64(1)},
		{"user namespace", s.After.Userns, space(t, "user")},
	})
}

// actTrace attaches to a child by three ways.
func actTrace(s say) error {
	runtime.LockOSThread()
	child := exec.Command("/bin/sh", "-c", "echo ready; read line")
	in, err := child.StdinPipe()
	if err != nil {
		return err
	}
	out, err := child.StdoutPipe()
	if err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return err
	}
	// Its memory is in place.
	if _, err := out.Read(make([]byte, 8)); err != nil {
		return err
	}
	pid := child.Process.Pid
	s["child"] = int64(pid)
	if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, 1<<22, 0, 0, 0, 0); errno != unix.ESRCH {
		return fmt.Errorf("seize nobody: %w", errno)
	}
	if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("seize: %w", errno)
	}
	var word [8]byte
	local := []unix.Iovec{{Base: &word[0], Len: 8}}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return err
	}
	var base uintptr
	if _, err := fmt.Sscanf(string(maps), "%x-", &base); err != nil {
		return fmt.Errorf("maps of the child: %w", err)
	}
	remote := []unix.RemoteIovec{{Base: base, Len: len(word)}}
	if _, err := unix.ProcessVMReadv(pid, local, remote, 0); err != nil {
		return fmt.Errorf("process_vm_readv: %w", err)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return err
	}
	if err := mem.Close(); err != nil {
		return err
	}
	if err := in.Close(); err != nil {
		return err
	}
	// The shell ends with the exit code of a read that found the end.
	_ = child.Wait()
	return nil
}

// ptraceAttach is PTRACE_MODE_ATTACH (include/linux/ptrace.h).
const ptraceAttach = 2

func testTrace(t *testing.T, r *rig, b *box) {
	d := b.act(t, "trace", t.TempDir())
	var got []string
	for _, e := range r.security(t, d.pid, wire.TypePtrace) {
		s := e.Security()
		if int64(s.TargetTgid) != d.said["child"] {
			t.Errorf("access to process %d", s.TargetTgid)
			continue
		}
		if s.Mode&ptraceAttach == 0 {
			// A look at what /proc shows: the maps.
			b.checkHead(t, e, d.pid, 0, false)
			continue
		}
		got = append(got, fmt.Sprintf("op %d request %#x", s.Op, s.Flags))
		flags := r.outcome(0)
		if wire.Access(s.Op) == wire.AccessVm {
			flags |= wire.FlagUserText
		} else {
			same(t, "ptrace", []pair{{"target origin", s.TargetOrigin, b.id}, {"target started", s.TargetStart != 0, true}})
		}
		b.checkHead(t, e, d.pid, flags, true)
	}
	want := []string{"op 1 request 0x0", "op 1 request 0x0", "op 3 request 0x0"}
	if r.bySyscall() {
		want = []string{"op 1 request 0x4206", "op 2 request 0x0"}
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("accesses:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// actMemfd makes a file in memory, after a name that is too long.
func actMemfd(say) error {
	if _, err := unix.MemfdCreate(strings.Repeat("n", 250), 0); !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("memfd_create with a long name: %w", err)
	}
	_, err := unix.MemfdCreate("in memory", unix.MFD_CLOEXEC)
	return err
}

func testMemfd(t *testing.T, r *rig, b *box) {
	d := b.act(t, "memfd", t.TempDir())
	got := r.security(t, d.pid, wire.TypeMemfd)
	if len(got) != 1 {
		t.Fatalf("%d files in memory, want 1", len(got))
	}
	var flags uint64
	if r.bySyscall() {
		flags = unix.MFD_CLOEXEC
	}
	b.checkHead(t, got[0], d.pid, r.outcome(0), true)
	same(t, "memfd", []pair{{"name", string(got[0].Text()), "in memory"}, {"flags", got[0].Security().Flags, flags}})
}

// actBPF makes a map.
func actBPF(say) error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "of_the_act", Type: ebpf.Hash, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		return err
	}
	return m.Close()
}

func testBPF(t *testing.T, r *rig, b *box) {
	d := b.act(t, "bpf", t.TempDir())
	var got []*event.Event
	for _, e := range r.security(t, d.pid, wire.TypeBpf) {
		if string(e.Text()) == "of_the_act" {
			got = append(got, e)
		}
	}
	if len(got) != 1 {
		t.Fatalf("%d maps of that name, want 1", len(got))
	}
	s := got[0].Security()
	b.checkHead(t, got[0], d.pid, r.outcome(wire.FlagUserText), true)
	same(t, "bpf", []pair{{"command", s.Op, uint32(0)}, {"kind", s.Kind, uint32(ebpf.Hash)}})
	if own := r.security(t, os.Getpid(), wire.TypeBpf); len(own) != 0 {
		t.Errorf("%d calls of the agent's own are reported", len(own))
	}
}

// actRing makes a ring of io_uring, after one of no entries.
func actRing(say) error {
	var params [120]byte // struct io_uring_params
	_, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 0, uintptr(unsafe.Pointer(&params)), 0)
	if errno == 0 {
		return errors.New("a ring of no entries was made")
	}
	_, err := newUring(0)
	return err
}

func testRing(t *testing.T, r *rig, b *box) {
	d := b.act(t, "ring", t.TempDir())
	got := r.security(t, d.pid, wire.TypeIoUring)
	if len(got) != 1 {
		t.Fatalf("%d rings, want 1", len(got))
	}
	s := got[0].Security()
	b.checkHead(t, got[0], d.pid, 0, true)
	same(t, "io_uring", []pair{{"entries", s.Op, uint32(1)}, {"completions", s.Kind, uint32(2)}})
}

// actModule gives the kernel what is no module, then a real one.
func actModule(s say) error {
	if !hasModules() {
		return &missing{"kernel modules", "CONFIG_MODULES"}
	}
	if err := os.WriteFile("garbage.ko", make([]byte, 4096), 0o600); err != nil {
		return err
	}
	f, err := os.Open("garbage.ko")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); !errors.Is(err, unix.ENOEXEC) {
		return fmt.Errorf("load garbage: %w", err)
	}
	if out, err := exec.Command("modprobe", "algif_rng").CombinedOutput(); err != nil {
		return &missing{"the module algif_rng", fmt.Sprintf("a kernel that ships it: %v: %s", err, out)}
	}
	return nil
}

func testModule(t *testing.T, r *rig, b *box) {
	b.act(t, "module", t.TempDir())
	got := r.settled(t, func(e *event.Event) bool { return e.Type == wire.TypeModule && e.Head.Origin == b.id })
	var names []string
	for _, e := range got {
		names = append(names, string(e.Text()))
		b.checkHead(t, e, int(e.Head.Tgid), 0, true)
	}
	if !strings.Contains(strings.Join(names, " "), "algif_rng") {
		t.Errorf("modules that were loaded: %q", names)
	}
	exec.Command("modprobe", "-r", "algif_rng").Run()
}
