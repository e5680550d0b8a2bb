// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"testing"

	"github.com/holdfast-project/holdfast/agent/content"
	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/agent/inspect"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// struck is a finding in a request from a port, seen as of the process that listens.
func struck(port uint16, at uint64) *content.Found {
	f := &content.Found{Finding: dlp.Finding{Reason: dlp.Attack}}
	f.Piece = wire.Content{Family: 2, Remote: [16]uint8{203, 0, 113, 9}, RemotePort: port, LocalPort: 80, Protocol: inspect.ProtocolTCP}
	f.Piece.Head = wire.Head{Origin: 7, Tgid: 1, Start: 10, Time: at}
	return f
}

// accepted is the record of a process that accepts a connection from a port.
func accepted(port uint16, tgid uint32) (*wire.Head, *wire.Net) {
	return &wire.Head{Origin: 7, Tgid: tgid, Tid: tgid, Start: 100},
		&wire.Net{Family: 2, Remote: [16]uint8{203, 0, 113, 9}, RemotePort: port, LocalPort: 80}
}

// TestFindingsWaitForAccept has findings before and after the connection is accepted, of one that never is, and inside TLS.
func TestFindingsWaitForAccept(t *testing.T) {
	var a acceptors
	var given []uint32
	give := func(f *content.Found) { given = append(given, f.Piece.Head.Tgid) }
	a.note(accepted(1000, 42))
	if f := struck(1000, 5); a.hold(f) || f.Piece.Head.Tgid != 42 || f.Piece.Head.Start != 100 || f.Process.PID != 42 {
		t.Errorf("accepted before: %+v", f)
	}
	inTLS := struck(1001, 5)
	inTLS.Piece.Tls = 9
	values := struck(1001, 5)
	values.Reason = dlp.Content
	if a.hold(inTLS) || a.hold(values) {
		t.Error("what is known waits")
	}
	if !a.hold(struck(1002, 5)) || !a.hold(struck(1003, 5)) {
		t.Fatal("what is not known does not wait")
	}
	if a.release(6, give); len(given) != 0 {
		t.Errorf("given at once: %v", given)
	}
	a.note(accepted(1003, 43))
	if a.release(7, give); len(given) != 1 || given[0] != 43 {
		t.Errorf("given after accept: %v", given)
	}
	if a.release(5+acceptWait, give); len(given) != 2 || given[1] != 1 || len(a.held) != 0 {
		t.Errorf("given after the wait: %v, %d held", given, len(a.held))
	}
}

// TestAcceptorsAreBounded has more connections and findings than are kept.
func TestAcceptorsAreBounded(t *testing.T) {
	var a acceptors
	for n := range maxAcceptors + 10 {
		a.note(accepted(uint16(1+n), uint32(n+100)))
	}
	if !a.hold(struck(10, 5)) || a.hold(struck(11, 5)) {
		t.Error("not just the oldest have made room")
	}
	for range 2 * maxUnaccepted {
		a.hold(struck(9, 5))
	}
	if len(a.held) != maxUnaccepted {
		t.Errorf("%d findings are held", len(a.held))
	}
}
