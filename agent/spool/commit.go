// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"time"
)

// idle is how long Run sleeps when nothing is due; it is woken when that changes.
const idle = time.Hour

// Run writes records, acknowledgements and losses to disk until ctx ends, then
// once more, and returns nil. It returns ErrRunning or ErrClosed at once if it
// cannot start. A refusing disk does not end it: see Stats.DiskErr.
func (s *Spool) Run(ctx context.Context) error {
	if !s.running.TryLock() {
		return ErrRunning
	}
	defer s.running.Unlock()
	if s.isClosed() {
		return ErrClosed
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			s.commitAll()
			return nil
		case <-s.kick:
		case <-timer.C:
		}
		if s.due(time.Now()) <= 0 {
			s.commit()
		}
		timer.Reset(max(0, s.due(time.Now())))
	}
}

func (s *Spool) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// due returns how long the next commit may wait.
func (s *Spool) due(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.diskErr != nil {
		return s.retryAt.Sub(now)
	}
	if s.writing.records > 0 || len(s.doomed) > 0 || len(s.removing) > 0 || s.freeable() {
		return 0
	}
	wait := idle
	if s.pending.records > 0 {
		if s.urgent() {
			return 0
		}
		wait = s.firstAt.Add(s.cfg.SyncEvery).Sub(now)
	}
	if s.dirty {
		wait = min(wait, s.lastState.Add(s.cfg.StateEvery).Sub(now))
	}
	return wait
}

// freeable reports whether the oldest segment is acknowledged and can go. mu is
// held.
func (s *Spool) freeable() bool {
	return len(s.segments) > 1 && !s.before(s.acked, s.segments[0].pos())
}

// commit brings what is due to disk, and notes whether the disk took it.
func (s *Spool) commit() {
	err := s.flush()
	s.mu.Lock()
	was := s.diskErr
	s.diskErr = err
	if err == nil {
		s.backoff = 0
	} else {
		s.n.diskErrors++
		s.fullErr = fmt.Errorf("%w: %w", ErrFull, err)
		s.backoff = min(max(2*s.backoff, minRetry), s.cfg.RetryMax)
		s.retryAt = time.Now().Add(s.backoff)
	}
	buffered := s.pending.records + s.writing.records
	s.mu.Unlock()
	switch {
	case err != nil && was == nil:
		s.cfg.Log.Error("spool: the disk refuses, records stay in memory", "err", err, "records", buffered)
	case err == nil && was != nil:
		s.cfg.Log.Info("spool: the disk takes records again", "dir", s.cfg.Dir)
	}
}

// commitAll commits what was left over by a refusal and what has gathered since.
func (s *Spool) commitAll() {
	s.commit()
	if s.writing.records == 0 {
		s.commit()
	}
}

// drain is the last commit.
func (s *Spool) drain() error {
	s.commitAll()
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.pending.records + s.writing.records; n > 0 {
		return fmt.Errorf("close spool %q: %d records were not written: %w", s.cfg.Dir, n, s.diskErr)
	}
	return s.diskErr
}

// flush notes losses and acknowledgements first, then removes files, then writes:
// so no file is gone before the state says why, and the bound on bytes holds.
func (s *Spool) flush() error {
	if s.stateDue() {
		if err := s.writeState(); err != nil {
			return errors.Join(err, s.freeForState(err))
		}
	}
	if err := s.removeFiles(); err != nil {
		return err
	}
	// Callers that the last commit woke are about to append again: let them, so
	// that they share this sync.
	runtime.Gosched()
	// What is appended while this writes waits for its own SyncEvery.
	s.take()
	for s.writing.off < len(s.writing.data) {
		if err := s.writeSome(); err != nil {
			return err
		}
	}
	s.writing.spare()
	return nil
}

func (s *Spool) stateDue() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.doomed) > 0 || s.freeable() || s.dirty && time.Since(s.lastState) >= s.cfg.StateEvery
}

// writeState persists positions and losses. Afterwards the files that it accounts
// for may be removed, and refused records may be reported to the receiver.
func (s *Spool) writeState() error {
	s.mu.Lock()
	st := s.snapshot()
	doomed, tail := len(s.doomed), hole{}
	if n := len(s.tail); n > 0 {
		tail = hole{first: s.tail[0].first, last: s.tail[n-1].last}
	}
	s.mu.Unlock()
	if err := s.state.write(st); err != nil {
		return err
	}
	s.noted, s.lastState = st.newest, time.Now()
	acked := pos{st.ackEpoch, st.ackSeq}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.n.syncs++
	// If the tail has become a gap record meanwhile, that will say it.
	if len(s.tail) > 0 && s.tail[0].first == tail.first && s.durable()+1 >= tail.first {
		s.setDurable(max(tail.last, s.durable()))
	}
	s.dirty = s.acked != acked || len(s.tail) > 0 && s.tail[len(s.tail)-1].last > s.durable()
	s.removing = append(s.removing, s.doomed[:doomed]...)
	s.doomed = append(s.doomed[:0], s.doomed[doomed:]...)
	s.free(acked)
	return nil
}

// snapshot is the state as it is now. mu is held.
func (s *Spool) snapshot() state {
	st := state{
		epoch: s.epoch, assigned: s.next - 1, durable: s.durable(),
		ackEpoch: s.acked.epoch, ackSeq: s.acked.seq,
	}
	if n := len(s.segments); n > 0 {
		st.newest = s.segments[n-1].index
	}
	s.holes = s.pruned()
	st.holes = append(st.holes, s.holes...)
	for _, l := range []holes{s.retiring, s.tail} {
		for _, h := range l {
			if s.before(s.acked, pos{h.epoch, h.last}) {
				st.holes = st.holes.add(h)
			}
		}
	}
	return st
}

// pruned returns the holes that are not acknowledged yet. mu is held.
func (s *Spool) pruned() holes {
	kept := s.holes[:0]
	for _, h := range s.holes {
		if s.before(s.acked, pos{h.epoch, h.last}) {
			kept = append(kept, h)
		}
	}
	return kept
}

// free queues the segments up to acked for removal. mu is held.
func (s *Spool) free(acked pos) {
	for len(s.segments) > 1 && !s.before(acked, s.segments[0].pos()) {
		g := s.segments[0]
		s.used -= g.size + g.extra
		s.removing = append(s.removing, g)
		s.segments = s.segments[1:]
	}
}

// freeForState handles a disk so full that not even the state can be written in
// place, which happens on file systems that copy on write: acknowledged segments
// go without a note, since nothing else can make room. A crash before the next
// state would then report them as lost although they were delivered.
func (s *Spool) freeForState(err error) error {
	var de *DiskError
	if !errors.As(err, &de) || !de.Full() {
		return nil
	}
	s.mu.Lock()
	s.free(s.acked)
	s.mu.Unlock()
	return s.removeFiles()
}

// removeFiles removes what the state on disk accounts for.
func (s *Spool) removeFiles() error {
	for len(s.removing) > 0 {
		g := s.removing[0]
		if g.evicted {
			s.countEvicted(g)
			g.evicted = false
		}
		if err := os.Remove(g.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return diskError("remove segment", g.path, err)
		}
		s.removing = s.removing[1:]
	}
	s.removing = nil
	return nil
}

// countEvicted counts the records that a segment takes with it.
func (s *Spool) countEvicted(g *segment) {
	s.mu.Lock()
	acked := s.acked
	s.mu.Unlock()
	first := g.first
	if acked.epoch == g.epoch {
		first = max(first, acked.seq+1)
	}
	var evicted, corrupt uint64
	err := scanSegment(g, func(it item) {
		switch {
		case it.last < first:
		case it.kind == itemRecord:
			evicted++
		case it.kind == itemDamage:
			corrupt += it.last - max(first, it.first) + 1
		}
	})
	if err != nil && first <= g.last {
		evicted, corrupt = g.last-first+1, 0
	}
	s.mu.Lock()
	s.n.lost[CauseEvicted] += evicted
	s.n.lost[CauseCorrupt] += corrupt
	s.mu.Unlock()
}

// scanSegment calls fn for each item of a segment.
func scanSegment(g *segment, fn func(item)) error {
	f, err := openSegment(g.path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = walkSegment(f, g, fn)
	return err
}

// walkSegment calls fn for each item of g in f, and returns the scanner at the end.
func walkSegment(f io.ReaderAt, g *segment, fn func(item)) (*scanner, error) {
	sc := &scanner{}
	sc.reset(f, g.epoch, segmentDataStart, g.size, g.first, g.last)
	for {
		it, err := sc.next()
		if errors.Is(err, io.EOF) {
			return sc, nil
		}
		if err != nil {
			return sc, fmt.Errorf("scan %q: %w", g.path, err)
		}
		fn(it)
	}
}

// take makes pending the buffer to write, unless the former is not done yet. Only
// who holds running changes writing.
func (s *Spool) take() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writing.off < len(s.writing.data) || len(s.pending.data) == 0 {
		return
	}
	s.writing, s.pending = s.pending, buffer{data: s.writing.data[:0]}
	s.broadcast() // there is room again
}

// writeSome makes the next part of the buffer durable: what fits in a segment.
func (s *Spool) writeSome() error {
	data := frames(s.writing.data[s.writing.off:])
	first, size := data.first()
	if s.active != nil && s.active.size+size > s.cfg.SegmentBytes {
		if err := s.retire(); err != nil {
			return err
		}
	}
	if s.active == nil {
		if err := s.rotate(first); err != nil {
			return err
		}
	}
	if s.noted < s.active.index {
		// No record may be in a segment that the state does not know: its loss
		// would go unseen and its sequences would be used again.
		if err := s.writeState(); err != nil {
			return err
		}
	}
	g := s.active
	n, count, last := data.split(s.cfg.SegmentBytes - g.size)
	usable, extra, err := g.write(s.out, data[:n])
	if err != nil {
		if !usable {
			s.abandon(extra)
		}
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g.size += n
	g.last = last
	s.used += n
	s.writing.off += int(n)
	s.writing.records -= count
	s.n.durable += uint64(count)
	s.n.syncs++
	s.setDurable(max(last, s.durable()))
	return nil
}

// rotate begins a new segment.
func (s *Spool) rotate(first uint64) error {
	s.index++
	g, f, err := createSegment(s.cfg.Dir, segmentHeader{epoch: s.epoch, index: s.index, first: first})
	if err != nil {
		return err
	}
	s.active, s.out = g, f
	s.mu.Lock()
	s.segments = append(s.segments, g)
	s.used += g.size
	s.n.syncs += 2
	s.mu.Unlock()
	return nil
}

// retire ends the active segment.
func (s *Spool) retire() error {
	g, f := s.active, s.out
	s.active, s.out = nil, nil
	return diskError("close segment", g.path, f.Close())
}

// abandon ends the active segment after the disk refused it; the records that it
// did not take go to a new one.
func (s *Spool) abandon(extra int64) {
	g := s.active
	_ = s.retire() // its records were synced one by one; nothing depends on the close
	s.mu.Lock()
	defer s.mu.Unlock()
	g.extra = extra
	s.used += extra
	if g.empty() {
		s.segments = s.segments[:len(s.segments)-1]
		s.doom(g)
	}
}
