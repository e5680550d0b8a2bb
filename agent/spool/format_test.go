// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-project/holdfast/tests/golden"
)

var goldenState = state{gen: 5, epoch: fuzzEpoch, assigned: 12, durable: 12, ackEpoch: fuzzEpoch, ackSeq: 2, newest: 1,
	holes: holes{{fuzzEpoch, 12, 12, CauseDisk}}}

// TestFormat pins the bytes that docs/spool-format.md describes.
func TestFormat(t *testing.T) {
	seg, slot := encodeSegment(11), goldenState.encode()
	// A difference is a new version of the format.
	golden.Compare(t, "testdata/segment-v1.bin", seg)
	golden.Compare(t, "testdata/state-v1.bin", slot)

	le := binary.LittleEndian
	at := segmentDataStart + int(frameSize(len(payload(1)))) // the second record
	for _, f := range []struct {
		name       string
		have, want uint64
	}{
		{"segment version", uint64(le.Uint32(seg[8:])), 1},
		{"segment epoch", le.Uint64(seg[64+16:]), fuzzEpoch},
		{"segment index", le.Uint64(seg[24:]), 1},
		{"segment first", le.Uint64(seg[32:]), 1},
		{"record length", uint64(le.Uint32(seg[at+4:])), uint64(len(payload(2)))},
		{"record sequence", le.Uint64(seg[at+8:]), 2},
		{"record kind", uint64(seg[at+20]), 1},
		{"state holes", uint64(le.Uint32(slot[12:])), 1},
		{"state generation", le.Uint64(slot[16:]), 5},
		{"state durable", le.Uint64(slot[40:]), 12},
		{"state acknowledged", le.Uint64(slot[56:]), 2},
		{"state newest", le.Uint64(slot[64:]), 1},
		{"hole first", le.Uint64(slot[88:]), 12},
		{"hole cause", uint64(slot[104]), 4},
	} {
		if f.have != f.want {
			t.Errorf("%s is %d, want %d", f.name, f.have, f.want)
		}
	}
	if string(seg[at:at+4]) != "HFR1" || string(seg[:8]) != "HFSPOOL\x00" || string(slot[:8]) != "HFSTATE\x00" {
		t.Error("magic")
	}
}

// TestReadsVersion1 opens a spool that an earlier build wrote.
func TestReadsVersion1(t *testing.T) {
	dir := t.TempDir()
	seg, err := os.ReadFile("testdata/segment-v1.bin")
	if err != nil {
		t.Fatal(err)
	}
	slot, err := os.ReadFile("testdata/state-v1.bin")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(segmentPath(dir, 1), seg, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, stateName), append(make([]byte, stateSlotSize), slot...), 0o600); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, small(dir))
	g := newGot()
	g.read(t, s, false)
	if s.Epoch() != fuzzEpoch || len(g.records) != 6 || g.last.seq != 12 {
		t.Fatalf("epoch %x, %d records up to %d", s.Epoch(), len(g.records), g.last.seq)
	}
	if lost := g.lost(); lost[CauseFull] != 3 || lost[CauseDisk] != 1 {
		t.Errorf("losses %v", g.losses)
	}
	for _, seq := range []int{3, 4, 8, 9, 10, 11} {
		if g.records[pos{fuzzEpoch, uint64(seq)}] != string(payload(seq)) {
			t.Errorf("record %d is %q", seq, g.records[pos{fuzzEpoch, uint64(seq)}])
		}
	}
}
