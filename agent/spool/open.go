// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Open opens or creates the spool in cfg.Dir. It starts nothing; see Run.
//
// It returns ErrLocked if another process, or another Spool of this one, has the
// directory, ErrVersion for a format that it does not know, and other errors for
// an invalid configuration or a disk that refuses. Damage is not an error: what
// can be read is kept, the rest is counted and reported.
func Open(cfg Config) (*Spool, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := makeDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	s := &Spool{
		cfg:     cfg,
		lock:    lock,
		kick:    make(chan struct{}, 1),
		changed: make(chan struct{}),
	}
	err = s.reserve()
	if err == nil {
		err = s.recover()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open spool %q: %w", cfg.Dir, err), s.release())
	}
	return s, nil
}

// reserve sets the memory of both buffers aside.
func (s *Spool) reserve() error {
	for _, b := range []*buffer{&s.pending, &s.writing} {
		var err error
		if b.data, err = reserve(s.cfg.BufferBytes); err != nil {
			return err
		}
	}
	return nil
}

func makeDir(dir string) error {
	switch err := os.Mkdir(dir, 0o700); {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return diskError("create folder", dir, err)
	}
	return syncDir(filepath.Dir(filepath.Clean(dir)))
}

// recovery is what Open finds out about the directory.
type recovery struct {
	dir    string
	st     state
	known  bool // st was read
	segs   []*segment
	bad    []found // segments without a valid header
	old    []found // quarantined earlier
	index  uint64  // highest index seen
	epoch  uint64  // to go on with
	tail   holes   // losses at the end of epoch
	holes  holes   // losses elsewhere
	ends   map[uint64]tailScan
	damage []Damage
}

// tailScan is what the end of the newest segment of an epoch looks like.
type tailScan struct {
	good int64  // end of the last whole record
	bad  int64  // unreadable bytes behind it
	torn uint64 // highest sequence in a readable header there; 0 if there is none
	rest int64  // bytes of bad that belong to no readable header
}

// recover reads the directory and brings the spool to the state before the first
// append.
func (s *Spool) recover() error {
	var err error
	r := &recovery{dir: s.cfg.Dir, ends: map[uint64]tailScan{}}
	var exists bool
	if s.state, r.st, exists, r.known, err = openState(s.cfg.Dir); err != nil {
		return err
	}
	if err := r.load(); err != nil {
		return err
	}
	if !r.known && (exists || len(r.segs)+len(r.bad) > 0) {
		r.damage = append(r.damage, Damage{Path: filepath.Join(s.cfg.Dir, stateName), Bytes: stateFileSize,
			Reason: "the state is unreadable; a new epoch begins, and everything that is left is delivered again"})
	}
	if err := r.scanEnds(); err != nil {
		return err
	}
	lost := r.chooseEpoch()
	s.adopt(r)
	for _, h := range lost {
		s.n.lost[h.cause] += h.last - h.first + 1
	}
	s.n.damaged += uint64(len(r.damage))
	if err := s.settle(r, exists); err != nil {
		return err
	}
	s.report(r.damage)
	return nil
}

// load lists the segments and reads their headers.
func (r *recovery) load() error {
	files, old, err := listDir(r.dir)
	if err != nil {
		return err
	}
	r.old, r.index = old, r.st.newest
	for _, f := range slices.Concat(files, old) {
		r.index = max(r.index, f.index)
	}
	for _, f := range files {
		if !f.whole {
			r.bad = append(r.bad, f)
			continue
		}
		r.segs = append(r.segs, &segment{index: f.index, epoch: f.header.epoch, first: f.header.first,
			last: f.header.first - 1, size: f.size, path: f.path})
	}
	return nil
}

// scanEnds finds the last sequence of each segment: one less than the first of the
// next one, or, for the newest of an epoch, by reading it.
func (r *recovery) scanEnds() error {
	for i, g := range r.segs {
		if i+1 < len(r.segs) && r.segs[i+1].epoch == g.epoch {
			g.last = r.segs[i+1].first - 1
			continue
		}
		f, err := openSegment(g.path)
		if err != nil {
			return err
		}
		end, err := scanEnd(f, g)
		f.Close()
		if err != nil {
			return fmt.Errorf("scan %q: %w", g.path, err)
		}
		if end.bad > 0 {
			r.damage = append(r.damage, Damage{Path: g.path, Offset: end.good, Bytes: end.bad, Epoch: g.epoch,
				Reason: "the last record is incomplete; cut off"})
		}
		g.size = end.good
		r.ends[g.epoch] = end
	}
	return nil
}

func scanEnd(f *os.File, g *segment) (tailScan, error) {
	end := tailScan{good: segmentDataStart}
	sized := *g
	sized.last = math.MaxUint64 - 1
	sc, err := walkSegment(f, &sized, func(it item) {
		if it.kind != itemDamage {
			end.good = it.off + it.size
			g.last = it.last
		}
	})
	if err != nil {
		return end, err
	}
	end.bad = g.size - end.good
	end.rest = end.bad
	if sc.seen > g.last {
		end.torn, end.rest = sc.seen, max(0, g.size-sc.seenEnd)
	}
	return end, nil
}

// retired returns the highest sequence that the unreadable end may have held. A
// killed process leaves at most one record there, whose header is whole or alone;
// where no header is readable, every sequence that would have fitted is given up.
func (t tailScan) retired(last uint64) uint64 {
	return max(last, t.torn) + uint64((t.rest+recordHeaderSize-1)/recordHeaderSize)
}

// chooseEpoch decides under which epoch to go on, and returns the losses that are
// new.
func (r *recovery) chooseEpoch() (lost holes) {
	if !r.known {
		r.epoch = newEpoch()
		return nil
	}
	r.holes = slices.Clone(r.st.holes)
	epoch, last := r.st.epoch, uint64(0)
	intact := r.st.newest == 0
	for _, g := range r.segs {
		if g.epoch == epoch {
			last = max(last, g.last)
		}
		intact = intact || g.index == r.st.newest
	}
	written := last
	if r.st.ackEpoch == epoch {
		// What is acknowledged need not be here: a loss that was delivered and
		// acknowledged has no record at all.
		last = max(last, r.st.ackSeq)
	}
	note := func(to uint64, cause Cause) (added bool) {
		for last < to {
			l := r.holes.at(epoch, last+1, to, 0)
			if l.Cause == 0 {
				h := hole{epoch: epoch, first: l.First, last: l.Last, cause: cause}
				lost, r.holes, added = append(lost, h), r.holes.add(h), true
			}
			last = l.Last
		}
		return added
	}
	from := last
	retired := r.ends[epoch].retired(written)
	gone := note(r.st.durable, CauseCorrupt)
	note(max(r.st.assigned, retired), CauseCrash)
	r.epoch = epoch
	if !intact || gone {
		// What was lost may have been delivered, and more than the state knows.
		r.epoch = newEpoch()
		r.damage = append(r.damage, Damage{Path: r.dir, Epoch: epoch,
			Reason: "the newest segment is missing or cut short; a new epoch begins"})
		return lost
	}
	// Losses at the end become gap records before the next record.
	kept := r.holes[:0:0]
	for _, h := range r.holes {
		if h.epoch == epoch && h.last > from {
			h.first = max(h.first, from+1)
			r.tail = append(r.tail, h)
		} else {
			kept = append(kept, h)
		}
	}
	r.holes = kept
	slices.SortFunc(r.tail, func(a, b hole) int { return cmp.Compare(a.first, b.first) })
	return lost
}

// adopt fills the spool with what was found.
func (s *Spool) adopt(r *recovery) {
	s.epoch, s.seed, s.index, s.noted = r.epoch, seedOf(r.epoch), r.index, r.st.newest
	s.holes, s.tail = r.holes, r.tail
	s.used = stateFileSize + lockFileBytes
	for _, f := range r.old {
		s.quarantine(f)
	}
	for _, g := range r.segs {
		if n := len(s.spans); n == 0 || s.spans[n-1].epoch != g.epoch {
			s.spans = append(s.spans, span{epoch: g.epoch})
		}
		s.spans[len(s.spans)-1].last = g.last
		s.segments = append(s.segments, g)
		s.used += g.size
	}
	for _, h := range s.holes {
		i := s.order(h.epoch)
		switch {
		case i >= 0:
			s.spans[i].last = max(s.spans[i].last, h.last)
		case h.epoch != s.epoch:
			// Nothing is left of it but the loss, so it is the oldest.
			s.spans = slices.Insert(s.spans, 0, span{epoch: h.epoch, last: h.last})
		}
	}
	if n := len(s.spans); n == 0 || s.spans[n-1].epoch != s.epoch {
		s.spans = append(s.spans, span{epoch: s.epoch})
	}
	now := &s.spans[len(s.spans)-1]
	for _, h := range s.holes {
		if h.epoch == s.epoch {
			now.last = max(now.last, h.last)
		}
	}
	if r.st.ackEpoch == s.epoch {
		now.last = max(now.last, r.st.ackSeq)
	}
	s.next = s.durable() + 1
	if n := len(s.tail); n > 0 {
		s.next = s.tail[n-1].last + 1
	}
	s.adoptAcked(r)
	if n := len(s.segments); n > 0 && s.segments[n-1].epoch == s.epoch {
		s.active = s.segments[n-1]
	}
}

// adoptAcked sets the acknowledged position and drops what lies before it, and
// what was being given up when the former process ended.
func (s *Spool) adoptAcked(r *recovery) {
	s.acked = pos{r.st.ackEpoch, r.st.ackSeq}
	if s.order(s.acked.epoch) < 0 {
		s.acked = pos{epoch: s.spans[0].epoch}
		if !r.known && len(r.segs) > 0 {
			s.acked.seq = r.segs[0].first - 1
		}
	}
	s.cursor, s.sent = s.acked, s.acked
	newest := len(s.segments) - 1
	kept := s.segments[:0:0]
	for i, g := range s.segments {
		first := g.first
		if g.epoch == s.acked.epoch {
			first = max(first, s.acked.seq+1)
		}
		done := !s.before(s.acked, g.pos()) || g.empty() || s.holes.covers(g.epoch, first, g.last, CauseEvicted)
		if done && i < newest {
			s.used -= g.size
			s.removing = append(s.removing, g)
			continue
		}
		kept = append(kept, g)
	}
	s.segments = kept
}

// settle makes the disk agree with what was decided: the torn end is cut off,
// damaged files are put aside, the state is written, files without use go.
func (s *Spool) settle(r *recovery, exists bool) error {
	if g := s.active; g != nil {
		f, err := os.OpenFile(g.path, os.O_RDWR|unix.O_NOFOLLOW, 0)
		if err != nil {
			return fmt.Errorf("open newest segment: %w", err)
		}
		s.out = f
		if r.ends[g.epoch].bad > 0 {
			if err := f.Truncate(g.size); err != nil {
				return diskError("cut off torn record", g.path, err)
			}
		}
		// What the former process wrote and did not sync counts from here on.
		if err := f.Sync(); err != nil {
			return diskError("sync newest segment", g.path, err)
		}
	}
	if err := s.putAside(r); err != nil {
		return err
	}
	if !r.known {
		if exists {
			if err := s.state.file.Close(); err != nil {
				return diskError("close unreadable state", s.state.path, err)
			}
		}
		var err error
		if s.state, err = createState(s.cfg.Dir, s.snapshot()); err != nil {
			return err
		}
		s.lastState = time.Now()
	}
	if err := s.writeState(); err != nil {
		return err
	}
	return s.removeFiles()
}

// putAside renames segments without a valid header, or removes them if they never
// held a record.
func (s *Spool) putAside(r *recovery) error {
	for _, f := range r.bad {
		if f.size <= segmentDataStart {
			// The process died while it created it; records come later.
			if err := os.Remove(f.path); err != nil {
				return diskError("remove unfinished segment", f.path, err)
			}
			continue
		}
		bad := f
		bad.path = strings.TrimSuffix(f.path, segmentSuffix) + quarantineSuffix
		if err := os.Rename(f.path, bad.path); err != nil {
			return diskError("put damaged segment aside", f.path, err)
		}
		r.damage = append(r.damage, Damage{Path: bad.path, Bytes: f.size,
			Reason: "the segment header is unreadable; the file was put aside"})
		s.n.damaged++
		s.quarantine(bad)
	}
	return syncDir(s.cfg.Dir)
}

func (s *Spool) quarantine(f found) {
	g := &segment{index: f.index, size: f.size, path: f.path}
	s.quarant = append(s.quarant, g)
	s.used += g.size
	if len(s.quarant) > maxQuarantined {
		s.doom(s.quarant[0])
		s.quarant = s.quarant[1:]
	}
}
