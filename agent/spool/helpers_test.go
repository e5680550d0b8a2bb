// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

const testDeadline = 20 * time.Second

// small is a configuration under which little data has large effects.
func small(dir string) Config {
	return Config{
		Dir: dir, MaxBytes: 64 << 10, SegmentBytes: 8 << 10, MaxRecordBytes: 1 << 10, BufferBytes: 48 << 10,
		SyncEvery: time.Millisecond, StateEvery: time.Millisecond, RetryMax: 100 * time.Millisecond,
	}
}

func mustOpen(t testing.TB, cfg Config) *Spool {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, ErrClosed) && !t.Failed() {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func mustClose(t testing.TB, s *Spool) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

// run starts Run and returns what ends it.
func run(t testing.TB, s *Spool) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testDeadline)
	t.Cleanup(cancel)
	return ctx
}

// until asks for a condition each millisecond, since some of them append, so that what is waited for comes of the asking.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(testDeadline); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, testDeadline)
		}
	}
}

func payload(i int) []byte {
	return fmt.Appendf(nil, "record %06d %s", i, filler[:i%61])
}

const filler = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// appendN appends records first..last, whose payload is made from their number,
// and checks that they get the sequences that start at seq.
func appendN(t testing.TB, s *Spool, first, last int) {
	t.Helper()
	for i := first; i <= last; i++ {
		if _, err := s.Append(payload(i)); err != nil {
			t.Fatalf("append %d: %v", i, err)
		}
	}
}

func mustSync(t testing.TB, s *Spool) {
	t.Helper()
	if err := s.Sync(deadline(t)); err != nil {
		t.Fatalf("sync: %v", err)
	}
}

// got is what a receiver has: it checks on the way that batches are whole.
type got struct {
	records map[pos]string
	losses  map[uint64][]Loss
	last    pos
	twice   int
}

func newGot() *got { return &got{records: map[pos]string{}, losses: map[uint64][]Loss{}} }

// take checks the invariant of Batch: each sequence once, as record or in a loss.
func (g *got) take(b *Batch) error {
	if b.Last < b.First {
		return fmt.Errorf("batch %d..%d is empty", b.First, b.Last)
	}
	r, l := 0, 0
	for seq := b.First; seq <= b.Last; {
		switch {
		case r < len(b.Records) && b.Records[r].Seq == seq:
			p := pos{b.Epoch, seq}
			if old, ok := g.records[p]; ok {
				g.twice++
				if old != string(b.Records[r].Payload) {
					return fmt.Errorf("sequence %d was used twice: %q, %q", seq, old, b.Records[r].Payload)
				}
			}
			g.records[p] = string(b.Records[r].Payload)
			r++
			seq++
		case l < len(b.Losses) && b.Losses[l].First == seq && b.Losses[l].Last >= seq:
			if c := b.Losses[l].Cause; c == 0 || c >= NumCauses {
				return fmt.Errorf("loss %+v has no cause", b.Losses[l])
			}
			g.losses[b.Epoch] = append(g.losses[b.Epoch], b.Losses[l])
			seq = b.Losses[l].Last + 1
			l++
		default:
			return fmt.Errorf("batch %d..%d: sequence %d is neither record nor loss: losses %v", b.First, b.Last, seq, b.Losses)
		}
	}
	if r != len(b.Records) || l != len(b.Losses) {
		return fmt.Errorf("batch %d..%d has records or losses out of order", b.First, b.Last)
	}
	if g.last.epoch == b.Epoch && g.last.seq+1 != b.First {
		return fmt.Errorf("batch starts at %d after %d", b.First, g.last.seq)
	}
	if g.last.epoch != b.Epoch && g.last.epoch != 0 && b.First != 1 {
		return fmt.Errorf("epoch %x starts at %d", b.Epoch, b.First)
	}
	g.last = pos{b.Epoch, b.Last}
	return nil
}

// lost sums the losses of all epochs by cause.
func (g *got) lost() (by [NumCauses]uint64) {
	for _, l := range g.losses {
		for _, l := range l {
			by[l.Cause] += l.Last - l.First + 1
		}
	}
	return by
}

// read takes batches until everything durable is read, and acknowledges if asked.
func (g *got) read(t testing.TB, s *Spool, ack bool) {
	t.Helper()
	var b Batch
	for {
		if s.caughtUp() {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), testDeadline)
		err := s.Next(ctx, &b, 7, 500)
		cancel()
		if err != nil {
			t.Fatalf("next: %v; %+v", err, s.Stats())
		}
		if err := g.take(&b); err != nil {
			t.Fatal(err)
		}
		if ack {
			if err := s.Ack(b.Epoch, b.Last); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (s *Spool) caughtUp() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, more := s.plan()
	return !more
}

// segmentFiles returns the paths of the segments, oldest first.
func segmentFiles(t testing.TB, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// dirBytes is the sum of the sizes of all files.
func dirBytes(t testing.TB, dir string) (sum int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		sum += info.Size()
	}
	return sum
}

// copyDir copies a spool, to memory if it can: tests that open thousands of copies
// would otherwise wait for the disk most of the time.
func copyDir(t testing.TB, from string) string {
	t.Helper()
	to, err := os.MkdirTemp("/dev/shm", "spool")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		to = t.TempDir()
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(to); err != nil {
			t.Error(err)
		}
	})
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}
