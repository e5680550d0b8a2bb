// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Machine is one machine to boot.
type Machine struct {
	Image   Image
	LSM     LSM
	Payload Payload
	// Output receives what the programs print, line by line, and Console what the
	// kernel prints. Nil discards.
	Output, Console io.Writer
	// Count makes time in the machine a count of instructions: it has one processor, and a nanosecond is an executed
	// instruction, whatever else the host does.
	Count bool
	// BootTimeout is how long the machine may take to its first program, and Timeout
	// how long it may take altogether.
	BootTimeout, Timeout time.Duration
}

// Name is the kernel's name and the choice of security modules.
func (m Machine) Name() string { return m.Image.Kernel.Name + " " + string(m.LSM) }

// Result is what came of a machine.
type Result struct {
	Machine  string        // its name
	Release  string        // as uname prints it
	LSMs     string        // security modules in force
	Tests    []Test        // in the order of their start
	Hooks    []Used        // the lines of the table of hooks
	Warnings []string      // modules that do not load, a boot that was repeated
	Console  string        // the end of what the kernel printed
	Took     time.Duration // wall-clock time, of use only to see where time goes
}

// errBootPanic is a panic before the init program ran. 6.1 has been seen to panic
// in setup_IO_APIC when the host is busy, since the timer test is lost.
var errBootPanic = errors.New("kernel panic before the first program")

// Boot boots a machine, runs its programs and returns what came of them. A failed
// test is no error; a machine that does not get to the end of its programs is one,
// and the result then holds what is known. A panic before the first program is
// tried once more. QEMU has ended when Boot returns.
func Boot(ctx context.Context, machine Machine) (Result, error) {
	folder, err := os.MkdirTemp("", "vmtest-")
	if err != nil {
		return Result{}, fmt.Errorf("make a folder for the machine: %w", err)
	}
	defer os.RemoveAll(folder)
	if err := writeInitrd(filepath.Join(folder, "initrd"), machine.Image, machine.Payload); err != nil {
		return Result{}, fmt.Errorf("write the initial RAM file system: %w", err)
	}
	if err := makeDisk(ctx, filepath.Join(folder, "disk")); err != nil {
		return Result{}, err
	}
	result, err := attempt(ctx, machine, folder)
	if errors.Is(err, errBootPanic) {
		first := fmt.Sprintf("booted again after: %v", err)
		result, err = attempt(ctx, machine, folder)
		result.Warnings = append([]string{first}, result.Warnings...)
	}
	return result, err
}

// makeDisk makes the sparse file of the machine's ext4 disk.
func makeDisk(ctx context.Context, path string) error {
	err := run(ctx, "mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-E", "lazy_itable_init=1", path, "512M")
	if err != nil {
		return fmt.Errorf("make the machine's disk: %w", err)
	}
	return nil
}

// arguments are QEMU's. File descriptor 3 takes the second serial port. One thread
// emulates both processors in turn: with a thread for each, a processor may run
// code that the other has just patched (kernels panicked on int3 while switching
// static keys), and as machines run in parallel it is no slower.
func arguments(machine Machine, folder string) []string {
	parameters := "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check random.trust_cpu=on ia32_emulation=on" +
		" lsm=" + machine.LSM.parameter()
	processors := []string{"-smp", "2"}
	if machine.Count {
		parameters += " tsc=reliable"
		processors = []string{"-smp", "1", "-icount", "shift=0,sleep=off"}
	}
	return append(processors,
		"-accel", "tcg,thread=single", "-cpu", "max", "-m", "2G",
		"-no-user-config", "-nodefaults", "-no-reboot", "-display", "none",
		"-kernel", machine.Image.kernel, "-initrd", filepath.Join(folder, "initrd"), "-append", parameters,
		"-serial", "stdio",
		"-chardev", "file,id=results,path=/dev/fd/3", "-serial", "chardev:results",
		"-drive", "if=none,id=disk,format=raw,cache=unsafe,snapshot=on,file="+filepath.Join(folder, "disk"),
		"-device", "virtio-blk-pci,drive=disk",
	)
}

// attempt boots once.
func attempt(ctx context.Context, machine Machine, folder string) (Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	started := time.Now()
	follow := transcript{}
	for _, program := range machine.Payload.Programs {
		follow.programs = append(follow.programs, program.Name)
	}
	console := &ending{to: machine.Console, limit: 16 << 10}
	err := drive(ctx, cancel, machine, folder, &follow, console)
	result := Result{
		Machine: machine.Name(), Release: follow.release, LSMs: follow.lsms, Hooks: follow.hooks,
		Warnings: follow.warnings, Console: console.String(), Took: time.Since(started),
	}
	switch {
	case follow.done:
		err = nil
	case context.Cause(ctx) != nil:
		err = context.Cause(ctx)
	case strings.Contains(result.Console, "Kernel panic") && follow.release == "":
		err = fmt.Errorf("%w: %s", errBootPanic, panicLine(result.Console))
	case strings.Contains(result.Console, "Kernel panic"):
		err = fmt.Errorf("the kernel panicked: %s", panicLine(result.Console))
	case err == nil:
		err = errors.New("the machine ended before its programs")
	}
	if err != nil {
		follow.stop(err.Error())
	}
	for _, test := range follow.tests {
		result.Tests = append(result.Tests, judge(*test, follow.release, follow.lsms))
	}
	return result, err
}

// judge turns a skip that is not allowed into a failure.
func judge(test Test, release, lsms string) Test {
	if test.Status != Skip {
		return test
	}
	reason, err := checkSkip(test.Output, release, lsms)
	if err != nil {
		test.Status, test.Reason = Fail, err.Error()
		return test
	}
	test.Reason = reason
	return test
}

// drive runs QEMU until the last program has ended, a timeout, or its own end.
func drive(ctx context.Context, cancel context.CancelCauseFunc, machine Machine, folder string, follow *transcript, console io.Writer) error {
	results, port, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe for the serial port: %w", err)
	}
	defer results.Close()
	defer port.Close()
	path, err := lookup("qemu-system-x86_64")
	if err != nil {
		return err
	}
	var messages bytes.Buffer
	cmd := exec.CommandContext(ctx, path, arguments(machine, folder)...)
	cmd.Stdout, cmd.Stderr = console, &messages
	cmd.ExtraFiles = []*os.File{port}
	// The kernel kills QEMU when the thread that started it ends, so that it does not
	// outlive a killed process; the thread must thus stay for as long as QEMU runs.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the machine: %w", err)
	}
	port.Close()
	var reading sync.WaitGroup
	reading.Go(func() {
		read(results, machine, follow, cancel)
		// Also at the end of the input: nothing more can come.
		_ = cmd.Process.Kill()
	})
	err = cmd.Wait()
	reading.Wait()
	if messages.Len() > 0 && follow.release == "" {
		return fmt.Errorf("qemu: %s", tail(messages.String(), 4))
	}
	if err != nil && !follow.done {
		return fmt.Errorf("qemu: %w", err)
	}
	return nil
}

// read follows the second serial port until the programs have ended, and enforces
// the two timeouts.
func read(results io.Reader, machine Machine, follow *transcript, cancel context.CancelCauseFunc) {
	total := time.AfterFunc(machine.Timeout, func() {
		cancel(fmt.Errorf("not done after %v", machine.Timeout))
	})
	defer total.Stop()
	boot := time.AfterFunc(machine.BootTimeout, func() {
		cancel(fmt.Errorf("no program started within %v", machine.BootTimeout))
	})
	defer boot.Stop()
	lines := bufio.NewReaderSize(results, 64<<10)
	for !follow.done {
		// Of a line longer than the buffer the rest comes as another line.
		line, _, err := lines.ReadLine()
		if err != nil {
			return
		}
		follow.line(string(line))
		if follow.program != nil {
			boot.Stop()
		}
		if machine.Output != nil {
			// Losing the copy for people must not change the result.
			_, _ = fmt.Fprintf(machine.Output, "%s\n", marks.Replace(string(line)))
		}
	}
}

// panicLine is the line with which a kernel says why it panicked.
func panicLine(console string) string {
	for line := range strings.Lines(console) {
		if strings.Contains(line, "Kernel panic") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
