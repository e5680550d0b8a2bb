// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// keptBytes is what a buffer keeps of the memory that it has used, a multiple of every page size.
const keptBytes = 256 << 10

// reserve sets memory aside, which is taken as it is used. It is outside of Go's heap: there, all of it would count as
// live, and the heap would grow by a share of that before garbage is collected.
func reserve(size int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("set %d bytes of memory aside: %w", size, err)
	}
	// With huge pages the first byte would take two megabytes. A kernel that has none refuses, which is as good.
	_ = unix.Madvise(b, unix.MADV_NOHUGEPAGE)
	return b[:0], nil
}

// spare gives back the memory of a buffer whose bytes are not needed any more, but for a little.
func (b *buffer) spare() {
	if len(b.data) > keptBytes {
		// What is not given back is used again.
		_ = unix.Madvise(b.data[keptBytes:cap(b.data)], unix.MADV_DONTNEED)
	}
}

// release gives back what reserve took.
func (b *buffer) release() error {
	if b.data == nil {
		return nil
	}
	if err := unix.Munmap(b.data[:cap(b.data)]); err != nil {
		return fmt.Errorf("give memory back: %w", err)
	}
	b.data = nil
	return nil
}
