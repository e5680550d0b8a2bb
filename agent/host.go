// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
)

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
