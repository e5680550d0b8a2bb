// SPDX-License-Identifier: Apache-2.0

package effect

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The acts below are done by the service of a container, which is this program, by bare system calls. One that the kernel
// refuses fails, which is no matter: what counts is the effect.

// actVariable names an act, with its arguments, in the environment of a process of a container.
const actVariable = "HOLDFAST_EFFECT_ACT"

// missing says that the kernel lacks what an act is about.
type missing struct{ feature, needs string }

func (m *missing) Error() string { return fmt.Sprintf("unsupported: %s needs %s", m.feature, m.needs) }

// TestAct is such a process when the environment names an act; else it is nothing.
func TestAct(t *testing.T) {
	words := strings.Fields(os.Getenv(actVariable))
	if len(words) == 0 {
		return
	}
	act := actsOf()[words[0]]
	if act == nil {
		t.Fatalf("no act %q", words[0])
	}
	if err := act(words[1:]); err != nil {
		t.Fatal(err)
	}
}

func actsOf() map[string]func(arguments []string) error {
	return map[string]func([]string) error{
		"exec": actExec, "memory": actMemory, "deleted": actDeleted, "moved": actMoved, "host": actHost, "born": actBorn, "later": actLater,
		"truncate": actTruncate, "write2": actWrite2, "writering": actWriteRing, "read2": actRead2, "readring": actReadRing,
		"contact": actContact, "name": actName, "question": actQuestion, "echo": actEcho, "frame": actFrame,
		"kernel": actKernel, "listen": actListen, "give": actGive, "take": actTake, "enter": actEnter, "serve": actServe,
	}
}

// actExec runs a program in the place of the service.
func actExec(arguments []string) error {
	argv := append([]string{filepath.Base(arguments[0])}, arguments[1:]...)
	return os.NewSyscallError("execve", unix.Exec(arguments[0], argv, nil))
}

// execDescriptor runs the file that a descriptor stands for.
func execDescriptor(fd int) error {
	empty, argv, env := []byte{0}, []*byte{new(byte), nil}, []*byte{nil}
	_, _, errno := unix.Syscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(&empty[0])),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&env[0])), unix.AT_EMPTY_PATH, 0)
	return os.NewSyscallError("execveat", errno)
}

// actMemory runs a program that is in no file.
func actMemory([]string) error {
	data, err := os.ReadFile("/usr/bin/intruder")
	if err != nil {
		return err
	}
	fd, err := unix.MemfdCreate("intruder", 0)
	if err != nil {
		return err
	}
	if _, err := unix.Write(fd, data); err != nil {
		return err
	}
	return execDescriptor(fd)
}

// actDeleted runs a program whose file has been deleted.
func actDeleted([]string) error {
	const path = "/tmp/deleted"
	data, err := os.ReadFile("/usr/bin/intruder")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, data, 0o755); err != nil {
		return err
	}
	fd, err := unix.Open(path, unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	if err := unix.Unlink(path); err != nil {
		return err
	}
	return execDescriptor(fd)
}

// leave moves the process to the cgroup whose list of processes is descriptor 3.
func leave() error {
	_, err := unix.Write(3, []byte("0"))
	return os.NewSyscallError("move to another cgroup", err)
}

// actMoved does something after it has left its cgroup: it contacts an address, or runs a program.
func actMoved(arguments []string) error {
	if err := leave(); err != nil {
		return err
	}
	if len(arguments) > 1 {
		return actContact(arguments)
	}
	return actExec(arguments)
}

// actHost enters the mounts of the host, which descriptor 3 stands for, and runs a program there.
func actHost([]string) error {
	runtime.LockOSThread()
	// Mounts are changed by who shares its root folder with nobody.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Setns(3, unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("setns", err)
	}
	return execDescriptor(4)
}

// actBorn runs a program in a process that is born in another cgroup, which is descriptor 3.
func actBorn(arguments []string) error {
	cmd := exec.Command(arguments[0])
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: 3}
	return cmd.Run()
}

// actLater maps a file to be read, and makes it executable then.
func actLater([]string) error {
	file, err := os.Open("/tmp/library.so")
	if err != nil {
		return err
	}
	defer file.Close()
	memory, err := unix.Mmap(int(file.Fd()), 0, pageSize, unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	if err := unix.Mprotect(memory, unix.PROT_READ|unix.PROT_EXEC); err != nil {
		return os.NewSyscallError("mprotect", err)
	}
	call(memory[codeAt:])
	return nil
}

// call runs code.
func call(memory []byte) {
	at := unsafe.Pointer(unsafe.SliceData(memory))
	value := &at
	(*(*func())(unsafe.Pointer(&value)))()
}

func actTruncate([]string) error {
	return os.NewSyscallError("truncate", unix.Truncate(dataFile, 0))
}

// actWrite2 and actRead2 open by openat2, as a way of writing that changes nothing.
func open2(path string, flags uint64) (int, error) {
	how := &unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(unix.AT_FDCWD, path, how)
	return fd, os.NewSyscallError("openat2", err)
}

func actWrite2([]string) error {
	fd, err := open2(dataFile, unix.O_WRONLY)
	if err != nil {
		return err
	}
	return overwrite(fd)
}

func actRead2([]string) error {
	fd, err := open2(secretFile, unix.O_RDONLY)
	if err != nil {
		return err
	}
	return steal(fd)
}

func actWriteRing([]string) error {
	fd, err := ringOpen(dataFile, unix.O_WRONLY)
	if err != nil {
		return err
	}
	return overwrite(fd)
}

func actReadRing([]string) error {
	fd, err := ringOpen(secretFile, unix.O_RDONLY)
	if err != nil {
		return err
	}
	return steal(fd)
}

func overwrite(fd int) error {
	_, err := unix.Write(fd, []byte("overwritten"))
	return os.NewSyscallError("write", err)
}

// steal copies what can be read to where everybody may write.
func steal(fd int) error {
	data, err := io.ReadAll(os.NewFile(uintptr(fd), "secret"))
	if err != nil {
		return err
	}
	return os.WriteFile(stolenFile, data, 0o644)
}

// actServe is what the service is for, until its descriptor 3 is closed: it starts its tool, writes its file, asks for the
// name that it may ask for and talks to whom it may talk to. It says how often it did, and ends at what goes wrong.
func actServe([]string) error {
	rounds := 0
	defer func() { fmt.Printf("rounds %d\n", rounds) }()
	ready := []unix.PollFd{{Fd: 3, Events: unix.POLLIN}}
	for ; ; rounds++ {
		if err := serveOnce(rounds); err != nil {
			return fmt.Errorf("round %d: %w", rounds, err)
		}
		if n, err := unix.Poll(ready, 100); n > 0 && !errors.Is(err, unix.EINTR) {
			return nil
		}
	}
}

func serveOnce(round int) error {
	if err := unix.Unlink(ranMark); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	cmd := exec.Command("/usr/bin/tool", fmt.Sprintf("--job=%d", round))
	cmd.Args[0] = "tool"
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("tool: %w", err)
	}
	if _, err := os.Stat(ranMark); err != nil {
		return fmt.Errorf("what the tool leaves: %w", err)
	}
	if err := os.WriteFile("/tmp/round", fmt.Append(nil, round), 0o644); err != nil {
		return err
	}
	if data, err := os.ReadFile(dataFile); err != nil || string(data) != dataText {
		return fmt.Errorf("file %s: %q, %w", dataFile, data, err)
	}
	if err := actContact([]string{"tcp", listedAddr, fmt.Sprint(listedPort)}); err != nil {
		return err
	}
	return actName([]string{"api.shop.example"})
}
