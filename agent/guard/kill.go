// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/enforce"
)

// userHz is how many ticks a second /proc counts in, on every architecture that the agent is built for.
const userHz = 100

// kill ends a process, if it is still the one that was judged: by its file descriptor, after its start has been compared
// with what /proc says and the kernel side, by runs, has said again that it runs the same program. False: it is gone, or
// another one by now. The first process of the machine is never ended.
func kill(u enforce.Unlisted, runs func(enforce.Unlisted) bool) (bool, error) {
	if u.PID <= 1 || int(u.PID) == os.Getpid() {
		return false, fmt.Errorf("process %d is not a container's", u.PID)
	}
	fd, err := unix.PidfdOpen(int(u.PID), 0)
	if errors.Is(err, unix.ESRCH) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open it: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	ticks, err := startTicks(u.PID)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if ticks != u.Start/(1e9/userHz) || !runs(u) {
		return false, nil
	}
	switch err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); {
	case errors.Is(err, unix.ESRCH):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("send it a signal: %w", err)
	}
	return true, nil
}

// startTicks reads when a process started: the 22nd field of its stat, of which the second, in parentheses, may hold
// anything (proc_pid_stat(5)).
func startTicks(pid uint32) (uint64, error) {
	const field, behindName = 22, 3
	text, err := os.ReadFile(procPath(pid, "stat"))
	if err != nil {
		return 0, fmt.Errorf("read when it started: %w", err)
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) <= field-behindName {
		return 0, fmt.Errorf("read when it started: %d fields", len(fields))
	}
	ticks, err := strconv.ParseUint(string(fields[field-behindName]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read when it started: %w", err)
	}
	return ticks, nil
}

// maxArguments is as much of an argument vector as is told.
const maxArguments = 4096

// describe reads the executable and the arguments of a process, as it shows them; empty where they cannot be read.
func describe(pid uint32) (executable, arguments string) {
	// What cannot be read is told as empty.
	executable, _ = os.Readlink(procPath(pid, "exe"))
	file, err := os.Open(procPath(pid, "cmdline"))
	if err != nil {
		return executable, ""
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxArguments))
	if err != nil {
		return executable, ""
	}
	return executable, string(text)
}

func procPath(pid uint32, name string) string {
	return "/proc/" + strconv.FormatUint(uint64(pid), 10) + "/" + name
}
