// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"testing"

	"golang.org/x/sys/unix"
)

const fuzzEpoch = 0x1122334455667788

// encodeSegment builds a segment of n records of various sizes, with a gap.
func encodeSegment(n int) []byte {
	b := segmentHeader{version: formatVersion, epoch: fuzzEpoch, index: 1, first: 1}.encode()
	seed := seedOf(fuzzEpoch)
	for seq := uint64(1); seq <= uint64(n); seq++ {
		if seq == 5 {
			b = appendGap(b, seed, hole{first: 5, last: 7, cause: CauseFull})
			seq = 7
			continue
		}
		p := payload(int(seq))
		b = appendFrame(b, seed, kindRecord, seq, p, crc32.Checksum(p, castagnoli))
	}
	return b
}

// scanAll scans data and checks what holds for every input.
func scanAll(t *testing.T, data []byte) []item {
	t.Helper()
	var sc scanner
	sc.reset(bytes.NewReader(data), fuzzEpoch, segmentDataStart, int64(len(data)), 1, math.MaxUint64-1)
	var items []item
	expect, off := uint64(1), int64(0)
	for {
		it, err := sc.next()
		if errors.Is(err, io.EOF) {
			return items
		}
		if err != nil {
			t.Fatal(err)
		}
		if it.first != expect || it.last < it.first || it.last == math.MaxUint64 {
			t.Fatalf("item %d..%d, expected %d", it.first, it.last, expect)
		}
		if it.off < off || it.off+it.size > int64(len(data))+recordAlign || it.cause >= NumCauses && it.kind == itemDamage {
			t.Fatalf("item %+v behind %d in %d bytes", it, off, len(data))
		}
		if it.kind == itemRecord && (it.first != it.last || len(it.payload) > formatMaxPayload) {
			t.Fatalf("record %+v", it)
		}
		expect, off = it.last+1, it.off
		it.payload = bytes.Clone(it.payload)
		items = append(items, it)
	}
}

// FuzzScan scans arbitrary bytes.
func FuzzScan(f *testing.F) {
	f.Add(encodeSegment(12))
	f.Add(encodeSegment(12)[:300])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		parseSegmentHeader(data)
		scanAll(t, data)
	})
}

// FuzzDamage lays arbitrary bytes over a good segment. Every record that they do
// not touch must be found.
func FuzzDamage(f *testing.F) {
	f.Add(uint16(200), []byte("garbage"))
	f.Add(uint16(130), bytes.Repeat([]byte{0}, 200))
	f.Add(uint16(900), []byte("HFR1"))
	good := encodeSegment(30)
	magic := []byte{0x48, 0x46, 0x52, 0x31}
	f.Fuzz(func(t *testing.T, at uint16, over []byte) {
		if int(at) >= len(good) || bytes.Contains(over, magic) {
			return
		}
		data := bytes.Clone(good)
		end := int64(at) + int64(copy(data[at:], over))
		found := map[uint64]item{}
		for _, it := range scanAll(t, data) {
			found[it.first] = it
		}
		for _, it := range scanAll(t, good) {
			if it.off+it.size > int64(at) && it.off < end {
				continue
			}
			have, ok := found[it.first]
			if !ok || have.kind != it.kind || have.last != it.last || !bytes.Equal(have.payload, it.payload) {
				t.Fatalf("record %d at %d is lost to %d bytes at %d", it.first, it.off, len(over), at)
			}
		}
	})
}

// FuzzState parses arbitrary state slots; what is accepted is encoded to the same
// bytes again.
func FuzzState(f *testing.F) {
	f.Add(state{gen: 3, epoch: 9, assigned: 7, durable: 5, ackEpoch: 9, ackSeq: 2, newest: 1,
		holes: holes{{9, 6, 7, CauseDisk}}}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		// A fuzzer does not find checksums; put the right one in.
		if len(b) >= stateSlotSize {
			b = bytes.Clone(b[:stateSlotSize])
			sum := crc32.Checksum(b[:stateSlotSize-4], castagnoli)
			b[stateSlotSize-4], b[stateSlotSize-3], b[stateSlotSize-2], b[stateSlotSize-1] =
				byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
		}
		st, err := parseState(b)
		if err != nil {
			return
		}
		again, err := parseState(st.encode())
		if err != nil || fmt.Sprint(again) != fmt.Sprint(st) {
			t.Fatalf("%+v became %+v: %v", st, again, err)
		}
	})
}

// badDisk cannot read some blocks, as a disk does: there is no way to break one
// block of a file on a healthy machine.
type badDisk struct {
	data     []byte
	from, to int64
}

func (d badDisk) ReadAt(p []byte, off int64) (int, error) {
	if off < d.to && off+int64(len(p)) > d.from {
		return 0, unix.EIO
	}
	return bytes.NewReader(d.data).ReadAt(p, off)
}

func TestUnreadableBlock(t *testing.T) {
	data := encodeSegment(400)
	var sc scanner
	sc.reset(badDisk{data, 8192, 12288}, fuzzEpoch, segmentDataStart, int64(len(data)), 1, math.MaxUint64-1)
	records, lost := 0, uint64(0)
	for {
		it, err := sc.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch it.kind {
		case itemRecord:
			records++
		case itemDamage:
			lost += it.last - it.first + 1
			if it.off > 8192 || it.off+it.size < 12288 || it.size > 4096+2*200 {
				t.Errorf("damage %+v", it)
			}
		}
	}
	if records+int(lost) != 397 || lost < 30 || lost > 60 {
		t.Errorf("%d records, %d lost", records, lost)
	}
}

func TestHoles(t *testing.T) {
	var l holes
	for _, h := range []hole{
		{1, 10, 20, CauseEvicted}, {1, 21, 30, CauseEvicted}, {1, 40, 50, CauseFull},
		{1, 5, 60, CauseCorrupt}, {1, 12, 13, CauseDisk}, {2, 1, 3, CauseCrash},
	} {
		l = l.add(h)
	}
	want := "[{1 5 9 6} {1 10 30 1} {1 31 39 6} {1 40 50 2} {1 51 60 6} {2 1 3 7}]"
	if have := fmt.Sprint(l); have != want {
		t.Errorf("have %s\nwant %s", have, want)
	}
	for _, c := range []struct{ first, last, end uint64 }{{1, 100, 4}, {5, 100, 9}, {12, 15, 15}, {61, 70, 70}} {
		if have := l.at(1, c.first, c.last, 0); have.Last != c.end {
			t.Errorf("from %d: %+v, want up to %d", c.first, have, c.end)
		}
	}
	if !l.covers(1, 12, 28, CauseEvicted) || l.covers(1, 12, 31, CauseEvicted) || l.covers(2, 1, 4, CauseCrash) {
		t.Error("covers")
	}
	for i := range uint64(500) {
		l = l.add(hole{3, 10 * i, 10*i + 1, CauseFull})
	}
	if len(l) > maxHoles || l[len(l)-1].first != 4990 {
		t.Errorf("%d holes", len(l))
	}
	var tail holes
	for i := range uint64(100) {
		tail = tail.extend(1, i+1, Cause(1+i%2))
	}
	if len(tail) != maxTail || tail[maxTail-1].cause != CauseSeveral || tail[maxTail-1].last != 100 {
		t.Errorf("tail %v", tail)
	}
}
