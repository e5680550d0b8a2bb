// SPDX-License-Identifier: Apache-2.0

package probe_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/probe"
)

func TestLacksNamesEachRight(t *testing.T) {
	for _, test := range []struct {
		has    []probe.Right
		needs  []probe.Right
		reason string
	}{
		{nil, nil, ""},
		{[]probe.Right{probe.BPF, probe.Perfmon}, []probe.Right{probe.BPF, probe.Perfmon}, ""},
		{[]probe.Right{probe.SysAdmin}, []probe.Right{probe.BPF, probe.Perfmon}, ""},
		{[]probe.Right{probe.SysAdmin}, []probe.Right{probe.BPF, probe.NetAdmin}, "CAP_NET_ADMIN is missing"},
		{[]probe.Right{probe.DACOverride}, []probe.Right{probe.DACReadSearch}, ""},
		{[]probe.Right{probe.DACReadSearch}, []probe.Right{probe.DACOverride}, "CAP_DAC_OVERRIDE is missing"},
		{[]probe.Right{probe.Perfmon}, []probe.Right{probe.BPF, probe.Perfmon}, "CAP_BPF is missing"},
		{[]probe.Right{probe.Kill}, []probe.Right{probe.BPF, probe.NetAdmin}, "CAP_BPF and CAP_NET_ADMIN are missing"},
		{nil, []probe.Right{probe.Kill, probe.SysPtrace, probe.SysResource}, "CAP_KILL, CAP_SYS_PTRACE and CAP_SYS_RESOURCE are missing"},
		{nil, []probe.Right{0}, "CAP_0 is missing"},
	} {
		if reason := probe.RightsOf(test.has...).Lacks(test.needs...); reason != test.reason {
			t.Errorf("has %v, needs %v: %q, want %q", test.has, test.needs, reason, test.reason)
		}
	}
}

// TestExplainNamesTheRightFirst wants the missing right in the place of guesses, and other errors as they are.
func TestExplainNamesTheRightFirst(t *testing.T) {
	guess := fmt.Errorf("load program: %w (MEMLOCK may be too low, consider rlimit.RemoveMemlock)", unix.EPERM)
	needs := probe.Needs(ebpf.CGroupSockAddr)
	err := probe.RightsOf(probe.BPF, probe.Perfmon).Explain(guess, needs...)
	if !errors.Is(err, os.ErrPermission) || err.Error() != "operation not permitted: CAP_NET_ADMIN is missing" {
		t.Error(err)
	}
	err = probe.RightsOf(probe.BPF, probe.NetAdmin).Explain(guess, needs...)
	if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "no capability is missing") || strings.Contains(err.Error(), "MEMLOCK") {
		t.Error(err)
	}
	for _, other := range []error{nil, unix.EACCES, os.ErrNotExist} {
		if err := probe.Rights(0).Explain(other, needs...); !errors.Is(err, other) || err != other {
			t.Errorf("%v became %v", other, err)
		}
	}
}

func TestNeeds(t *testing.T) {
	for program, want := range map[ebpf.ProgramType][]probe.Right{
		ebpf.LSM:          {probe.BPF, probe.Perfmon},
		ebpf.Tracing:      {probe.BPF, probe.Perfmon},
		ebpf.SockOps:      {probe.BPF, probe.NetAdmin},
		ebpf.CGroupSKB:    {probe.BPF, probe.NetAdmin},
		ebpf.SocketFilter: {probe.BPF},
	} {
		if got := probe.Needs(program); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", program, got, want)
		}
	}
}

// TestReadRights holds what is read against what /proc says, with a right of the second half and one of the first given up
// on a thread that ends with the test.
func TestReadRights(t *testing.T) {
	type answer struct {
		before, after probe.Rights
		proc          uint64
		err           error
	}
	done := make(chan answer)
	go func() {
		// Not unlocked: the thread ends with what it has given up.
		runtime.LockOSThread()
		var a answer
		a.before, a.err = probe.ReadRights()
		if a.err == nil {
			a.err = drop(probe.RightsOf(probe.BPF, probe.Kill))
		}
		if a.err == nil {
			a.after, a.err = probe.ReadRights()
		}
		if a.err == nil {
			a.proc, a.err = effective()
		}
		done <- a
	}()
	a := <-done
	if a.err != nil {
		t.Fatal(a.err)
	}
	if want := a.before &^ probe.RightsOf(probe.BPF, probe.Kill); a.after != want || uint64(a.after) != a.proc {
		t.Errorf("rights %#x, of %#x before; want %#x, which /proc says too: %#x", a.after, a.before, want, a.proc)
	}
}

// drop gives up rights of the calling thread.
func drop(rights probe.Rights) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[0].Effective &^= uint32(rights)
	data[1].Effective &^= uint32(rights >> 32)
	return unix.Capset(&header, &data[0])
}

// effective reads the rights of the calling thread that /proc says are in effect.
func effective() (uint64, error) {
	text, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		}
	}
	return 0, errors.New("no CapEff in /proc/thread-self/status")
}
