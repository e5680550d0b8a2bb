// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"os"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestMemoryIsGivenBack fills a buffer, and looks at what of it is in memory after it was written.
func TestMemoryIsGivenBack(t *testing.T) {
	cfg := small(t.TempDir())
	cfg.MaxBytes, cfg.SegmentBytes, cfg.BufferBytes = 64<<20, 8<<20, 4<<20
	s := mustOpen(t, cfg)
	if n := taken(t, s.pending.data) + taken(t, s.writing.data); n != 0 {
		t.Errorf("%d bytes are taken before the first record", n)
	}
	const records = 20000
	appendN(t, s, 1, records)
	filled := len(s.pending.data)
	if filled < 2*keptBytes {
		t.Fatalf("the buffer has %d bytes, which shows nothing", filled)
	}
	if n := taken(t, s.pending.data); n < filled {
		t.Fatalf("%d bytes are taken for %d", n, filled)
	}
	stop := run(t, s)
	mustSync(t, s)
	stop()
	if n := taken(t, s.pending.data) + taken(t, s.writing.data); n > 2*keptBytes {
		t.Errorf("%d bytes are still taken after the buffer was written, at most %d are kept of each", n, keptBytes)
	}
	if got := s.Stats().Backlog; got != records {
		t.Errorf("%d records are durable, not %d", got, records)
	}
}

// TestMemoryIsNotOfTheHeap opens a spool with large buffers, which must not let the heap grow by a share of them.
func TestMemoryIsNotOfTheHeap(t *testing.T) {
	cfg := small(t.TempDir())
	cfg.BufferBytes = 64 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	mustOpen(t, cfg)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > uint64(cfg.BufferBytes) {
		t.Errorf("%d bytes of the heap were allocated", n)
	}
}

// taken is how many bytes of a buffer are in memory, in whole pages.
func taken(t *testing.T, data []byte) int {
	t.Helper()
	data = data[:cap(data)]
	page := os.Getpagesize()
	pages := make([]byte, (len(data)+page-1)/page)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)), uintptr(unsafe.Pointer(&pages[0]))); errno != 0 {
		t.Fatalf("mincore: %v", errno)
	}
	n := 0
	for _, p := range pages {
		n += int(p&1) * page
	}
	return n
}
