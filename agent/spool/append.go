// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"context"
	"fmt"
	"hash/crc32"
	"time"
)

// Append queues a copy of payload and returns its sequence. It does not wait for
// the disk and allocates nothing; the record is durable within about
// Config.SyncEvery while Run runs and the disk takes it.
//
// On ErrFull and ErrTooLarge the record is lost: it is counted, and the sequence
// returned is the one that the receiver is told about. ErrClosed uses no sequence.
func (s *Spool) Append(payload []byte) (seq uint64, err error) {
	sum := crc32.Checksum(payload, castagnoli)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, ErrClosed
	}
	if cause := s.accept(payload, sum); cause != 0 {
		return s.refuse(cause)
	}
	return s.pending.last, nil
}

// AppendSync appends payload and returns when it is on disk. Records of
// concurrent callers share one sync. While the memory buffer is full it waits for
// room, where Append refuses.
//
// If ctx ends first, the error wraps its cause and, if the disk refuses, the
// *DiskError; a sequence other than 0 then says that the record is queued and
// will still be written if the process lives. ErrFull and ErrTooLarge are as with
// Append.
func (s *Spool) AppendSync(ctx context.Context, payload []byte) (seq uint64, err error) {
	sum := crc32.Checksum(payload, castagnoli)
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return 0, ErrClosed
		}
		cause := s.accept(payload, sum)
		if cause == 0 {
			seq = s.pending.last
			s.mu.Unlock()
			return seq, s.Wait(ctx, seq)
		}
		if cause != CauseBacklog && cause != CauseDisk {
			seq, err = s.refuse(cause)
			s.mu.Unlock()
			return seq, err
		}
		room := s.watch()
		s.mu.Unlock()
		s.wake()
		select {
		case <-room:
		case <-ctx.Done():
			return 0, s.waitError(ctx, "append record")
		}
	}
}

// Wait returns when the record with sequence seq is on disk. It must be one that
// Append returned without an error. The error is as with AppendSync.
func (s *Spool) Wait(ctx context.Context, seq uint64) error {
	s.mu.Lock()
	s.waiters++
	for s.durable() < seq {
		if s.closed {
			s.waiters--
			s.mu.Unlock()
			return fmt.Errorf("wait for record %d: %w", seq, ErrClosed)
		}
		changed := s.watch()
		s.mu.Unlock()
		s.wake()
		select {
		case <-changed:
		case <-ctx.Done():
			s.mu.Lock()
			s.waiters--
			s.mu.Unlock()
			return s.waitError(ctx, fmt.Sprintf("wait for record %d", seq))
		}
		s.mu.Lock()
	}
	s.waiters--
	s.mu.Unlock()
	return nil
}

// Sync returns when everything that was appended before is on disk.
func (s *Spool) Sync(ctx context.Context) error {
	s.mu.Lock()
	seq := s.durable()
	if s.pending.records > 0 {
		seq = s.pending.last
	} else if s.writing.records > 0 {
		seq = s.writing.last
	}
	s.mu.Unlock()
	return s.Wait(ctx, seq)
}

func (s *Spool) waitError(ctx context.Context, what string) error {
	s.mu.Lock()
	disk := s.diskErr
	s.mu.Unlock()
	if disk != nil {
		return fmt.Errorf("%s: %w, while the disk refuses: %w", what, context.Cause(ctx), disk)
	}
	return fmt.Errorf("%s: %w", what, context.Cause(ctx))
}

// accept queues payload, or returns why it cannot. mu is held.
func (s *Spool) accept(payload []byte, sum uint32) Cause {
	if len(payload) > s.cfg.MaxRecordBytes {
		return CauseTooLarge
	}
	size := frameSize(len(payload)) + int64(len(s.tail))*frameSize(gapPayloadSize)
	if len(s.pending.data)+int(size) > s.cfg.BufferBytes {
		if s.diskErr != nil {
			return CauseDisk
		}
		return CauseBacklog
	}
	if !s.makeRoom(size) {
		return CauseFull
	}
	if len(s.tail) > 0 {
		s.bridge()
	}
	first := len(s.pending.data) == 0
	s.pending.data = appendFrame(s.pending.data, s.seed, kindRecord, s.next, payload, sum)
	s.pending.last = s.next
	s.pending.records++
	s.next++
	s.n.appended++
	if first {
		s.firstAt = time.Now()
		s.wake()
	} else if s.urgent() {
		s.wake()
	}
	return 0
}

// bridge writes the refused sequences as gap records before the next record. Until
// those are durable, their causes are known from holes, if they may have been
// delivered already, or else from retiring. mu is held.
func (s *Spool) bridge() {
	delivered := s.tail[0].first <= s.durable()
	s.retiring = s.retiring[:0]
	for _, h := range s.tail {
		s.pending.data = appendGap(s.pending.data, s.seed, h)
		if delivered {
			s.holes = s.holes.add(h)
		} else {
			s.retiring = append(s.retiring, h)
		}
	}
	s.tail = s.tail[:0]
}

// urgent reports whether pending should be written before SyncEvery is over. mu
// is held.
func (s *Spool) urgent() bool {
	return s.waiters > 0 || len(s.pending.data) >= s.cfg.BufferBytes/4
}

// refuse counts the next sequence as lost. mu is held.
func (s *Spool) refuse(cause Cause) (uint64, error) {
	seq := s.next
	s.next++
	s.tail = s.tail.extend(s.epoch, seq, cause)
	s.n.lost[cause]++
	if !s.dirty {
		s.dirty = true
		s.wake()
	}
	switch {
	case cause == CauseTooLarge:
		return seq, ErrTooLarge
	case cause == CauseDisk:
		return seq, s.fullErr
	}
	return seq, ErrFull
}

// makeRoom reports whether size more bytes fit in MaxBytes, after giving up what
// the policy allows. The files are removed before the bytes are written. mu is
// held.
func (s *Spool) makeRoom(size int64) bool {
	queued := int64(len(s.pending.data)-s.pending.off+len(s.writing.data)-s.writing.off) + size
	// Every segment that is begun is at least half full when the next is begun.
	queued += segmentDataStart * (2 + queued/(s.cfg.SegmentBytes/2))
	for s.used+queued > s.cfg.MaxBytes {
		if len(s.quarant) > 0 {
			s.doom(s.quarant[0])
			s.quarant = s.quarant[1:]
			continue
		}
		if s.cfg.Policy == DropNewest || !s.evict() {
			return false
		}
	}
	return true
}

// evict gives up the oldest segment that is neither in flight nor active. mu is
// held.
func (s *Spool) evict() bool {
	// The newest segment is kept: it proves which sequences were used.
	for i := range len(s.segments) - 1 {
		g := s.segments[i]
		if g.index <= s.flight || g.index == s.fetching {
			continue
		}
		first := g.first
		if s.acked.epoch == g.epoch {
			first = max(first, s.acked.seq+1)
		}
		if first <= g.last && !s.before(g.pos(), s.acked) {
			s.holes = s.holes.add(hole{epoch: g.epoch, first: first, last: g.last, cause: CauseEvicted})
			g.evicted = true
		}
		s.segments = append(s.segments[:i:i], s.segments[i+1:]...)
		s.doom(g)
		return true
	}
	return false
}

// doom queues a file for removal. mu is held.
func (s *Spool) doom(g *segment) {
	s.used -= g.size + g.extra
	s.doomed = append(s.doomed, g)
	s.wake()
}
