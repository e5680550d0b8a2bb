// SPDX-License-Identifier: Apache-2.0

package detect_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/content"
	"github.com/holdfast-project/holdfast/agent/detect"
	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/tests/golden"
)

// flowOf is the record of a flow that the process sent over.
func flowOf(t *testing.T) *event.Event {
	t.Helper()
	n := wire.Net{Head: wire.Head{Type: uint16(wire.TypeFlow), Origin: 5}, Family: 2, Protocol: 6, RemotePort: 443, NetFlags: uint16(wire.NetOutbound)}
	n.Remote = [16]uint8{203, 0, 113, 9}
	words := make([]uint64, unsafe.Sizeof(n)/8)
	raw := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), unsafe.Sizeof(n))
	copy(raw, unsafe.Slice((*byte)(unsafe.Pointer(&n)), unsafe.Sizeof(n)))
	ev := new(event.Event)
	if err := ev.Decode(raw); err != nil {
		t.Fatal(err)
	}
	ev.Process = child("/usr/bin/curl")
	ev.Container = &container.Container{Cgroup: 5, ID: "app", Name: "app", Pod: "web-0", Namespace: "shop"}
	return ev
}

// TestStories holds what alerts say of findings about deeds to testdata.
func TestStories(t *testing.T) {
	peer := dlp.Peer{Addr: netip.MustParseAddrPort("203.0.113.9:443"), Host: "evil.example"}
	bare := dlp.Peer{Addr: peer.Addr}
	gzip, curl := dlp.Process{PID: 2, Start: 1}, dlp.Process{PID: 3, Start: 1}
	read := dlp.Step{What: "read", Process: gzip, Executable: "/usr/bin/gzip", Object: "/data/customers.csv"}
	sent := dlp.Step{Time: int64(5 * time.Second), What: "sent", Process: curl, Executable: "/usr/bin/curl", Object: "evil.example"}
	const secret = "ghp_0123456789abcdefghijABCDEFGHIJ012345.drop.example"
	const file, label = "/data/customers.csv", "customers"
	var out strings.Builder
	for _, f := range []dlp.Finding{
		{Reason: dlp.Taint, Severity: dlp.High, Peer: peer, File: file, Label: label, Bytes: 4116, Chain: []dlp.Step{read, sent}},
		{Reason: dlp.Taint, Severity: dlp.High, Peer: dlp.Peer{Addr: peer.Addr, Host: secret}, File: file, Label: label, Bytes: 4116, Chain: []dlp.Step{
			read, {Time: int64(5 * time.Second), What: "sent", Process: curl, Executable: "/usr/bin/curl", Object: secret},
		}},
		{Reason: dlp.ArchiveSend, Severity: dlp.High, Peer: peer, File: file, Label: label, Bytes: 4116, Chain: []dlp.Step{
			read, {Time: int64(20 * time.Millisecond), What: "packed", Process: gzip, Executable: "/usr/bin/gzip"},
			{Time: int64(time.Second), What: "wrote", Process: gzip, Object: "/tmp/\x1b[31mc.gz"}, sent,
		}},
		{Reason: dlp.Upload, Severity: dlp.Critical, Peer: peer, File: file, Label: label, Bytes: 9, Chain: []dlp.Step{read, sent}},
		{Reason: dlp.Upload, Severity: dlp.High, Peer: peer, Bytes: 100000},
		{Reason: dlp.FileMatch, Severity: dlp.Critical, Peer: bare, File: file, Label: label, Chain: []dlp.Step{read, sent}},
		{Reason: dlp.VolumeUnusual, Severity: dlp.Medium, Peer: bare, Bytes: 1 << 30, Usual: 1 << 24},
		{Reason: dlp.SlowLeak, Severity: dlp.Medium, Peer: bare, Inbound: true, Bytes: 1 << 30, Usual: 1 << 24},
		{Reason: dlp.DNSTunnel, Severity: dlp.High, Peer: peer, Distinct: 60, Bytes: 2048},
		{Reason: dlp.ICMPVolume, Severity: dlp.High, Peer: bare, Count: 40, Bytes: 40000},
		{
			Reason: dlp.AttackFollowed, Severity: dlp.Critical, Peer: bare, Inbound: true, Class: "log4shell", Detector: "log4shell-jndi", Path: "/login",
			Chain: []dlp.Step{
				{What: "attack", Process: gzip, Executable: "/usr/bin/java", Object: "log4shell-jndi"},
				{Time: int64(2 * time.Second), What: "exec", Process: curl, Executable: "/bin/sh", Object: "/bin/sh"},
			},
		},
	} {
		a := detect.New(detect.Config{}).FindingAlert(&content.Found{Finding: f, Host: f.Peer.Host}, flowOf(t))
		fmt.Fprintf(&out, "%s: %s %s\n  %s\n  signal %s, %s, file %q, %d bytes, host %q, source %q\n", f.Reason, a.Rule, strings.TrimPrefix(a.Priority.String(), "PRIORITY_"),
			a.Output, a.Finding.Signal, a.Finding.Direction, a.Finding.File, a.Finding.Bytes, a.Finding.Host, a.Finding.Source)
	}
	golden.Compare(t, "testdata/stories.golden", []byte(out.String()))
}
