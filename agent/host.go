// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// hostMountNamespace gives the inode number of the mount namespace of the host's first process.
func hostMountNamespace() (uint32, error) {
	text, err := os.Readlink("/proc/1/ns/mnt")
	if err != nil {
		return 0, fmt.Errorf("find the host's mount namespace: %w: the agent must see the host's processes (hostPID) "+
			"and may read them (CAP_SYS_PTRACE)", err)
	}
	number, ok := strings.CutPrefix(strings.TrimSuffix(text, "]"), "mnt:[")
	inode, err := strconv.ParseUint(number, 10, 32)
	if !ok || err != nil {
		return 0, fmt.Errorf("find the host's mount namespace: /proc/1/ns/mnt is %q", text)
	}
	return uint32(inode), nil
}

// maxCommandLine is as much of an argument vector as the kernel side keeps of one.
const maxCommandLine = 8192

// commandLine reads the argument vector of a process that was there before the agent. It is empty for one that is gone.
func commandLine(pid uint32) string {
	file, err := os.Open("/proc/" + strconv.FormatUint(uint64(pid), 10) + "/cmdline")
	if err != nil {
		return ""
	}
	text := make([]byte, maxCommandLine)
	n, err := io.ReadFull(file, text)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		n = 0
	}
	_ = file.Close()
	return string(text[:n])
}

// residentBytes is the agent's own resident set, bytes; 0 if it cannot be read.
func residentBytes() uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}
