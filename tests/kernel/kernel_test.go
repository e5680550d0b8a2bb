// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/tests/kernel/vm"
)

// packages are those whose tests run on every kernel: the machines' own, and those
// that load BPF programs.
func packages() []string {
	return []string{"./guest", "../../agent/probe", "../../agent/sensor"}
}

// machineTimeout is for one machine and all packages.
const machineTimeout = 10 * time.Minute

// TestKernels runs the tests of the packages on all kernels. Each of them is a
// subtest here; the tables are logged at the end.
func TestKernels(t *testing.T) {
	if err := vm.Require(); err != nil {
		t.Fatal(err)
	}
	folder, err := vm.DefaultCache()
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	images, err := vm.Cache{Folder: folder, Log: log}.Ensure(t.Context(), vm.Kernels())
	if err != nil {
		t.Fatal(err)
	}
	payload, err := vm.Compile(t.Context(), vm.Build{
		Packages: packages(),
		Commands: []vm.Command{{Package: "./guest/ia32", Arch: "386", To: "/bin/ia32"}},
		Timeout:  machineTimeout,
	}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	machines := vm.Arrange(images, []vm.LSM{vm.LSMBPF, vm.LSMNo}, vm.Machine{
		Payload: payload, BootTimeout: 2 * time.Minute, Timeout: machineTimeout,
	})
	report := vm.BootAll(t.Context(), machines, 2, log)
	for _, outcome := range report.Outcomes {
		t.Run(outcome.Machine, func(t *testing.T) { repeat(t, outcome) })
	}
	var tables strings.Builder
	if err := report.Write(&tables); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + tables.String())
	for _, problem := range report.Problems() {
		t.Error(problem)
	}
}

// repeat makes each test that ran in a machine a subtest with the same outcome.
func repeat(t *testing.T, outcome vm.Outcome) {
	for _, test := range outcome.Tests {
		t.Run(test.Title(), func(t *testing.T) {
			switch test.Status {
			case vm.Pass:
			case vm.Skip:
				t.Skip(test.Reason)
			case vm.Fail:
				t.Error(test.Reason)
			default:
				t.Errorf("status %q", test.Status)
			}
		})
	}
	if outcome.Err != nil {
		t.Error(outcome.Err)
	}
}
