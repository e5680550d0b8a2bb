// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// maxCommandLine is as much of an argument vector as the kernel side keeps of one.
const maxCommandLine = 8192

// commandLine reads the argument vector of a process that is told of without it, by its id and when it was started, boot
// clock, nanoseconds. It is empty for one that is gone.
func commandLine(pid uint32, start uint64) string {
	dir := "/proc/" + strconv.FormatUint(uint64(pid), 10)
	file, err := os.Open(dir + "/cmdline")
	if err != nil {
		return ""
	}
	text := make([]byte, maxCommandLine)
	n, err := io.ReadFull(file, text)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		n = 0
	}
	_ = file.Close()
	// Asked for afterwards, so that it holds for what was read.
	if n == 0 || !startedAt(dir, start) {
		return ""
	}
	return string(text[:n])
}

// startedAt reports whether the process of a folder of /proc is the one that was started then, as exactly as the folder
// tells: in hundredths of a second (fs/proc/array.c, do_task_stat; USER_HZ).
func startedAt(dir string, start uint64) bool {
	const field, tick = 22, uint64(time.Second / 100)
	text, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return false
	}
	// The name, in brackets, may hold anything.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < field-2 {
		return false
	}
	ticks, err := strconv.ParseUint(fields[field-3], 10, 64)
	return err == nil && ticks == start/tick
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
