// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Policy says which records are given up when the spool is at Config.MaxBytes.
type Policy uint8

const (
	// DropOldest gives up the oldest whole segment that is not in flight.
	DropOldest Policy = iota
	// DropNewest refuses new records.
	DropNewest
)

// String returns "drop-oldest" or "drop-newest".
func (p Policy) String() string {
	switch p {
	case DropOldest:
		return "drop-oldest"
	case DropNewest:
		return "drop-newest"
	}
	return fmt.Sprintf("policy(%d)", uint8(p))
}

// Defaults of Config.
const (
	DefaultMaxBytes       = 256 << 20
	DefaultSegmentBytes   = 8 << 20
	DefaultMaxRecordBytes = 1 << 20
	DefaultBufferBytes    = 4 << 20
	DefaultSyncEvery      = 50 * time.Millisecond
	DefaultStateEvery     = time.Second
	DefaultRetryMax       = 5 * time.Second
)

// minRetry is the pause after the first refusal of the disk; it doubles up to
// Config.RetryMax.
const minRetry = 50 * time.Millisecond

// Config describes a spool. The zero value of every field but Dir means its
// default.
type Config struct {
	// Dir is the directory of the spool. It is created with mode 0700, its
	// parent must exist.
	Dir string
	// MaxBytes bounds the sum of the sizes of all files in Dir. At least four
	// segments.
	MaxBytes int64
	// SegmentBytes bounds one segment file. At least two records of the
	// maximum size.
	SegmentBytes int64
	// MaxRecordBytes bounds one payload; at most 16 MiB.
	MaxRecordBytes int
	// BufferBytes bounds the memory for records that are not durable yet. Twice
	// this much is set aside, outside of Go's heap: one buffer fills while the
	// other is written. Memory is taken as it is filled, and what a burst took
	// is given back after it was written.
	BufferBytes int
	// SyncEvery is how long a record without a waiter may stay in memory before
	// it is written and synced. Records that AppendSync, Wait or Sync wait for
	// are written at once.
	SyncEvery time.Duration
	// StateEvery is how often acknowledgements are persisted. After a crash, at
	// most what was acknowledged in this time is delivered again.
	StateEvery time.Duration
	// RetryMax bounds the pause between two attempts while the disk refuses.
	RetryMax time.Duration
	// Policy says what is given up at MaxBytes. A full disk is another matter: it
	// never makes the spool give up what is durable.
	Policy Policy
	// Log receives changes of state: damage, a refusing disk, its recovery. Nil
	// discards.
	Log *slog.Logger
	// OnDamage, if set, is called once for each damaged place that is found,
	// without locks held, from Open or Next.
	OnDamage func(Damage)
}

// withDefaults fills in defaults and reports every impossible value at once.
func (c Config) withDefaults() (Config, error) {
	setDefault(&c.MaxBytes, DefaultMaxBytes)
	setDefault(&c.SegmentBytes, min(DefaultSegmentBytes, c.MaxBytes/4))
	setDefault(&c.MaxRecordBytes, DefaultMaxRecordBytes)
	setDefault(&c.BufferBytes, DefaultBufferBytes)
	setDefault(&c.SyncEvery, DefaultSyncEvery)
	setDefault(&c.StateEvery, DefaultStateEvery)
	setDefault(&c.RetryMax, DefaultRetryMax)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Dir == "" {
		bad("Dir is empty")
	}
	if c.MaxRecordBytes < 0 || c.MaxRecordBytes > formatMaxPayload {
		bad("MaxRecordBytes %d is not in 1..%d", c.MaxRecordBytes, formatMaxPayload)
	} else {
		if least := int64(segmentDataStart) + 2*frameSize(c.MaxRecordBytes); c.SegmentBytes < least {
			bad("SegmentBytes %d is less than %d, two records of MaxRecordBytes", c.SegmentBytes, least)
		}
		if least := frameSize(c.MaxRecordBytes) + maxTail*frameSize(gapPayloadSize); int64(c.BufferBytes) < least {
			bad("BufferBytes %d is less than %d, one record of MaxRecordBytes", c.BufferBytes, least)
		}
	}
	if c.MaxBytes/4 < c.SegmentBytes {
		bad("MaxBytes %d is less than four times SegmentBytes %d", c.MaxBytes, c.SegmentBytes)
	}
	if c.SyncEvery < 0 || c.StateEvery < 0 || c.RetryMax < minRetry {
		bad("SyncEvery %v, StateEvery %v: not negative; RetryMax %v: at least %v",
			c.SyncEvery, c.StateEvery, c.RetryMax, minRetry)
	}
	if c.Policy > DropNewest {
		bad("Policy %v is unknown", c.Policy)
	}
	if len(errs) > 0 {
		return c, fmt.Errorf("spool config: %w", errors.Join(errs...))
	}
	return c, nil
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}
