// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tiny makes segments of a few records.
func tiny(dir string) Config {
	cfg := small(dir)
	cfg.MaxRecordBytes, cfg.SegmentBytes = 100, 700
	return cfg
}

const tinyRecords = 20

// tinySpool returns a directory with a few segments, as it is while the spool is
// open (after a crash), and as it is after Close, and the records in it.
func tinySpool(t *testing.T) (crashed, closed string, records map[pos]string, epoch uint64) {
	t.Helper()
	cfg := tiny(t.TempDir())
	cfg.StateEvery = 1 << 40 // the state knows of new segments, not of the last records
	s := mustOpen(t, cfg)
	stop := run(t, s)
	records = map[pos]string{}
	for i := 1; i <= tinyRecords; i++ {
		seq, err := s.AppendSync(deadline(t), payload(i))
		if err != nil {
			t.Fatal(err)
		}
		records[pos{s.Epoch(), seq}] = string(payload(i))
	}
	stop()
	crashed = copyDir(t, cfg.Dir)
	mustClose(t, s)
	if n := len(segmentFiles(t, cfg.Dir)); n < 3 {
		t.Fatalf("%d segments", n)
	}
	return crashed, cfg.Dir, records, s.Epoch()
}

// check opens dir, reads everything, and compares with what was written. It
// returns what was read. New records must not get an identity that was used.
func check(t *testing.T, dir string, records map[pos]string) *got {
	t.Helper()
	s := mustOpen(t, tiny(dir))
	defer mustClose(t, s)
	g := newGot()
	g.read(t, s, false)
	for p, have := range g.records {
		if want, ok := records[p]; !ok || have != want {
			t.Fatalf("sequence %d is %q, want %q", p.seq, have, want)
		}
	}
	for p := range records {
		if _, ok := g.records[p]; ok {
			continue
		}
		if !g.reportsLost(p) && p.epoch == s.Epoch() && p.seq < s.Stats().Next {
			t.Fatalf("sequence %d is neither read nor reported as lost: %v", p.seq, g.losses)
		}
	}
	stop := run(t, s)
	defer stop()
	for range 3 {
		seq, err := s.AppendSync(deadline(t), []byte("new"))
		if err != nil {
			t.Fatal(err)
		}
		if _, used := g.records[pos{s.Epoch(), seq}]; used {
			t.Fatalf("sequence %d is used again", seq)
		}
	}
	after := newGot()
	s.Rewind()
	after.read(t, s, false)
	if len(after.records) != len(g.records)+3 {
		t.Fatalf("%d records, and %d after three more", len(g.records), len(after.records))
	}
	return g
}

func (g *got) reportsLost(p pos) bool {
	for _, l := range g.losses[p.epoch] {
		if l.First <= p.seq && p.seq <= l.Last {
			return true
		}
	}
	return false
}

// TestTornTail cuts the newest segment at every byte.
func TestTornTail(t *testing.T) {
	crashed, _, records, _ := tinySpool(t)
	files := segmentFiles(t, crashed)
	newest := files[len(files)-1]
	whole, err := os.ReadFile(newest)
	if err != nil {
		t.Fatal(err)
	}
	for size := range len(whole) + 1 {
		dir := copyDir(t, crashed)
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(newest)), whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		g := check(t, dir, records)
		// Every record whose bytes are whole must be there.
		var last uint64
		for p := range g.records {
			last = max(last, p.seq)
		}
		want := wholeRecords(t, newest, int64(size))
		if size < segmentDataStart {
			want = firstOf(t, newest) - 1
		}
		if last != want || uint64(len(g.records)) != want {
			t.Fatalf("cut at %d of %d: %d records up to %d, want %d", size, len(whole), len(g.records), last, want)
		}
	}
	t.Logf("cut at each of %d bytes", len(whole)+1)
}

func firstOf(t *testing.T, path string) uint64 {
	t.Helper()
	h, ok, err := readSegmentHeader(path)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	return h.first
}

// wholeRecords returns the sequence of the last record that ends within size.
func wholeRecords(t *testing.T, path string, size int64) uint64 {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last := firstOf(t, path) - 1
	for off := int64(segmentDataStart); off < int64(len(data)); {
		length := binary.LittleEndian.Uint32(data[off+4:])
		// The padding may be missing.
		if off+recordHeaderSize+int64(length) > size {
			break
		}
		last = binary.LittleEndian.Uint64(data[off+8:])
		off += frameSize(int(length))
	}
	return last
}

// TestBitFlips flips one bit in every byte of the segments, in turn, and in bytes of
// the state.
func TestBitFlips(t *testing.T) {
	crashed, closed, records, epoch := tinySpool(t)
	flips, costly := 0, 0
	for name, from := range map[string]string{"crashed": crashed, "closed": closed} {
		for _, path := range append(segmentFiles(t, from), filepath.Join(from, stateName)) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			step := 1
			if name == "closed" {
				step = 5
			}
			if strings.HasSuffix(path, stateName) {
				step = 61
			}
			for at := 0; at < len(data); at += step {
				dir := copyDir(t, from)
				bad := append([]byte(nil), data...)
				bad[at] ^= 1 << (at % 8)
				if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), bad, 0o600); err != nil {
					t.Fatal(err)
				}
				g := check(t, dir, records)
				if missing := len(records) - len(g.records); missing > 1 {
					t.Fatalf("%s: flip in byte %d of %s cost %d records; losses %v", name, at, filepath.Base(path), missing, g.losses[epoch])
				} else if missing == 1 {
					costly++
				}
				flips++
			}
		}
	}
	t.Logf("%d flips: %d cost one record, none more", flips, costly)
}

func TestDamageIsReportedOnce(t *testing.T) {
	_, dir, _, epoch := tinySpool(t)
	path := segmentFiles(t, dir)[0]
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The second record's payload.
	second := segmentDataStart + frameSize(len(payload(1)))
	data[second+recordHeaderSize] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	var damage []Damage
	cfg := tiny(dir)
	cfg.OnDamage = func(d Damage) { damage = append(damage, d) }
	s := mustOpen(t, cfg)
	for range 3 {
		g := newGot()
		s.Rewind()
		g.read(t, s, false)
		if l := g.losses[epoch]; len(l) != 1 || l[0] != (Loss{2, 2, CauseCorrupt}) {
			t.Fatalf("losses %v", l)
		}
	}
	want := Damage{Path: path, Offset: second, Bytes: frameSize(len(payload(2))), Epoch: epoch, First: 2, Last: 2}
	if len(damage) != 1 {
		t.Fatalf("reported %v", damage)
	}
	want.Reason = damage[0].Reason
	if damage[0] != want {
		t.Fatalf("reported %v, want %v", damage[0], want)
	}
	if st := s.Stats(); st.Damaged != 1 || st.Lost[CauseCorrupt] != 1 {
		t.Fatalf("stats %+v", st)
	}
}

// TestStateLost destroys both slots of the state: everything is delivered again
// under its own epoch, and new records get a new one.
func TestStateLost(t *testing.T) {
	for name, destroy := range map[string]func(path string) error{
		"zeros":   func(path string) error { return os.WriteFile(path, make([]byte, stateFileSize), 0o600) },
		"empty":   func(path string) error { return os.Truncate(path, 0) },
		"removed": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			_, dir, records, epoch := tinySpool(t)
			if err := destroy(filepath.Join(dir, stateName)); err != nil {
				t.Fatal(err)
			}
			g := check(t, dir, records)
			if len(g.records) != len(records) || len(g.losses) != 0 {
				t.Fatalf("%d records, losses %v", len(g.records), g.losses)
			}
			s := mustOpen(t, tiny(dir))
			if s.Epoch() == epoch {
				t.Fatal("the epoch is the same")
			}
			// Both epochs survive another reopen, and an ack across them.
			g = newGot()
			g.read(t, s, true)
			if len(g.records) != len(records)+3 {
				t.Fatalf("%d records", len(g.records))
			}
			mustClose(t, s)
			s = mustOpen(t, tiny(dir))
			if st := s.Stats(); st.Backlog != 0 || st.AckedEpoch != s.Epoch() || st.Segments != 1 {
				t.Fatalf("stats %+v", st)
			}
		})
	}
}

func TestSegmentsRemoved(t *testing.T) {
	_, dir, records, epoch := tinySpool(t)
	files := segmentFiles(t, dir)
	first, second := firstOf(t, files[1]), firstOf(t, files[2])
	newest := firstOf(t, files[len(files)-1])

	middle := copyDir(t, dir)
	os.Remove(filepath.Join(middle, filepath.Base(files[1])))
	g := check(t, middle, records)
	if l := g.losses[epoch]; len(l) != 1 || l[0] != (Loss{first, second - 1, CauseCorrupt}) {
		t.Fatalf("middle segment removed: losses %v, want %d..%d", l, first, second-1)
	}

	os.Remove(files[len(files)-1])
	g = check(t, dir, records)
	if l := g.losses[epoch]; len(l) != 1 || l[0] != (Loss{newest, tinyRecords, CauseCorrupt}) {
		t.Fatalf("newest segment removed: losses %v, want %d..%d", l, newest, tinyRecords)
	}
	s := mustOpen(t, tiny(dir))
	if s.Epoch() == epoch {
		t.Fatal("the newest segment is lost, and the epoch is the same")
	}
}

// TestQuarantine destroys both copies of segment headers.
func TestQuarantine(t *testing.T) {
	_, dir, records, epoch := tinySpool(t)
	files := segmentFiles(t, dir)
	data, err := os.ReadFile(files[1])
	if err != nil {
		t.Fatal(err)
	}
	copy(data, make([]byte, segmentDataStart))
	if err := os.WriteFile(files[1], data, 0o600); err != nil {
		t.Fatal(err)
	}
	first, last := firstOf(t, files[0]), firstOf(t, files[2])-1
	g := check(t, dir, records)
	if l := g.losses[epoch]; len(l) != 1 || l[0].Last != last || l[0].First <= first || l[0].Cause != CauseCorrupt {
		t.Fatalf("losses %v", l)
	}
	aside := strings.TrimSuffix(files[1], segmentSuffix) + quarantineSuffix
	if have, err := os.ReadFile(aside); err != nil || len(have) != len(data) {
		t.Fatalf("the damaged file was not kept: %v", err)
	}
	// It counts towards the bound, and goes first.
	s := mustOpen(t, tiny(dir))
	if st := s.Stats(); st.Quarantined != 1 || st.Bytes < int64(len(data)) {
		t.Fatalf("stats %+v", st)
	}
	run(t, s)
	until(t, "the quarantined file gives way", func() bool {
		_, _ = s.Append(make([]byte, 100))
		_, err := os.Stat(aside)
		return errors.Is(err, os.ErrNotExist)
	})
}

func TestVersion(t *testing.T) {
	_, dir, records, _ := tinySpool(t)
	bump := func(path string, at, size int) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for off := 0; off+size <= len(data) && off < 2*size; off += size {
			b := data[off : off+size]
			binary.LittleEndian.PutUint32(b[at:], formatVersion+1)
			binary.LittleEndian.PutUint32(b[size-4:], crc32.Checksum(b[:size-4], castagnoli))
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, change := range map[string]func(dir string){
		"segment": func(dir string) { bump(segmentFiles(t, dir)[1], 8, segmentHeaderSize) },
		"state":   func(dir string) { bump(filepath.Join(dir, stateName), 8, stateSlotSize) },
	} {
		newer := copyDir(t, dir)
		change(newer)
		before := dirBytes(t, newer)
		if _, err := Open(tiny(newer)); !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "version 2") {
			t.Errorf("%s: %v", name, err)
		}
		if dirBytes(t, newer) < before {
			t.Errorf("%s: files of the newer version were changed", name)
		}
	}
	check(t, dir, records)
}

func TestForeignFilesAreLeftAlone(t *testing.T) {
	_, dir, records, _ := tinySpool(t)
	for _, name := range []string{"README", "x.seg", "123.seg", "00000000000000000009.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", segmentPath(dir, 77)); err != nil {
		t.Fatal(err)
	}
	check(t, dir, records)
	if _, err := os.Lstat(segmentPath(dir, 77)); err != nil {
		t.Error(err)
	}
}
