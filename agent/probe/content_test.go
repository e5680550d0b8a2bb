// SPDX-License-Identifier: Apache-2.0

package probe_test

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"

	"github.com/holdfast-project/holdfast/agent/probe"
)

// withinTLS are the rows that take programs in functions.
var withinTLS = []string{"content_openssl", "content_gnutls", "content_nss", "content_go"}

// contentRows gives the rows for content, by signal, as a thread finds them that has given up rights.
func contentRows(t *testing.T, given probe.Rights) map[string]probe.Capability {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	type answer struct {
		rows []probe.Capability
		err  error
	}
	done := make(chan answer)
	go func() {
		// Not unlocked: the thread ends with what it has given up.
		runtime.LockOSThread()
		var a answer
		var kernel *probe.Kernel
		if a.err = drop(given); a.err == nil {
			kernel, a.err = probe.Run()
		}
		if a.err == nil {
			a.rows = kernel.Content()
		}
		done <- a
	}()
	a := <-done
	if a.err != nil {
		t.Fatal(a.err)
	}
	rows := map[string]probe.Capability{}
	for _, c := range a.rows {
		t.Logf("%s: see %s by %q: %s", c.Signal, c.See, c.Mechanism, c.Reason)
		if (c.See == probe.Yes) == (c.Mechanism == "") || c.Reason == "" {
			t.Errorf("%+v", c)
		}
		rows[c.Signal] = c
	}
	if len(rows) != len(withinTLS)+2 || len(rows) != len(a.rows) {
		t.Errorf("%d rows of %d signals, want %d", len(a.rows), len(rows), len(withinTLS)+2)
	}
	return rows
}

// multi says whether the kernel has uprobe_multi.
func multi(t *testing.T) bool {
	t.Helper()
	err := features.HaveBPFLinkUprobeMulti()
	if err != nil && !errors.Is(err, ebpf.ErrNotSupported) {
		t.Fatal(err)
	}
	return err == nil
}

// TestContent wants each way of content to be seen but that of Java, by the better way that the kernel has.
func TestContent(t *testing.T) {
	rows := contentRows(t, 0)
	if rows["content"].See != probe.Yes || rows["content_java"].See != probe.No {
		t.Errorf("%+v, %+v", rows["content"], rows["content_java"])
	}
	for signal, c := range rows {
		if c.Block != c.See {
			t.Errorf("%s: block %s, see %s", signal, c.Block, c.See)
		}
	}
	want := "perf uprobes on "
	if multi(t) {
		want = "uprobe_multi on "
	}
	for _, signal := range withinTLS {
		if c := rows[signal]; c.See != probe.Yes || !strings.HasPrefix(c.Mechanism, want) {
			t.Errorf("%+v, want it seen by %s", c, want)
		}
	}
}

// TestContentWithoutSysAdmin has the rights that the chart gives. With uprobe_multi everything is seen as with all rights; with
// perf alone, what is within TLS is seen on kernels before July 2025, and on others the right is named.
func TestContentWithoutSysAdmin(t *testing.T) {
	given := ^probe.RightsOf(probe.BPF, probe.Perfmon, probe.NetAdmin, probe.Kill, probe.SysPtrace, probe.SysResource)
	rows := contentRows(t, given)
	if c := rows["content"]; c.See != probe.Yes || c.Block != probe.Yes || !strings.Contains(c.Reason, "not reset: CAP_SYS_ADMIN is missing") {
		t.Errorf("%+v", c)
	}
	for _, signal := range withinTLS {
		c := rows[signal]
		if multi(t) && (c.See != probe.Yes || !strings.HasPrefix(c.Mechanism, "uprobe_multi on ")) {
			t.Errorf("%+v, want it seen by uprobe_multi", c)
		}
		if c.See != probe.Yes && !strings.Contains(c.Reason, "CAP_SYS_ADMIN is missing") {
			t.Errorf("%+v, want it off for want of CAP_SYS_ADMIN", c)
		}
	}
}

// TestContentWithoutSysPtrace wants packets to be seen, and nothing within TLS: no library is found.
func TestContentWithoutSysPtrace(t *testing.T) {
	rows := contentRows(t, probe.RightsOf(probe.SysPtrace))
	if rows["content"].See != probe.Yes {
		t.Errorf("%+v", rows["content"])
	}
	for _, signal := range withinTLS {
		if c := rows[signal]; c.See != probe.No || !strings.Contains(c.Reason, "CAP_SYS_PTRACE is missing") {
			t.Errorf("%+v, want it off for want of CAP_SYS_PTRACE", c)
		}
	}
}

// TestContentWithoutNetAdmin wants nothing to be seen: the programs that see TLS come with those for packets.
func TestContentWithoutNetAdmin(t *testing.T) {
	rows := contentRows(t, probe.RightsOf(probe.NetAdmin))
	for _, signal := range append([]string{"content"}, withinTLS...) {
		if c := rows[signal]; c.See != probe.No || !strings.Contains(c.Reason, "CAP_NET_ADMIN is missing") {
			t.Errorf("%+v, want it off for want of CAP_NET_ADMIN", c)
		}
	}
}
