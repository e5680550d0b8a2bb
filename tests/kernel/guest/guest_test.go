// SPDX-License-Identifier: Apache-2.0

//go:build vm

package guest_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/tests/kernel/guest"
)

// TestMachine proves that the machine is what tests may rely on.
func TestMachine(t *testing.T) {
	t.Logf("release %s, security modules %v", guest.Release(t), guest.LSMs(t))
	for path, magic := range map[string]int64{
		"/": unix.TMPFS_MAGIC, "/tmp": unix.TMPFS_MAGIC, "/run": unix.TMPFS_MAGIC, "/disk": unix.EXT4_SUPER_MAGIC,
		"/proc": unix.PROC_SUPER_MAGIC, "/sys": unix.SYSFS_MAGIC, "/sys/fs/cgroup": unix.CGROUP2_SUPER_MAGIC,
		"/sys/fs/bpf": unix.BPF_FS_MAGIC, "/sys/kernel/tracing": unix.TRACEFS_MAGIC,
		"/sys/kernel/security": unix.SECURITYFS_MAGIC,
	} {
		var stat unix.Statfs_t
		if err := unix.Statfs(path, &stat); err != nil {
			t.Errorf("%s: %v", path, err)
		} else if stat.Type != magic {
			t.Errorf("%s is a file system of type %#x, want %#x", path, stat.Type, magic)
		}
	}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		t.Errorf("no BTF: %v", err)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil || limit.Max != unix.RLIM_INFINITY {
		t.Errorf("memlock limit %d, error %v, want none", limit.Max, err)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if got := strings.TrimSpace(string(own)); err != nil || got != "0::/vmtest" {
		t.Errorf("cgroup %q, error %v, want 0::/vmtest", got, err)
	}
}

// TestFileSystems proves that what containers are built from works: overlayfs on
// both file systems, and pivot_root, which the first root file system refuses.
func TestFileSystems(t *testing.T) {
	for _, base := range []string{"/tmp", "/disk"} {
		t.Run(strings.Trim(base, "/"), func(t *testing.T) {
			folder, err := os.MkdirTemp(base, "overlay")
			if err != nil {
				t.Fatal(err)
			}
			script := `set -e
cd "$1"
mkdir lower upper work merged
echo lower >lower/file
mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged
echo upper >merged/file
test "$(cat upper/file)" = upper
test "$(cat lower/file)" = lower
mkdir merged/bin merged/old
cp /bin/busybox merged/bin/
cd merged
pivot_root . old
/bin/busybox test -f /file
`
			printed, err := exec.Command("unshare", "-m", "sh", "-c", script, "sh", folder).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, printed)
			}
		})
	}
}

// TestIsolation proves that network namespaces, veth, dummy and tun interfaces and
// 32-bit system calls exist.
func TestIsolation(t *testing.T) {
	script := `set -e
ip link add a0 type veth peer name b0
ip link add d0 type dummy
ip link set a0 up
test -e /dev/net/tun
ip link del a0
ip link del d0
`
	if printed, err := exec.Command("unshare", "-n", "sh", "-c", script).CombinedOutput(); err != nil {
		t.Errorf("interfaces: %v: %s", err, printed)
	}
	if got, err := exec.Command("/bin/ia32").Output(); err != nil || string(got) != "386\n" {
		t.Errorf("32-bit program: printed %q, error %v; the host must place it with --build 386/./tests/kernel/guest/ia32:/bin/ia32", got, err)
	}
}

// TestTracepoint proves that a BTF tracepoint program sees an exec.
func TestTracepoint(t *testing.T) {
	counter := newCounter(t)
	program := load(t, &ebpf.ProgramSpec{
		Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "sched_process_exec",
		License: "GPL", Instructions: counting(counter, 0),
	})
	attached, err := link.AttachTracing(link.TracingOptions{Program: program})
	if err != nil {
		t.Fatal(err)
	}
	defer attached.Close()
	if err := exec.Command("/bin/busybox", "true").Run(); err != nil {
		t.Fatal(err)
	}
	if count(t, counter) == 0 {
		t.Error("the program did not see the exec")
	}
	guest.Uses("exec (self-test)", "tp_btf/sched_process_exec")
}

// TestExecVerdict proves that an exec can be refused: by a BPF security module, or
// where the boot has none, by replacing the result of the function that asks the
// security modules.
func TestExecVerdict(t *testing.T) {
	spec := &ebpf.ProgramSpec{
		Type: ebpf.Tracing, AttachType: ebpf.AttachModifyReturn, AttachTo: "security_bprm_check", License: "GPL",
	}
	used := "fmod_ret/security_bprm_check"
	if slices.Contains(guest.LSMs(t), "bpf") {
		spec.Type, spec.AttachType, spec.AttachTo = ebpf.LSM, ebpf.AttachLSMMac, "bprm_check_security"
		used = "lsm/bprm_check_security"
	}
	counter := newCounter(t)
	spec.Instructions = counting(counter, -int32(syscall.EPERM))
	program := load(t, spec)
	attach := func() (link.Link, error) { return link.AttachTracing(link.TracingOptions{Program: program}) }
	if spec.Type == ebpf.LSM {
		attach = func() (link.Link, error) { return link.AttachLSM(link.LSMOptions{Program: program}) }
	}
	attached, err := attach()
	if err != nil {
		t.Fatal(err)
	}
	err = exec.Command("/bin/busybox", "true").Run()
	if closeErr := attached.Close(); closeErr != nil {
		t.Error(closeErr)
	}
	if !errors.Is(err, syscall.EPERM) {
		t.Errorf("exec: %v, want %v", err, syscall.EPERM)
	}
	if err := exec.Command("/bin/busybox", "true").Run(); err != nil {
		t.Errorf("exec after the program is gone: %v", err)
	}
	guest.Uses("exec verdict (self-test)", used)
}

// TestLSM proves that the skip of what a machine lacks reaches the host.
func TestLSM(t *testing.T) {
	if !slices.Contains(guest.LSMs(t), "bpf") {
		guest.Unsupported(t, "BPF as a security module", "lsm=bpf")
	}
	counter := newCounter(t)
	program := load(t, &ebpf.ProgramSpec{
		Type: ebpf.LSM, AttachType: ebpf.AttachLSMMac, AttachTo: "file_open", License: "GPL",
		Instructions: counting(counter, 0),
	})
	attached, err := link.AttachLSM(link.LSMOptions{Program: program})
	if err != nil {
		t.Fatal(err)
	}
	defer attached.Close()
	if err := os.WriteFile(filepath.Join(t.TempDir(), "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if count(t, counter) == 0 {
		t.Error("the program did not see the open")
	}
}

func newCounter(t *testing.T) *ebpf.Map {
	t.Helper()
	counter, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { counter.Close() })
	return counter
}

func count(t *testing.T, counter *ebpf.Map) uint64 {
	t.Helper()
	var value uint64
	if err := counter.Lookup(uint32(0), &value); err != nil {
		t.Fatal(err)
	}
	return value
}

func load(t *testing.T, spec *ebpf.ProgramSpec) *ebpf.Program {
	t.Helper()
	program, err := ebpf.NewProgram(spec)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { program.Close() })
	return program
}

// counting is a program that counts its runs in an array and returns a value.
func counting(counter *ebpf.Map, result int32) asm.Instructions {
	return asm.Instructions{
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, counter.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, result).WithSymbol("out"),
		asm.Return(),
	}
}
