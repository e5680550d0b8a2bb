// SPDX-License-Identifier: Apache-2.0

// Package spool is a durable, bounded queue on disk for opaque records. The
// agent puts an instance of it between its detections and its uplink: what was
// appended survives kill -9, power loss and a full disk, and is given out in
// order, at least once, until the receiver has acknowledged it.
//
// # Identity
//
// A record is named by (epoch, sequence). The epoch is a random number minted
// when a directory is first used. Sequences count up from 1 without a hole
// within an epoch and are never used for two records, whatever happens to the
// process: only records that were synced are given to the reader, and where it
// cannot be proven on open that a sequence was never given out, it is retired;
// where not even that can be proven (state lost, newest segment lost), a new
// epoch is minted, and what is left of the old one is still delivered under its
// own epoch.
//
// # Loss is explicit
//
// Every sequence is delivered either as a [Record] or as part of exactly one
// [Loss], which carries the range and the [Cause]. A [Batch] covers First to
// Last without a hole, so that a receiver can tell lost records from late ones.
// A record that comes after a loss that named it takes the loss back; this can
// happen when the process dies between the two.
//
// # Durability
//
// [Spool.Append] copies the record into memory and returns; it allocates
// nothing. [Spool.Run] writes what has gathered with one write and one
// fdatasync (group commit). [Spool.AppendSync] and [Spool.Wait] return once the
// record is on disk. When the disk refuses (ENOSPC, EDQUOT, EIO), records stay
// in memory up to Config.BufferBytes and are written again when it is back:
// into the same segment if it was full, into a new one if a sync failed, because
// after a failed sync the kernel no longer vouches for the pages. Records beyond
// that bound are refused, counted, and become a Loss.
//
// # Bounds
//
// The files of a spool never exceed Config.MaxBytes together. When they would,
// [DropOldest] gives up whole segments from the unread end, [DropNewest] refuses
// new records. A segment with records that are delivered but not yet
// acknowledged is never given up.
//
// # Files
//
// The directory holds lock, state and NNNNNNNNNNNNNNNNNNNN.seg files, and at most
// a few quarantined .bad files; docs/spool-format.md describes them byte by byte.
// A spool belongs to one process at a time (flock). Every record carries a CRC32C
// that is seeded with the epoch, so that bytes that a monitored process chose
// cannot pass for a record when a damaged segment is searched for the next one.
//
// # Goroutines
//
// Open starts none. Run blocks, starts none, and performs all writing; without
// it, records reach the disk only at Close. Append, AppendSync, Wait, Next, Ack,
// Rewind and Stats are safe for concurrent use; concurrent calls of Next take
// turns. Payloads are never interpreted.
//
// # Limits
//
// A spool does not detect that its directory was set back to an earlier copy (a
// restored backup or snapshot of a virtual machine) under the same agent name.
package spool
