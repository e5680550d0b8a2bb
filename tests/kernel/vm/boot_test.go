// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fastest is the kernel that boots in the shortest time.
const fastest = "6.12"

// image returns the kernel for tests of this package.
func image(t *testing.T) Image {
	t.Helper()
	if err := Require(); err != nil {
		t.Fatal(err)
	}
	folder, err := DefaultCache()
	if err != nil {
		t.Fatal(err)
	}
	kernels, err := ParseKernels(fastest)
	if err != nil {
		t.Fatal(err)
	}
	images, err := Cache{Folder: folder, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}.Ensure(t.Context(), kernels)
	if err != nil {
		t.Fatal(err)
	}
	return images[0]
}

// shell is a machine that runs a script.
func shell(t *testing.T, script string, timeout time.Duration) Machine {
	return Machine{
		Image: image(t), LSM: LSMNo, BootTimeout: 2 * time.Minute, Timeout: timeout,
		Payload: Payload{Programs: []Program{{Name: "shell", Path: busybox, Args: []string{"sh", "-c", script}, Dir: "/tmp"}}},
	}
}

// TestFaults runs tests that go wrong in every way and checks that none of them
// passes for good.
func TestFaults(t *testing.T) {
	t.Parallel()
	payload, err := Compile(t.Context(), Build{Packages: []string{"../testdata/faulty"}, Timeout: 2 * time.Minute}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	machine := Machine{Image: image(t), LSM: LSMNo, Payload: payload, BootTimeout: 2 * time.Minute, Timeout: 2 * time.Minute}
	result, err := Boot(t.Context(), machine)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]struct {
		status Status
		reason string
	}{
		"TestPasses":              {Pass, ""},
		"TestFails":               {Fail, "this one fails"},
		"TestSubtests":            {Fail, ""},
		"TestSubtests/passes":     {Pass, ""},
		"TestSubtests/fails":      {Fail, "this subtest fails"},
		"TestSkipsWithoutReason":  {Fail, "not today"},
		"TestSkipsWhatIsThere":    {Fail, "needs 5.4, which this kernel has"},
		"TestSkipsSecurityModule": {Skip, "lsm/file_open needs lsm=bpf"},
		"TestSkipsWhatIsToCome":   {Skip, "magic needs 99.1"},
		"TestLies":                {Pass, ""},
		"TestExits":               {Fail, "status 3"},
	}
	for _, test := range result.Tests {
		expected, ok := want[test.Name]
		if !ok || test.Status != expected.status || !strings.Contains(test.Reason, expected.reason) {
			t.Errorf("%s: %s %q, want %s %q", test.Name, test.Status, test.Reason, expected.status, expected.reason)
		}
		delete(want, test.Name)
	}
	for name := range want {
		t.Errorf("%s: not reported", name)
	}
	if len(result.Hooks) != 1 || result.Hooks[0] != (Used{"exec", "a hook"}) {
		t.Errorf("hooks %v", result.Hooks)
	}
	if len(result.Warnings) != 0 {
		t.Errorf("warnings %v", result.Warnings)
	}
}

// TestPanic checks that a kernel which panics under a program is an error with the
// kernel's words, that it is not tried again, and that the program has failed.
func TestPanic(t *testing.T) {
	t.Parallel()
	result, err := Boot(t.Context(), shell(t, "echo going; echo c >/proc/sysrq-trigger; sleep 60", time.Minute))
	if err == nil || !strings.Contains(err.Error(), "sysrq triggered crash") {
		t.Errorf("error %v, want the kernel's", err)
	}
	if len(result.Tests) != 1 || result.Tests[0].Status != Fail {
		t.Errorf("tests %+v, want the shell failed", result.Tests)
	}
	if len(result.Warnings) != 0 {
		t.Errorf("warnings %v: tried again", result.Warnings)
	}
}

// TestTimeout checks that a program which does not end fails its machine in time.
func TestTimeout(t *testing.T) {
	t.Parallel()
	// Long enough for a machine to come to its shell where the processors are shared.
	result, err := Boot(t.Context(), shell(t, "sleep 1000", time.Minute))
	if err == nil || !strings.Contains(err.Error(), "not done after 1m0s") {
		t.Errorf("error %v, want a timeout", err)
	}
	if len(result.Tests) != 1 || result.Tests[0].Status != Fail {
		t.Errorf("tests %+v, want the shell failed", result.Tests)
	}
}

// TestCancel checks that Boot ends with its context.
func TestCancel(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := Boot(ctx, shell(t, "sleep 1000", time.Minute)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want %v", err, context.DeadlineExceeded)
	}
}

// TestBootPanic checks that a panic before the first program is told from one
// under a program: it is the one that is tried again.
func TestBootPanic(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	machine := shell(t, "true", time.Minute)
	if err := makeDisk(t.Context(), filepath.Join(folder, "disk")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "initrd"), []byte("no file system"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := attempt(t.Context(), machine, folder); !errors.Is(err, errBootPanic) {
		t.Errorf("error %v, want %v", err, errBootPanic)
	}
}

// TestQEMUFails checks that the error of QEMU reaches the caller.
func TestQEMUFails(t *testing.T) {
	t.Parallel()
	machine := shell(t, "true", time.Minute)
	machine.Image.kernel = filepath.Join(t.TempDir(), "none")
	_, err := Boot(t.Context(), machine)
	if err == nil || !strings.Contains(err.Error(), "qemu: ") || !strings.Contains(err.Error(), "none") {
		t.Errorf("error %v, want QEMU's", err)
	}
}
