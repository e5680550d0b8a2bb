// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"time"
)

// pos is a place in the stream: everything up to and with seq of epoch, and all
// epochs before it.
type pos struct{ epoch, seq uint64 }

// span is an epoch that still matters, with the last sequence whose fate is
// durable. The last span of a spool is the current epoch.
type span struct{ epoch, last uint64 }

// buffer holds framed records that are not durable yet.
type buffer struct {
	data    []byte
	off     int    // bytes of data that are durable
	last    uint64 // last sequence in data
	records int
}

// Spool is an open spool directory.
type Spool struct {
	cfg  Config
	seed uint32
	lock *os.File

	// running is held by whoever writes to the disk: Run or Close. It guards the
	// fields up to mu.
	running   sync.Mutex
	state     *stateFile
	active    *segment // nil if the next write needs a new segment
	out       *os.File // the active segment, open for writing
	index     uint64   // of the newest segment ever
	noted     uint64   // newest segment, according to the state on disk
	lastState time.Time
	removing  []*segment // may be removed: the state on disk accounts for them

	// reading is held by Next. It guards rd.
	reading sync.Mutex
	rd      reader

	kick chan struct{} // wakes Run; holds one

	// mu guards everything below. No I/O is done under it.
	mu       sync.Mutex
	closed   bool
	changed  chan struct{} // closed when durable moves, room appears or the spool closes
	watched  bool          // somebody waits for changed
	waiters  int           // calls that wait for records to become durable
	epoch    uint64
	next     uint64 // next sequence to assign
	pending  buffer // filled by Append
	writing  buffer // being written; kept until it is durable
	firstAt  time.Time
	tail     holes // refused sequences, up to next-1, for which no gap record is in pending
	retiring holes // the former tail, now gap records in pending or writing
	holes    holes // lost ranges between or before segments
	spans    []span
	segments []*segment // oldest first
	doomed   []*segment // given up, acknowledged or surplus; not removed yet
	quarant  []*segment // quarantined files, oldest first
	used     int64      // bytes of segments, quarantined files and state
	acked    pos
	cursor   pos    // delivered since the last Rewind
	sent     pos    // delivered ever, by this process
	flight   uint64 // highest segment index with records in flight; 0 if none
	fetching uint64 // segment that Next reads now; 0 if none
	rewinds  uint64
	dirty    bool // state on disk is behind
	diskErr  error
	fullErr  error // ErrFull with diskErr, made once: refusing allocates nothing
	retryAt  time.Time
	backoff  time.Duration
	n        counters
}

// newEpoch mints an epoch: 64 random bits, never 0.
func newEpoch() uint64 {
	var b [8]byte
	for {
		// Read never returns an error; it ends the program if there is no entropy.
		_, _ = rand.Read(b[:])
		if e := binary.LittleEndian.Uint64(b[:]); e != 0 {
			return e
		}
	}
}

// Epoch returns the epoch of records that are appended now. It does not change
// while the spool is open.
func (s *Spool) Epoch() uint64 { return s.epoch }

// Close writes what is still in memory, persists the acknowledged position and
// gives up the directory. It returns ErrRunning while Run runs, and an error that
// says how many records could not be written; the spool is closed in that case
// too. A second Close returns ErrClosed.
func (s *Spool) Close() error {
	if !s.running.TryLock() {
		return ErrRunning
	}
	defer s.running.Unlock()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.closed = true
	s.mu.Unlock()

	err := s.drain()
	if serr := s.writeState(); serr != nil {
		err = errors.Join(err, serr)
	}
	s.mu.Lock()
	s.broadcast()
	s.mu.Unlock()
	// Next holds reading only while it reads a file; it returns at the broadcast.
	s.reading.Lock()
	defer s.reading.Unlock()
	s.rd.close()
	return errors.Join(err, s.release())
}

// release gives up the buffers and closes every file; the lock goes last.
func (s *Spool) release() error {
	s.mu.Lock()
	err := errors.Join(s.pending.release(), s.writing.release())
	s.mu.Unlock()
	if s.out != nil {
		err = errors.Join(err, s.out.Close())
	}
	if s.state != nil {
		err = errors.Join(err, s.state.file.Close())
	}
	return errors.Join(err, s.lock.Close())
}

// broadcast wakes everybody who waits for changed. mu is held.
func (s *Spool) broadcast() {
	if s.watched {
		close(s.changed)
		s.changed = make(chan struct{})
		s.watched = false
	}
}

// watch returns a channel that is closed at the next change. mu is held.
func (s *Spool) watch() <-chan struct{} {
	s.watched = true
	return s.changed
}

// wake makes Run look for work.
func (s *Spool) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// order returns the place of an epoch among those that still matter, or -1. mu is
// held.
func (s *Spool) order(epoch uint64) int {
	for i, sp := range s.spans {
		if sp.epoch == epoch {
			return i
		}
	}
	return -1
}

// before reports whether a lies before b. An epoch that is not known any more
// lies before all others. mu is held.
func (s *Spool) before(a, b pos) bool {
	if a.epoch == b.epoch {
		return a.seq < b.seq
	}
	return s.order(a.epoch) < s.order(b.epoch)
}

// durable returns the last sequence of the current epoch whose fate is durable.
// mu is held.
func (s *Spool) durable() uint64 { return s.spans[len(s.spans)-1].last }

func (s *Spool) setDurable(seq uint64) {
	s.spans[len(s.spans)-1].last = seq
	s.broadcast()
}
