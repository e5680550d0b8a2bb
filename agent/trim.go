// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// trim gives back memory that the start alone has needed: of the heap, where the kernel's types were, and of the program
// itself, where much is run and read once. What of the program is needed again comes from the page cache, or from its file.
func trim() error {
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("read the mappings of the program: %w", err)
	}
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find the program: %w", err)
	}
	var errs []error
	for line := range bytes.Lines(text) {
		start, end, ok := constant(string(line), program)
		if !ok {
			continue
		}
		// Nothing is lost: what cannot be written is as it is in the file.
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, start, end-start, unix.MADV_DONTNEED); errno != 0 {
			errs = append(errs, fmt.Errorf("unmap pages of the program at %x: %w", start, errno))
		}
	}
	return errors.Join(errs...)
}

// constant gives the addresses of a line of /proc/self/maps, if it maps a part of the program that cannot be written:
//
//	START-END PERMISSIONS OFFSET DEVICE INODE PATH
func constant(line, program string) (start, end uintptr, ok bool) {
	fields := strings.SplitN(line, " ", 6)
	if len(fields) < 6 || strings.TrimSpace(fields[5]) != program || strings.Contains(fields[1], "w") {
		return 0, 0, false
	}
	from, to, _ := strings.Cut(fields[0], "-")
	first, err := strconv.ParseUint(from, 16, strconv.IntSize)
	last, err2 := strconv.ParseUint(to, 16, strconv.IntSize)
	return uintptr(first), uintptr(last), err == nil && err2 == nil && first < last
}
