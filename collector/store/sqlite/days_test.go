// SPDX-License-Identifier: Apache-2.0

package sqlite_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/collector/store/sqlite"
	"github.com/holdfast-project/holdfast/collector/store/storetest"
)

const (
	alerts  = apiv1.Lane_LANE_ALERTS
	records = apiv1.Lane_LANE_RECORDS
)

// clock is a clock that a test sets.
type clock struct{ now time.Time }

func (c *clock) time() time.Time { return c.now }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, cfg sqlite.Config) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), cfg)
	check(t, err)
	return s
}

// put stores one row with a body of some size in each lane.
func put(t *testing.T, s store.Store, sequence uint64, size int) {
	t.Helper()
	alert, event := storetest.Alert(int(sequence), "r", 4), storetest.Event(int(sequence), "exec")
	alert.GetAlert().Output = strings.Repeat("x", size)
	event.GetEvent().Process.Cwd = strings.Repeat("x", size)
	for lane, r := range map[apiv1.Lane]*apiv1.Record{alerts: alert, records: event} {
		_, err := s.Append(t.Context(), lane, []store.Batch{storetest.Batch("n", 1, sequence, r)})
		check(t, err)
	}
}

// files are the database files of a lane.
func files(t *testing.T, dir, lane string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, lane+"-*.db"))
	check(t, err)
	var names []string
	for _, p := range paths {
		names = append(names, filepath.Base(p))
	}
	return names
}

func rows(t *testing.T, s store.Store, lane apiv1.Lane) []uint64 {
	t.Helper()
	page, err := s.List(t.Context(), store.Query{Lane: lane, Limit: store.MaxLimit})
	check(t, err)
	var all []uint64
	for _, r := range page.Rows {
		all = append(all, r.Sequence)
	}
	return all
}

func TestDays(t *testing.T) {
	c := &clock{now: time.Date(2026, 3, 1, 23, 59, 0, 0, time.UTC)}
	cfg := sqlite.Config{Dir: t.TempDir(), Now: c.time, Alerts: sqlite.Bounds{Days: 2}}
	s := open(t, cfg)
	for i := range uint64(5) {
		put(t, s, i+1, 10)
		c.now = c.now.AddDate(0, 0, 1)
	}
	// A clock that goes back does not go back to an older file.
	c.now = c.now.AddDate(0, 0, -3)
	put(t, s, 6, 10)
	want := []string{"alerts-2026-03-01.db", "alerts-2026-03-02.db", "alerts-2026-03-03.db", "alerts-2026-03-04.db", "alerts-2026-03-05.db"}
	if got := files(t, cfg.Dir, "alerts"); !slices.Equal(got, want) {
		t.Errorf("files are %v, want %v", got, want)
	}
	if got := rows(t, s, alerts); !slices.Equal(got, []uint64{1, 2, 3, 4, 5, 6}) {
		t.Errorf("rows over the days are %v", got)
	}
	now := time.Date(2026, 3, 5, 12, 0, 0, 0, time.UTC)
	trimmed, err := s.Trim(t.Context(), alerts, now)
	check(t, err)
	if trimmed.Files != 2 || trimmed.Rows != 2 {
		t.Errorf("trimmed %+v, want two files of one row each", trimmed)
	}
	if got := files(t, cfg.Dir, "alerts"); !slices.Equal(got, want[2:]) {
		t.Errorf("files are %v, want %v", got, want[2:])
	}
	if trimmed, err := s.Trim(t.Context(), records, now); err != nil || trimmed.Files != 0 {
		t.Errorf("records that are kept for ever were trimmed: %+v %v", trimmed, err)
	}
	check(t, s.Close())
	s = open(t, cfg)
	defer s.Close()
	out, err := s.Append(t.Context(), alerts, []store.Batch{storetest.Batch("n", 1, 1, storetest.Alert(1, "r", 4))})
	check(t, err)
	if out[0].Duplicate != 1 {
		t.Errorf("a record whose day was dropped is stored again: %+v", out[0])
	}
	usage, err := s.Usage(t.Context(), alerts)
	check(t, err)
	if usage.Shed != 2 || usage.Rows != 4 || !usage.Oldest.Equal(time.Date(2026, 3, 3, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("usage is %+v", usage)
	}
}

func TestBytes(t *testing.T) {
	cfg := sqlite.Config{Dir: t.TempDir(), Records: sqlite.Bounds{Bytes: 4 << 20}}
	s := open(t, cfg)
	defer s.Close()
	ended := errors.New("ended")
	var page store.Page
	for i := range uint64(120) {
		put(t, s, i+1, 100<<10)
		if i == 10 {
			var err error
			page, err = s.List(t.Context(), store.Query{Lane: records, Limit: 2})
			check(t, err)
		}
	}
	before, err := s.Usage(t.Context(), records)
	check(t, err)
	if got := files(t, cfg.Dir, "records"); len(got) < 8 || !strings.HasSuffix(got[1], ".10.db") && !strings.Contains(strings.Join(got, " "), ".2.db") {
		t.Fatalf("%d bytes in files %v", before.Bytes, got)
	}
	trimmed, err := s.Trim(t.Context(), records, time.Now())
	check(t, err)
	after, err := s.Usage(t.Context(), records)
	check(t, err)
	if after.Bytes > 4<<20 || trimmed.Rows == 0 || after.Shed != trimmed.Rows || after.Rows+after.Shed != 120 {
		t.Errorf("before %+v, trimmed %+v, after %+v", before, trimmed, after)
	}
	got := rows(t, s, records)
	if len(got) != int(after.Rows) || got[len(got)-1] != 120 || got[0] != 120-after.Rows+1 {
		t.Errorf("rows after trimming are %v", got)
	}
	// A reader goes on behind what was dropped under it.
	next, err := s.List(t.Context(), store.Query{Lane: records, After: page.Next})
	check(t, err)
	if next.Rows[0].Sequence != got[0] {
		t.Errorf("a reader goes on with %d, want %d", next.Rows[0].Sequence, got[0])
	}
	err = s.Follow(t.Context(), records, store.Filter{}, page.Next, func(r store.Row) error {
		if r.Sequence != got[0] {
			t.Errorf("a follower goes on with %d, want %d", r.Sequence, got[0])
		}
		return ended
	})
	if !errors.Is(err, ended) {
		t.Error(err)
	}
}

func TestLeftovers(t *testing.T) {
	c := &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	cfg := sqlite.Config{Dir: t.TempDir(), Now: c.time}
	s := open(t, cfg)
	put(t, s, 1, 10)
	check(t, s.Close())
	for _, name := range []string{"alerts-2026-03-02.db.new", "alerts-2026-03-02.db.new-wal", "notes.txt", "alerts-x.db"} {
		check(t, os.WriteFile(filepath.Join(cfg.Dir, name), []byte("torn"), 0o600))
	}
	c.now = c.now.AddDate(0, 0, 1)
	s = open(t, cfg)
	defer s.Close()
	put(t, s, 2, 10)
	if got := rows(t, s, alerts); !slices.Equal(got, []uint64{1, 2}) {
		t.Errorf("rows are %v", got)
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, "notes.txt")); err != nil {
		t.Error("a file of somebody else was removed")
	}
}

// TestFull fills a disk. What was acknowledged stays, what was not can be stored once there is room, and dropping old
// records makes room for alerts.
func TestFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	dir := t.TempDir()
	check(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=12m"))
	t.Cleanup(func() { check(t, unix.Unmount(dir, 0)) })
	cfg := sqlite.Config{Dir: dir, Records: sqlite.Bounds{Bytes: 8 << 20, MinFree: 4 << 20}}
	s := open(t, cfg)
	defer func() { check(t, s.Close()) }()
	stored := uint64(0)
	var err error
	for stored < 1000 && err == nil {
		event := storetest.Event(1, "exec")
		event.GetEvent().Process.Cwd = strings.Repeat("x", 50<<10)
		if _, err = s.Append(t.Context(), records, []store.Batch{storetest.Batch("n", 1, stored+1, event)}); err == nil {
			stored++
		}
	}
	if !errors.Is(err, store.ErrFull) {
		t.Fatalf("after %d records the error is %v, want ErrFull", stored, err)
	}
	if got := rows(t, s, records); uint64(len(got)) != stored {
		t.Errorf("%d of %d stored records are there when the disk is full", len(got), stored)
	}
	_, err = s.Append(t.Context(), alerts, []store.Batch{big("n", 400<<10)})
	if !errors.Is(err, store.ErrFull) {
		t.Fatalf("an alert on the full disk: %v", err)
	}
	trimmed, err := s.Trim(t.Context(), records, time.Now())
	check(t, err)
	if trimmed.Rows == 0 {
		t.Fatal("nothing was dropped")
	}
	out, err := s.Append(t.Context(), alerts, []store.Batch{big("n", 400<<10)})
	check(t, err)
	if out[0].Stored != 1 {
		t.Errorf("the alert after making room: %+v", out[0])
	}
	out, err = s.Append(t.Context(), records, []store.Batch{storetest.Batch("n", 1, stored, storetest.Event(1, "exec"), storetest.Event(2, "exec"))})
	check(t, err)
	if out[0].Duplicate != 1 || out[0].Stored != 1 {
		t.Errorf("records after making room: %+v", out[0])
	}
	usage, err := s.Usage(t.Context(), records)
	check(t, err)
	if usage.Rows+usage.Shed != stored+1 {
		t.Errorf("%d kept and %d shed of %d", usage.Rows, usage.Shed, stored+1)
	}
}

func big(node string, size int) store.Batch {
	a := storetest.Alert(1, "r", 4)
	a.GetAlert().Output = strings.Repeat("x", size)
	return storetest.Batch(node, 1, 1, a)
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s, err := sqlite.Open(b.Context(), sqlite.Config{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			next := uint64(1)
			for b.Loop() {
				batch := store.Batch{Node: "n", Epoch: 1, Received: time.Now()}
				for range size {
					batch.Entries = append(batch.Entries, store.Entry{Sequence: next, Record: storetest.Alert(int(next), "Terminal shell", 4)})
					next++
				}
				if _, err := s.Append(b.Context(), alerts, []store.Batch{batch}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(next-1)/b.Elapsed().Seconds(), "alerts/s")
		})
	}
}

// TestPaths opens stores whose paths have a meaning in URIs, or none above the working directory.
func TestPaths(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, dir := range []string{"relative", "a b", "per%20cent", "what?mode=memory", "hash#tag", "plus+&=;", "ünï"} {
		s := open(t, sqlite.Config{Dir: dir})
		put(t, s, 1, 10)
		check(t, s.Close())
		if got := files(t, dir, "alerts"); len(got) != 1 {
			t.Errorf("%s has files %v", dir, got)
		}
		if _, err := os.Stat(filepath.Join(dir, "state.db")); err != nil {
			t.Error(err)
		}
	}
}
