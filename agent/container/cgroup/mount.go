// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// findMount returns the mount point of the cgroup2 hierarchy that shows most of it: of several mounts, the one whose
// root in the hierarchy is shortest, and among those the first. The format is that of proc_pid_mountinfo(5).
func findMount(r io.Reader) (string, error) {
	best, bestRoot := "", ""
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		before, after, ok := strings.Cut(s.Text(), " - ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 5 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		root, point := unescape(fields[3]), unescape(fields[4])
		if best == "" || len(root) < len(bestRoot) {
			best, bestRoot = point, root
		}
	}
	if err := s.Err(); err != nil {
		return "", fmt.Errorf("find the cgroup2 mount: read mountinfo: %w", err)
	}
	if best == "" {
		return "", ErrNoCgroup2
	}
	return best, nil
}

// unescape undoes the octal escapes that the kernel writes for blanks and backslashes.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && octal(s[i+1]) && octal(s[i+2]) && octal(s[i+3]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func octal(c byte) bool { return c >= '0' && c <= '7' }
