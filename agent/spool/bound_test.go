// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pour appends n records, as fast as the disk takes them, and checks the bound on
// bytes all the way. It returns how many were refused.
func pour(t *testing.T, s *Spool, n int) (refused int) {
	t.Helper()
	for i := range n {
		_, err := s.Append(payload(i))
		if errors.Is(err, ErrFull) {
			refused++
		} else if err != nil {
			t.Fatal(err)
		}
		if i%50 == 49 {
			if err := s.Sync(deadline(t)); err != nil {
				t.Fatal(err)
			}
			if have := dirBytes(t, s.cfg.Dir); have > s.cfg.MaxBytes {
				t.Fatalf("%d bytes on disk, bound %d", have, s.cfg.MaxBytes)
			}
		}
	}
	mustSync(t, s)
	return refused
}

// account checks that each of n appended records was received or reported lost,
// with the causes that the counters have.
func account(t *testing.T, s *Spool, g *got, n int) {
	t.Helper()
	lost := g.lost()
	var sum uint64
	for _, l := range lost {
		sum += l
	}
	if uint64(len(g.records))+sum != uint64(n) {
		t.Errorf("%d records and %d lost of %d", len(g.records), sum, n)
	}
	if st := s.Stats(); lost != st.Lost {
		t.Errorf("received losses %v, counted %v", lost, st.Lost)
	}
	t.Logf("%d records, lost by cause %v", len(g.records), lost)
}

func TestDropOldest(t *testing.T) {
	s := mustOpen(t, small(t.TempDir()))
	run(t, s)
	refused := pour(t, s, 3000)
	until(t, "evicted segments are removed and counted", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.doomed) == 0 && s.n.appended == s.n.lost[CauseEvicted]+s.durable()-s.holes[len(s.holes)-1].last
	})
	g := newGot()
	g.read(t, s, true)
	account(t, s, g, 3000)
	if refused != 0 || len(g.losses[s.Epoch()]) == 0 || g.losses[s.Epoch()][0].First != 1 {
		t.Errorf("refused %d, losses %v", refused, g.losses)
	}
	// The newest are there.
	if g.records[pos{s.Epoch(), 3000}] != string(payload(2999)) {
		t.Error("the newest record is missing")
	}
}

// TestDropOldestSparesFlight reads some batches without an acknowledgement: what
// they hold must not be given up, and the loss lies behind them.
func TestDropOldestSparesFlight(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, small(dir))
	stop := run(t, s)
	pour(t, s, 300)
	var b Batch
	ctx := deadline(t)
	g := newGot()
	for range 3 {
		if err := s.Next(ctx, &b, 10, 1<<20); err != nil {
			t.Fatal(err)
		}
		if err := g.take(&b); err != nil {
			t.Fatal(err)
		}
	}
	pour(t, s, 2700)
	if err := s.Ack(b.Epoch, 10); err != nil {
		t.Fatal(err)
	}
	g.read(t, s, false)
	stop()
	account(t, s, g, 3000)
	l := g.losses[s.Epoch()]
	if len(l) != 1 || l[0].First <= 30 || l[0].Cause != CauseEvicted {
		t.Fatalf("losses %v", l)
	}
	// Everything is in flight now: nothing can be given up, so new ones are refused.
	stop = run(t, s)
	defer stop()
	if refused := pour(t, s, 2000); refused == 0 {
		t.Error("records in flight were given up")
	}
	until(t, "the last refusals are noted", func() bool { return s.Stats().Durable == 5000 })
	g.read(t, s, true)
	account(t, s, g, 5000)
	// The loss in the middle keeps its cause over a reopen.
	stop()
	mustClose(t, s)
	s = mustOpen(t, small(dir))
	g = newGot()
	g.read(t, s, false)
	if len(g.records) != 0 || len(g.losses) != 0 {
		t.Errorf("after everything was acknowledged: %d records, %v", len(g.records), g.losses)
	}
}

func TestLossKeepsItsCauseOverReopen(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, small(dir))
	stop := run(t, s)
	pour(t, s, 2000)
	_, err := s.Append(make([]byte, 2000))
	if !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
	stop()
	mustClose(t, s)
	want := s.Stats().Lost
	s = mustOpen(t, small(dir))
	g := newGot()
	g.read(t, s, false)
	if lost := g.lost(); lost != want || want[CauseEvicted] == 0 || want[CauseTooLarge] != 1 {
		t.Fatalf("losses %v, counted before %v", lost, want)
	}
	// The refused sequence is not used again.
	if seq, err := s.Append(nil); err != nil || seq != 2002 {
		t.Fatalf("sequence %d, %v", seq, err)
	}
	run(t, s)
	mustSync(t, s)
	g.read(t, s, true)
	if g.last.seq != 2002 || g.lost() != want {
		t.Fatalf("last %d, losses %v", g.last.seq, g.lost())
	}
}

func TestDropNewest(t *testing.T) {
	cfg := small(t.TempDir())
	cfg.Policy = DropNewest
	s := mustOpen(t, cfg)
	run(t, s)
	refused := pour(t, s, 2000)
	g := newGot()
	g.read(t, s, false)
	if refused == 0 || g.records[pos{s.Epoch(), 1}] != string(payload(0)) {
		t.Fatalf("refused %d", refused)
	}
	// Losses in between: room comes and goes.
	total := 2000
	for range 10 {
		if err := s.Ack(g.last.epoch, g.last.seq); err != nil {
			t.Fatal(err)
		}
		until(t, "acknowledged segments are removed", func() bool { return s.Stats().Segments == 1 })
		refused += pour(t, s, 800)
		total += 800
		until(t, "the last refusals are noted", func() bool { return s.Stats().Durable == uint64(total) })
		g.read(t, s, false)
	}
	account(t, s, g, total)
	if lost := s.Stats().Lost[CauseFull]; lost != uint64(refused) {
		t.Errorf("refused %d, counted %d", refused, lost)
	}
	if len(g.losses[s.Epoch()]) < 5 {
		t.Errorf("losses %v", g.losses)
	}
}

// mountTmpfs mounts a tmpfs of the given size, or skips.
func mountTmpfs(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("spooltest", dir, "tmpfs", 0, "size="+size)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		t.Skipf("cannot mount a tmpfs: %v; needs CAP_SYS_ADMIN", err)
	}
	if err != nil {
		t.Fatalf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// fill takes all space that is left.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for b := make([]byte, 4096); ; {
		if _, err := f.Write(b); errors.Is(err, unix.ENOSPC) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// TestFullDisk fills a real file system: what was durable stays, what fits in
// memory is written when there is space again, the rest is counted; then all goes
// on without a restart.
func TestFullDisk(t *testing.T) {
	mount := mountTmpfs(t, "1m")
	cfg := small(mount + "/spool")
	cfg.MaxBytes, cfg.SegmentBytes = 16<<20, 64<<10
	s := mustOpen(t, cfg)
	stop := run(t, s)
	pour(t, s, 500)
	fill(t, mount+"/filler")

	other := cfg
	other.Dir = mount + "/other"
	if _, err := Open(other); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a new spool on a full disk: %v", err)
	}

	appended := 500
	var full error
	until(t, "the memory buffer fills up", func() bool {
		_, full = s.Append(payload(appended))
		appended++
		return full != nil
	})
	until(t, "the error is known", func() bool { return s.Stats().DiskErr != nil })
	p := payload(appended)
	if n := testing.AllocsPerRun(99, func() { _, full = s.Append(p) }); n != 0 {
		t.Errorf("a refusal allocates %v times", n)
	}
	appended += 100
	if !errors.Is(full, ErrFull) || !errors.Is(full, unix.ENOSPC) {
		t.Errorf("refusal: %v", full)
	}
	var de *DiskError
	if err := s.Stats().DiskErr; !errors.As(err, &de) || !de.Full() {
		t.Errorf("disk error: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	seq, err := s.AppendSync(ctx, nil)
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("append and wait: %v", err)
	}
	if seq != 0 { // queued after all: an empty record fits where a larger one does not
		appended++
	}
	// What is on disk can be read, and acknowledged for good, while the disk is full.
	g := newGot()
	g.read(t, s, false)
	if len(g.records) < 500 {
		t.Errorf("%d records readable", len(g.records))
	}
	if err := s.Ack(s.Epoch(), 100); err != nil {
		t.Fatal(err)
	}
	until(t, "the acknowledgement is persisted", func() bool {
		return stateOnDisk(t, cfg.Dir, func(st state) bool { return st.ackSeq == 100 })
	})

	if err := os.Remove(mount + "/filler"); err != nil {
		t.Fatal(err)
	}
	mustClose(t, mustOpen(t, other)) // what the refused Open left does not matter
	until(t, "the disk is used again", func() bool { return s.Stats().DiskErr == nil && s.Stats().Buffered == 0 })
	pour(t, s, 100)
	appended += 100
	g.read(t, s, false)
	account(t, s, g, appended)
	st := s.Stats()
	if st.Lost[CauseDisk]+st.Lost[CauseBacklog] == 0 || st.DiskErrors == 0 || st.Lost[CauseCorrupt] != 0 {
		t.Errorf("stats %+v", st)
	}
	stop()
	mustClose(t, s)
	s = mustOpen(t, cfg)
	again := newGot()
	again.read(t, s, false)
	if len(again.records) != len(g.records)-100 {
		t.Errorf("%d records after reopen, want %d", len(again.records), len(g.records)-100)
	}
}

// TestFullDiskCrash loses the process while the disk is full: what was refused and
// what was only in memory is reported when there is space again.
func TestFullDiskCrash(t *testing.T) {
	mount := mountTmpfs(t, "1m")
	cfg := small(mount + "/spool")
	cfg.MaxBytes = 16 << 20
	s := mustOpen(t, cfg)
	run(t, s)
	pour(t, s, 200)
	fill(t, mount+"/filler")
	appended := 200
	until(t, "records are refused by the disk", func() bool {
		_, err := s.Append(payload(appended))
		appended++
		return errors.Is(err, unix.ENOSPC)
	})
	until(t, "the refusals are noted on disk", func() bool {
		next := s.Stats().Next
		return stateOnDisk(t, cfg.Dir, func(st state) bool { return st.assigned == next-1 })
	})
	// As after kill -9: the lock is the kernel's, the files are as they are.
	crashed := copyDir(t, cfg.Dir)
	before := s.Stats()
	// The spool that was left behind recovers as well.
	if err := os.Remove(mount + "/filler"); err != nil {
		t.Fatal(err)
	}
	until(t, "the disk is used again", func() bool { return s.Stats().Buffered == 0 })

	cfg.Dir = crashed
	s = mustOpen(t, cfg)
	g := newGot()
	g.read(t, s, false)
	lost := g.lost()
	if len(g.records)+int(lost[CauseCrash]+lost[CauseDisk]+lost[CauseBacklog]) != appended {
		t.Fatalf("%d records, lost %v, of %d", len(g.records), lost, appended)
	}
	if lost[CauseCrash] != before.Buffered || lost[CauseDisk] != before.Lost[CauseDisk] {
		t.Errorf("lost %v, want %d by the crash, and as before %v", lost, before.Buffered, before.Lost)
	}
	if seq, err := s.Append(nil); err != nil || seq != uint64(appended)+1 {
		t.Errorf("next sequence %d, %v; want %d", seq, err, appended+1)
	}
}

// stateOnDisk reports whether one of the slots of the state fulfils cond.
func stateOnDisk(t *testing.T, dir string, cond func(state) bool) bool {
	t.Helper()
	b, err := os.ReadFile(dir + "/" + stateName)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if st, err := parseState(b[i*stateSlotSize:][:stateSlotSize]); err == nil && cond(st) {
			return true
		}
	}
	return false
}

// TestStateRefused gives the state file no space at all, as a file system that
// copies on write may: acknowledged segments still make room.
func TestStateRefused(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, small(dir))
	stop := run(t, s)
	pour(t, s, 400)
	g := newGot()
	g.read(t, s, false)
	stop()
	before := len(segmentFiles(t, dir))
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	good := s.state.file
	s.state.file = full
	if err := s.Ack(s.Epoch(), 399); err != nil {
		t.Fatal(err)
	}
	stop = run(t, s)
	until(t, "acknowledged segments are removed", func() bool { return len(segmentFiles(t, dir)) < before })
	until(t, "the error is known", func() bool { return errors.Is(s.Stats().DiskErr, unix.ENOSPC) })
	stop()
	s.state.file = good
	run(t, s)
	until(t, "the state is written again", func() bool { return s.Stats().DiskErr == nil })
	pour(t, s, 10)
	g.read(t, s, true)
	account(t, s, g, 410)
}
