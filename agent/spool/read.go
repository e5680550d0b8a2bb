// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// Record is one delivered record.
type Record struct {
	Seq     uint64
	Payload []byte // valid until the Batch is used again
}

// Batch is a stretch of the stream: every sequence from First to Last of Epoch is
// either in Records or in exactly one of Losses. Both are in ascending order. A
// Batch is reused to save memory; its zero value is ready.
type Batch struct {
	Epoch   uint64
	First   uint64
	Last    uint64
	Records []Record
	Losses  []Loss

	buf []byte
}

func (b *Batch) reset(from pos) {
	b.Epoch, b.First, b.Last = from.epoch, from.seq+1, from.seq
	clear(b.Records)
	b.Records, b.Losses, b.buf = b.Records[:0], b.Losses[:0], b.buf[:0]
}

func (b *Batch) add(seq uint64, payload []byte) {
	at := len(b.buf)
	// If buf moves, the earlier records keep the former array.
	b.buf = append(b.buf, payload...)
	b.Records = append(b.Records, Record{Seq: seq, Payload: b.buf[at:len(b.buf):len(b.buf)]})
}

// reader is the open segment of Next.
type reader struct {
	scan scanner
	file *os.File
	seg  uint64 // index of the open segment; 0 if none
	at   pos    // scan stands behind this
}

func (r *reader) close() {
	if r.file != nil {
		r.file.Close() // opened for reading: there is nothing to lose
	}
	r.file, r.seg = nil, 0
}

// plan says where the next batch comes from: a segment, or a hole beside it.
type plan struct {
	from pos
	seg  segment // index 0 if loss says it all
	loss Loss    // cause 0: nobody noted why
}

// Next waits until something is durable behind the cursor, fills b with at most
// maxRecords records of together at most maxBytes of payload (but at least one
// record or loss), and moves the cursor. It gives out durable records only, in
// order. Both limits must be positive.
//
// It returns the cause of ctx when that ends, ErrClosed after Close, and other
// errors if a segment cannot be read for a reason that is not damage (such as too
// many open files); then the cursor has not moved and the call may be repeated.
func (s *Spool) Next(ctx context.Context, b *Batch, maxRecords, maxBytes int) error {
	if maxRecords < 1 || maxBytes < 1 {
		return fmt.Errorf("next batch: limits of %d records and %d bytes must be positive", maxRecords, maxBytes)
	}
	s.reading.Lock()
	defer s.reading.Unlock()
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return ErrClosed
		}
		p, ok := s.plan()
		if !ok {
			changed := s.watch()
			s.mu.Unlock()
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return fmt.Errorf("next batch: %w", context.Cause(ctx))
			}
		}
		s.fetching = p.seg.index
		rewinds := s.rewinds
		s.mu.Unlock()

		b.reset(p.from)
		damage, err := s.fetch(b, p, maxRecords, maxBytes)
		if s.deliver(b, p, rewinds, &damage, err) {
			s.report(damage)
			return err
		}
	}
}

// plan finds what follows the cursor; ok is false if nothing does yet. mu is held.
func (s *Spool) plan() (p plan, ok bool) {
	i := max(0, s.order(s.cursor.epoch))
	for s.cursor.seq >= s.spans[i].last {
		if i++; i == len(s.spans) {
			return p, false
		}
		s.cursor = pos{epoch: s.spans[i].epoch}
	}
	p = plan{from: s.cursor}
	want, last := s.cursor.seq+1, s.spans[i].last
	for _, g := range s.segments {
		if g.epoch != s.cursor.epoch || g.empty() || g.last < want {
			continue
		}
		if g.first <= want {
			p.seg = *g
			return p, true
		}
		last = g.first - 1
		break
	}
	p.loss = s.holes.at(p.from.epoch, want, last, 0)
	if p.loss.Cause == 0 {
		p.loss = s.tail.at(p.from.epoch, want, p.loss.Last, 0)
	}
	return p, true
}

// fetch reads from the segment of p into b. What cannot be read appears in
// b.Losses and, if it is found in the file, in the returned list.
func (s *Spool) fetch(b *Batch, p plan, maxRecords, maxBytes int) ([]Damage, error) {
	if p.seg.index == 0 {
		return nil, nil
	}
	var damage []Damage
	if err := s.rd.open(p); errors.Is(err, fs.ErrNotExist) {
		b.Losses = append(b.Losses, Loss{First: b.First, Last: p.seg.last, Cause: CauseCorrupt})
		b.Last = p.seg.last
		return append(damage, Damage{Path: p.seg.path, Epoch: b.Epoch, First: b.First, Last: b.Last,
			Reason: "the file is gone"}), nil
	} else if err != nil {
		return nil, err
	}
	sc := &s.rd.scan
	for len(b.Records) < maxRecords {
		it, err := sc.next()
		if errors.Is(err, io.EOF) {
			// What is missing at the end is up to plan: the next call finds no
			// segment for it, or deliver finds nothing delivered at all.
			break
		}
		if err != nil {
			s.rd.close()
			return nil, fmt.Errorf("read %q: %w", p.seg.path, err)
		}
		if it.kind == itemRecord {
			if len(b.Records) > 0 && len(b.buf)+len(it.payload) > maxBytes {
				sc.off, sc.expect = it.off, it.first
				break
			}
			b.add(it.first, it.payload)
		} else {
			b.Losses = appendLoss(b.Losses, Loss{First: it.first, Last: it.last, Cause: it.cause})
		}
		if it.kind == itemDamage {
			damage = append(damage, Damage{Path: p.seg.path, Offset: it.off, Bytes: it.size, Epoch: b.Epoch,
				First: it.first, Last: it.last, Reason: "records do not match their checksums; skipped"})
		}
		b.Last = it.last
	}
	s.rd.at = pos{b.Epoch, b.Last}
	return damage, nil
}

// open makes the scanner stand behind p.from.
func (r *reader) open(p plan) error {
	if r.seg == p.seg.index && r.at == p.from {
		r.scan.end, r.scan.limit = p.seg.size, p.seg.last
		return nil
	}
	if r.seg != p.seg.index {
		r.close()
		f, err := openSegment(p.seg.path)
		if err != nil {
			return err
		}
		r.file, r.seg = f, p.seg.index
	}
	r.scan.reset(r.file, p.seg.epoch, segmentDataStart, p.seg.size, p.from.seq+1, p.seg.last)
	return nil
}

// deliver completes b and moves the cursor. It reports false if the batch must be
// read again, because the cursor has moved meanwhile.
func (s *Spool) deliver(b *Batch, p plan, rewinds uint64, damage *[]Damage, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetching = 0
	if err != nil {
		return true
	}
	if rewinds != s.rewinds || s.cursor != p.from {
		return false
	}
	if b.Last < b.First { // nothing in the segment, or no segment
		s.conclude(b, p, damage)
	}
	if s.before(s.sent, pos{b.Epoch, b.Last}) {
		for _, d := range *damage {
			s.countDamage(d)
		}
		s.sent = pos{b.Epoch, b.Last}
	} else {
		*damage = nil // it was reported when it was delivered first
	}
	s.cursor = pos{b.Epoch, b.Last}
	s.flight = max(s.flight, p.seg.index)
	s.n.delivered += uint64(len(b.Records))
	return true
}

// conclude makes b a loss: of the hole that p names, or of what the segment should
// hold behind the cursor and does not. mu is held.
func (s *Spool) conclude(b *Batch, p plan, damage *[]Damage) {
	loss := p.loss
	d := Damage{Path: s.cfg.Dir, Epoch: b.Epoch, Reason: "segments are missing"}
	if p.seg.index != 0 {
		loss = s.holes.at(b.Epoch, b.First, p.seg.last, 0)
		bad := s.rd.scan.bad
		d = Damage{Path: p.seg.path, Offset: bad.off, Bytes: bad.n, Epoch: b.Epoch, Reason: "the end is unreadable"}
	}
	if loss.Cause == 0 {
		loss.Cause = CauseCorrupt
		d.First, d.Last = loss.First, loss.Last
		*damage = append(*damage, d)
	}
	b.Losses = append(b.Losses, loss)
	b.Last = loss.Last
}

// countDamage counts what was not counted when it was delivered before. mu is
// held.
func (s *Spool) countDamage(d Damage) {
	first := d.First
	if s.sent.epoch == d.Epoch {
		first = max(first, s.sent.seq+1)
	}
	if first <= d.Last {
		s.n.damaged++
		s.n.lost[CauseCorrupt] += d.Last - first + 1
	}
}

// report tells of damage. mu is not held.
func (s *Spool) report(damage []Damage) {
	for _, d := range damage {
		s.cfg.Log.Error("spool: damaged", "damage", d.String())
		if s.cfg.OnDamage != nil {
			s.cfg.OnDamage(d)
		}
	}
}

// Ack acknowledges everything up to seq of epoch: the receiver has stored it. The
// position is persisted within Config.StateEvery, and segments that lie before it
// are removed. Acknowledging what is acknowledged already does nothing. A position
// that this process has not delivered is refused with ErrAckRange, so that a
// mistaken receiver cannot make the spool forget.
func (s *Spool) Ack(epoch, seq uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	to := pos{epoch, seq}
	if s.order(epoch) < 0 || s.before(s.sent, to) {
		return fmt.Errorf("%w: sequence %d of epoch %016x; sent up to %d of %016x",
			ErrAckRange, seq, epoch, s.sent.seq, s.sent.epoch)
	}
	if !s.before(s.acked, to) {
		return nil
	}
	s.acked = to
	if s.before(s.cursor, to) {
		s.cursor = to // acknowledged late, after a Rewind
	}
	if s.cursor == to {
		s.flight = 0
	}
	wasDirty := s.dirty
	s.dirty = true
	if s.freeable() {
		s.retryAt = time.Time{} // space may come back
		s.wake()
	} else if !wasDirty {
		s.wake()
	}
	return nil
}

// Rewind moves the cursor back to the acknowledged position, so that what was
// delivered but not acknowledged is delivered again. Call it when the connection
// to the receiver was lost. A Next under way starts over.
func (s *Spool) Rewind() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cursor = s.acked
	s.flight = 0
	s.rewinds++
	s.broadcast()
}
