// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

var (
	// ErrTooLarge is returned for a payload beyond Config.MaxRecordBytes. The
	// record is counted and reported as lost.
	ErrTooLarge = errors.New("record too large")
	// ErrFull is returned for a record that was refused because the spool is at
	// its bound on disk or in memory. The record is counted and reported as lost.
	ErrFull = errors.New("spool full")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("spool closed")
	// ErrLocked is returned by Open when another process holds the directory.
	ErrLocked = errors.New("spool is in use")
	// ErrVersion is returned by Open for files of a format that this build does
	// not know. They are left untouched.
	ErrVersion = errors.New("unknown spool format")
	// ErrRunning is returned by Run and Close while Run runs.
	ErrRunning = errors.New("spool is running")
	// ErrAckRange is returned by Ack for a position that was never delivered by
	// this process.
	ErrAckRange = errors.New("acknowledgement of what was not sent")
)

// DiskError reports an operation that the disk refused. The spool goes on: it
// keeps the records in memory and tries again.
type DiskError struct {
	Op   string // what was being done, such as "sync"
	Path string // the file
	Err  error  // the cause, usually a syscall.Errno
}

// Error says what was being done to which file, and what the disk answered.
func (e *DiskError) Error() string { return fmt.Sprintf("%s %q: %v", e.Op, e.Path, e.Err) }

// Unwrap returns the cause.
func (e *DiskError) Unwrap() error { return e.Err }

// Full reports whether the disk refused for lack of space or quota.
func (e *DiskError) Full() bool {
	return errors.Is(e.Err, unix.ENOSPC) || errors.Is(e.Err, unix.EDQUOT)
}

func diskError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	// The os package wraps the path in already; keep the cause alone.
	var errno unix.Errno
	if errors.As(err, &errno) {
		err = errno
	}
	return &DiskError{Op: op, Path: path, Err: err}
}

// Damage describes a place in the spool's files that could not be read back.
type Damage struct {
	Path   string // the file
	Offset int64  // where the damage begins
	Bytes  int64  // how long it is
	Epoch  uint64 // 0 if unknown
	First  uint64 // the sequences that were lost with it; both 0 if unknown or none
	Last   uint64
	Reason string // what is wrong, and what was done about it
}

// String is for logs.
func (d Damage) String() string {
	s := fmt.Sprintf("%q at byte %d (%d bytes): %s", d.Path, d.Offset, d.Bytes, d.Reason)
	if d.First != 0 {
		s += fmt.Sprintf("; lost sequences %d to %d of epoch %016x", d.First, d.Last, d.Epoch)
	}
	return s
}
