// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/agent/spool"
)

const (
	spoolPayload = 512
	spoolRound   = 2000 // records in a round of one contender
	spoolRounds  = 7
)

// BenchmarkSpool compares ways to make records durable, on the disk of the
// temporary directory. The contenders take turns within each round, so that what
// else the machine does strikes all of them; the figures are medians of rounds and
// ratios of medians. Absolute times say more about the disk than about the spool.
func BenchmarkSpool(b *testing.B) {
	dir := b.TempDir()
	payload := make([]byte, spoolPayload)
	plain := newPlainFile(b, filepath.Join(dir, "plain"))
	s, err := spool.Open(spool.Config{Dir: filepath.Join(dir, "spool"), MaxBytes: 64 << 20, SyncEvery: 5 * time.Millisecond})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	}()

	contenders := []struct {
		name string
		run  func() error
	}{
		{"plain write, fsync per 100", func() error { return plain.write(payload, 100) }},
		{"plain write, fsync per 1", func() error { return plain.write(payload, 1) }},
		{"Append, then Sync", func() error { return appendAll(ctx, s, payload) }},
		{"AppendSync by 64 callers", func() error { return appendSync(ctx, s, payload, 64) }},
		{"AppendSync by 1 caller", func() error { return appendSync(ctx, s, payload, 1) }},
		{"Next and Ack", func() error { return readBack(ctx, s) }},
	}
	b.ResetTimer()
	for b.Loop() {
		times := make([][]float64, len(contenders))
		for range spoolRounds {
			// Empty the queue, so that Next has one round to read.
			if err := readBack(ctx, s); err != nil {
				b.Fatal(err)
			}
			for i, c := range contenders {
				start := time.Now()
				if err := c.run(); err != nil {
					b.Fatalf("%s: %v", c.name, err)
				}
				times[i] = append(times[i], float64(time.Since(start))/1e3)
			}
		}
		base := median(times[0]) / spoolRound
		b.Logf("%-28s %10s %8s", "", "µs/record", "ratio")
		for i, c := range contenders {
			n := float64(spoolRound)
			if i == len(contenders)-1 {
				n *= 3 // it reads what the three before it appended
			}
			us := median(times[i]) / n
			b.Logf("%-28s %10.2f %8.3f", c.name, us, us/base)
		}
	}
	st := s.Stats()
	b.Logf("%.1f records in a sync", float64(st.Written)/float64(st.Syncs))
}

// BenchmarkSpoolAppend is the hot path alone: the cost to the detection.
func BenchmarkSpoolAppend(b *testing.B) {
	s, err := spool.Open(spool.Config{Dir: filepath.Join(b.TempDir(), "spool"), BufferBytes: 32 << 20})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	payload := make([]byte, spoolPayload)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := s.Append(payload); err != nil {
			b.Fatal(err)
		}
		if i%10_000 == 9_999 {
			b.StopTimer()
			if err := s.Sync(ctx); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	}
	cancel()
	if err := <-done; err != nil {
		b.Error(err)
	}
	if err := s.Close(); err != nil {
		b.Error(err)
	}
}

func appendAll(ctx context.Context, s *spool.Spool, payload []byte) error {
	for range spoolRound {
		if _, err := s.Append(payload); err != nil {
			return err
		}
	}
	return s.Sync(ctx)
}

func appendSync(ctx context.Context, s *spool.Spool, payload []byte, callers int) error {
	var wg sync.WaitGroup
	errs := make(chan error, callers)
	for c := range callers {
		wg.Go(func() {
			for i := c; i < spoolRound; i += callers {
				if _, err := s.AppendSync(ctx, payload); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// readBack reads and acknowledges everything that is durable.
func readBack(ctx context.Context, s *spool.Spool) error {
	var batch spool.Batch
	for s.Stats().Backlog > 0 {
		if err := s.Next(ctx, &batch, 500, 1<<20); err != nil {
			return err
		}
		if err := s.Ack(batch.Epoch, batch.Last); err != nil {
			return err
		}
	}
	return nil
}

// plainFile is what one would write without a spool: no checksums, no bound, no
// reader, and up to 100 records at stake.
type plainFile struct {
	f *os.File
	w *bufio.Writer
}

func newPlainFile(b *testing.B, path string) *plainFile {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	return &plainFile{f: f, w: bufio.NewWriterSize(f, 1<<20)}
}

func (p *plainFile) write(payload []byte, per int) error {
	for i := 1; i <= spoolRound; i++ {
		if _, err := p.w.Write(payload); err != nil {
			return err
		}
		if i%per != 0 {
			continue
		}
		if err := p.w.Flush(); err != nil {
			return err
		}
		if err := p.f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
