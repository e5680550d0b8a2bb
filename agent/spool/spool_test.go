// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestAppendReadAckReopen(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, small(dir))
	stop := run(t, s)
	for i := 1; i <= 300; i++ {
		seq, err := s.Append(payload(i))
		if err != nil || seq != uint64(i) {
			t.Fatalf("append %d: sequence %d, error %v", i, seq, err)
		}
	}
	mustSync(t, s)
	g := newGot()
	g.read(t, s, false)
	if len(g.records) != 300 || len(g.losses) != 0 {
		t.Fatalf("read %d records, losses %v", len(g.records), g.losses)
	}
	for i := 1; i <= 300; i++ {
		if have := g.records[pos{s.Epoch(), uint64(i)}]; have != string(payload(i)) {
			t.Fatalf("record %d is %q", i, have)
		}
	}
	epoch := s.Epoch()
	before := len(segmentFiles(t, dir))
	if err := s.Ack(epoch, 200); err != nil {
		t.Fatal(err)
	}
	until(t, "acknowledged segments are removed", func() bool { return len(segmentFiles(t, dir)) < before })
	stop()
	mustClose(t, s)

	s = mustOpen(t, small(dir))
	if s.Epoch() != epoch {
		t.Fatal("epoch changed on a clean reopen")
	}
	if seq, err := s.Append(payload(301)); err != nil || seq != 301 {
		t.Fatalf("append after reopen: %d, %v", seq, err)
	}
	run(t, s)
	mustSync(t, s)
	g = newGot()
	g.read(t, s, true)
	if len(g.records) != 101 || len(g.losses) != 0 {
		t.Fatalf("after reopen: %d records, losses %v; want 201..301", len(g.records), g.losses)
	}
	if st := s.Stats(); st.Backlog != 0 || st.LostTotal() != 0 || st.Acked != 301 || st.Damaged != 0 {
		t.Fatalf("stats: %+v", st)
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	cfg := small(t.TempDir())
	cfg.MaxBytes, cfg.SegmentBytes, cfg.BufferBytes = 64<<20, 8<<20, 8<<20
	s := mustOpen(t, cfg)
	p := make([]byte, 500)
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := s.Append(p); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("append allocates %v times", n)
	}
	run(t, s)
	mustSync(t, s)
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := s.Append(p); err != nil {
			t.Fatal(err)
		}
	}); n >= 1 {
		t.Errorf("append beside Run allocates %v times", n)
	}
}

func TestReadAllocatesNothing(t *testing.T) {
	cfg := small(t.TempDir())
	cfg.MaxBytes, cfg.SegmentBytes = 64<<20, 8<<20
	s := mustOpen(t, cfg)
	run(t, s)
	for range 10 {
		appendN(t, s, 1, 250)
		mustSync(t, s)
	}
	var b Batch
	ctx := deadline(t)
	next := func() {
		if err := s.Next(ctx, &b, 10, 1<<20); err != nil {
			t.Fatal(err)
		}
		if err := s.Ack(b.Epoch, b.Last); err != nil {
			t.Fatal(err)
		}
	}
	next()
	if n := testing.AllocsPerRun(200, next); n >= 1 {
		t.Errorf("Next allocates %v times", n)
	}
}

func TestLimits(t *testing.T) {
	s := mustOpen(t, small(t.TempDir()))
	run(t, s)
	ctx := deadline(t)
	if _, err := s.AppendSync(ctx, nil); err != nil {
		t.Fatalf("empty record: %v", err)
	}
	if seq, err := s.Append(make([]byte, 1025)); !errors.Is(err, ErrTooLarge) || seq != 2 {
		t.Fatalf("too large: sequence %d, %v", seq, err)
	}
	if _, err := s.AppendSync(ctx, bytes.Repeat([]byte{7}, 1024)); err != nil {
		t.Fatalf("largest record: %v", err)
	}
	g := newGot()
	g.read(t, s, true)
	want := []Loss{{First: 2, Last: 2, Cause: CauseTooLarge}}
	if l := g.losses[s.Epoch()]; len(g.records) != 2 || len(l) != 1 || l[0] != want[0] {
		t.Fatalf("%d records, losses %v; want %v", len(g.records), l, want)
	}
	var b Batch
	if err := s.Next(ctx, &b, 0, 1); err == nil {
		t.Error("a limit of no records is accepted")
	}
	if err := s.Ack(s.Epoch(), 99); !errors.Is(err, ErrAckRange) {
		t.Errorf("ack of what was not sent: %v", err)
	}
	if err := s.Ack(12345, 1); !errors.Is(err, ErrAckRange) {
		t.Errorf("ack of an unknown epoch: %v", err)
	}
}

func TestConfigErrorsAllAtOnce(t *testing.T) {
	_, err := Open(Config{MaxBytes: 1 << 20, SegmentBytes: 1 << 20, MaxRecordBytes: 4 << 20, BufferBytes: 10, Policy: 9})
	for _, want := range []string{"Dir is empty", "SegmentBytes", "BufferBytes", "MaxBytes", "Policy"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error does not name %s: %v", want, err)
		}
	}
	if _, err := Open(Config{Dir: t.TempDir() + "/a/b"}); err == nil {
		t.Error("a directory without a parent is created")
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, small(dir))
	_, err := Open(small(dir))
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Fatalf("second open: %v", err)
	}
	// Another process, too.
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=open", childDirEnv+"="+dir)
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), ErrLocked.Error()) {
		t.Fatalf("open by another process: %v: %s", err, out)
	}
	mustClose(t, s)
	s = mustOpen(t, small(dir))
	mustClose(t, s)
	if err := s.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("second close: %v", err)
	}
	if _, err := s.Append(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
	if err := s.Run(deadline(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("run after close: %v", err)
	}
}

func TestCloseWakesEverybody(t *testing.T) {
	s := mustOpen(t, small(t.TempDir()))
	errs := make(chan error, 2)
	go func() { var b Batch; errs <- s.Next(context.Background(), &b, 1, 1) }()
	go func() { errs <- s.Wait(context.Background(), 5) }()
	until(t, "both wait", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.watched && s.waiters == 1
	})
	mustClose(t, s)
	for range 2 {
		if err := <-errs; !errors.Is(err, ErrClosed) {
			t.Errorf("error %v", err)
		}
	}
}

func TestRunAndCloseExclude(t *testing.T) {
	s := mustOpen(t, small(t.TempDir()))
	stop := run(t, s)
	if _, err := s.AppendSync(deadline(t), nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(deadline(t)); !errors.Is(err, ErrRunning) {
		t.Errorf("second run: %v", err)
	}
	if err := s.Close(); !errors.Is(err, ErrRunning) {
		t.Errorf("close beside run: %v", err)
	}
	stop()
}

func TestCloseWritesWhatIsLeft(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, small(dir))
	appendN(t, s, 1, 50)
	mustClose(t, s)
	s = mustOpen(t, small(dir))
	g := newGot()
	g.read(t, s, false)
	if len(g.records) != 50 {
		t.Fatalf("%d records", len(g.records))
	}
}

func TestRewind(t *testing.T) {
	s := mustOpen(t, small(t.TempDir()))
	run(t, s)
	appendN(t, s, 1, 100)
	mustSync(t, s)
	var b Batch
	ctx := deadline(t)
	next := func(first, last uint64) {
		t.Helper()
		if err := s.Next(ctx, &b, 10, 1<<20); err != nil {
			t.Fatal(err)
		}
		if b.First != first || b.Last != last {
			t.Fatalf("batch %d..%d, want %d..%d", b.First, b.Last, first, last)
		}
	}
	next(1, 10)
	next(11, 20)
	if err := s.Ack(b.Epoch, 10); err != nil {
		t.Fatal(err)
	}
	s.Rewind()
	next(11, 20)
	next(21, 30)
	s.Rewind()
	if err := s.Ack(b.Epoch, 25); err != nil { // from the former connection
		t.Fatal(err)
	}
	next(26, 35)
	if err := s.Ack(b.Epoch, 12); err != nil { // older than what is known
		t.Fatal(err)
	}
	s.Rewind()
	next(26, 35)
}

// appendAny appends p, again and again while the spool is full.
func appendAny(s *Spool, p []byte, wait bool) (seq uint64, err error) {
	for {
		if wait {
			seq, err = s.AppendSync(context.Background(), p)
		} else {
			seq, err = s.Append(p)
		}
		if !errors.Is(err, ErrFull) {
			return seq, err
		}
		time.Sleep(time.Millisecond)
	}
}

func TestConcurrentAppendersAndReader(t *testing.T) {
	const writers, each = 8, 2000
	cfg := small(t.TempDir())
	cfg.MaxBytes = 4 << 20
	s := mustOpen(t, cfg)
	run(t, s)
	var wg sync.WaitGroup
	var mu sync.Mutex
	sent := map[uint64]string{}
	for w := range writers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range each {
				p := fmt.Appendf(nil, "%d/%d %s", w, i, filler[:rnd.IntN(60)])
				seq, err := appendAny(s, p, i%20 == 0)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				sent[seq] = string(p)
				mu.Unlock()
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	g, rnd := newGot(), rand.New(rand.NewPCG(1, 2))
	var b Batch
	for finished := false; !finished; {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		err := s.Next(ctx, &b, 1+rnd.IntN(200), 4096)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			select {
			case <-done:
				finished = s.Stats().Buffered == 0 && s.caughtUp()
			default:
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := g.take(&b); err != nil {
			t.Fatal(err)
		}
		switch rnd.IntN(20) {
		case 0:
			g.last = pos{}
			s.Rewind()
		case 1, 2, 3, 4, 5:
			if err := s.Ack(b.Epoch, b.Last); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(g.records) != writers*each || len(sent) != writers*each {
		t.Fatalf("%d records received of %d", len(g.records), len(sent))
	}
	for seq, p := range sent {
		if g.records[pos{s.Epoch(), seq}] != p {
			t.Fatalf("sequence %d: received %q, sent %q", seq, g.records[pos{s.Epoch(), seq}], p)
		}
	}
	st := s.Stats()
	if st.Written != writers*each || st.Syncs >= st.Written {
		t.Errorf("%d records in %d syncs", st.Written, st.Syncs)
	}
	t.Logf("%d records in %d syncs, %d delivered, refused and retried: %d", st.Written, st.Syncs, st.Delivered, st.LostTotal())
}
