// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestTrim looks at what of the program is in memory before and after. That it goes on shows that the rest comes again.
func TestTrim(t *testing.T) {
	before := programBytes(t)
	if err := trim(); err != nil {
		t.Fatal(err)
	}
	if after := programBytes(t); after > before*3/4 {
		t.Errorf("%d bytes of the program are resident, %d were before", after, before)
	}
}

// programBytes is how much of the mapped files is resident.
func programBytes(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\nRssFile:")
	size, _, _ := strings.Cut(rest, "kB")
	n, err := strconv.Atoi(strings.TrimSpace(size))
	if err != nil {
		t.Fatalf("resident pages of files: %v", err)
	}
	return n << 10
}

func TestConstantMappings(t *testing.T) {
	for _, c := range []struct {
		line string
		want bool
	}{
		{"00401000-01199000 r-xp 00001000 fe:00 42    /usr/bin/agent\n", true},
		{"01199000-02118000 r--p 00d99000 fe:00 42    /usr/bin/agent\n", true},
		{"02118000-0249d000 rw-p 01d18000 fe:00 42    /usr/bin/agent\n", false},
		{"00401000-01199000 r-xp 00001000 fe:00 42    /usr/bin/agent2\n", false},
		{"00401000-01199000 r-xp 00001000 fe:00 42    /usr/bin/agent (deleted)\n", false},
		{"0249d000-04500000 rw-p 00000000 00:00 0 \n", false},
		{"7fff0000-7fff1000 r-xp 00000000 00:00 0 [vdso]\n", false},
		{"7fff0000-7fff1000 r--p 00000000 00:00 0\n", false},
		{"x-y r--p 00000000 00:00 0 /usr/bin/agent\n", false},
		{"", false},
	} {
		start, end, got := constant(c.line, "/usr/bin/agent")
		if got != c.want || got && start >= end {
			t.Errorf("%q: %v, %x-%x", c.line, got, start, end)
		}
	}
}
