// SPDX-License-Identifier: Apache-2.0

// Package guest helps tests that run inside a test machine: it says where they
// run and prints the lines that the host understands. It starts nothing. Test files
// that make sense only there carry the build tag "vm", as this package's own do:
// they prove that the machines are what package vm says.
package guest

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Inside reports whether the test runs in a test machine, where it may break
// things.
func Inside() bool { return os.Getenv("HOLDFAST_VM") == "1" }

// Release returns the kernel's release as uname prints it.
func Release(t testing.TB) string {
	t.Helper()
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatalf("uname: %v", err)
	}
	return unix.ByteSliceToString(name.Release[:])
}

// LSMs returns the security modules in force, in their order.
func LSMs(t testing.TB) []string {
	t.Helper()
	list, err := os.ReadFile("/sys/kernel/security/lsm")
	if err != nil {
		t.Fatalf("read the security modules: %v", err)
	}
	return strings.Split(strings.TrimSpace(string(list)), ",")
}

// Uses prints a line of the table "kernel, hook, what is used", which the host
// collects from all machines.
func Uses(hook, what string) {
	fmt.Printf("HFTABLE %s\t%s\n", hook, what)
}

// Unsupported skips a test since the kernel lacks a feature. Needs is the first
// version that has it ("5.11"), "lsm=bpf", both ("5.11 and lsm=bpf"), or a text that
// nothing can check. The host fails the test if the kernel has what is needed.
func Unsupported(t testing.TB, feature, needs string) {
	t.Helper()
	t.Skipf("unsupported: %s needs %s", feature, needs)
}

// SkipUnsupported does nothing without an error, skips the test as Unsupported does
// if the error says that the kernel lacks the feature, and fails it on any other.
func SkipUnsupported(t testing.TB, err error, feature, needs string) {
	t.Helper()
	if errors.Is(err, ebpf.ErrNotSupported) {
		Unsupported(t, feature, needs)
	}
	if err != nil {
		t.Fatalf("%s: %v", feature, err)
	}
}
