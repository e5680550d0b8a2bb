// SPDX-License-Identifier: Apache-2.0

package vm

import "io"

// ending is a writer that keeps the end of what is written. Only QEMU's copying
// goroutine writes to it, and it is read after that has ended.
type ending struct {
	to    io.Writer
	limit int
	kept  []byte
}

func (e *ending) Write(text []byte) (int, error) {
	e.kept = append(e.kept, text...)
	if len(e.kept) > 2*e.limit {
		e.kept = append(e.kept[:0], e.kept[len(e.kept)-e.limit:]...)
	}
	if e.to != nil {
		_, _ = e.to.Write(text)
	}
	return len(text), nil
}

func (e *ending) String() string { return string(e.kept) }
