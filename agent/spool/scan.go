// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"golang.org/x/sys/unix"
)

type itemKind uint8

const (
	itemRecord itemKind = iota + 1
	itemGap             // a recorded loss
	itemDamage          // sequences that can no longer be read
)

// item is one finding of a scan. Sequences of successive items are contiguous.
type item struct {
	kind        itemKind
	first, last uint64
	cause       Cause
	payload     []byte // of a record; valid until the next call of next
	off, size   int64  // where in the file
}

// scanner reads the records of one segment in order, steps over damage, and says
// which sequences the damage cost. It trusts nothing that it reads.
type scanner struct {
	src    io.ReaderAt
	seed   uint32
	off    int64  // where the next record is expected
	end    int64  // end of the bytes that count
	expect uint64 // the first sequence that is not accounted for
	limit  uint64 // the highest sequence that may occur; what is beyond is superseded

	buf    []byte // window of the file
	bufOff int64

	bad     region // damage that no item has reported yet
	seen    uint64 // highest sequence of a header that is whole but whose record is not
	seenEnd int64  // where that record ends, perhaps behind the end of the file
}

// region is a stretch of unreadable bytes; n is 0 if there is none.
type region struct{ off, n int64 }

const scanWindow = 64 << 10

// reset makes the scanner start at off, where sequence expect should be.
func (s *scanner) reset(src io.ReaderAt, epoch uint64, off, end int64, expect, limit uint64) {
	s.src, s.seed, s.off, s.end, s.expect, s.limit = src, seedOf(epoch), off, end, expect, limit
	s.buf, s.bufOff = s.buf[:0], 0
	s.bad, s.seen, s.seenEnd = region{}, 0, 0
}

// next returns the next finding, or io.EOF at the end; then bad and seen tell of
// damage behind the last whole record.
func (s *scanner) next() (item, error) {
	for s.off < s.end {
		head, err := s.window(s.off, recordHeaderSize)
		if err != nil {
			return item{}, err
		}
		h, ok := parseHeader(head, s.seed)
		if !ok {
			if err := s.resync(); err != nil {
				return item{}, err
			}
			continue
		}
		if h.seq > s.limit {
			s.off = s.end
			break
		}
		size := frameSize(h.length)
		frame, err := s.window(s.off, size)
		if err != nil {
			return item{}, err
		}
		payload, whole := checkPayload(frame, h)
		if !whole {
			if h.seq > s.seen {
				s.seen, s.seenEnd = h.seq, s.off+size
			}
			s.skip(min(size, s.end-s.off))
			continue
		}
		it := item{kind: itemRecord, first: h.seq, last: h.seq, payload: payload, off: s.off, size: size}
		if h.kind == kindGap {
			it.kind = itemGap
			it.last, it.cause = parseGap(payload)
			if it.last < it.first || it.last > s.limit {
				s.skip(size)
				continue
			}
		}
		if it.last < s.expect { // a copy of what was delivered already
			s.off += size
			continue
		}
		if it.first > s.expect {
			return s.damage(it.first - 1), nil
		}
		it.first = s.expect
		s.expect = it.last + 1
		s.off += size
		s.bad = region{}
		return it, nil
	}
	return item{}, io.EOF
}

func checkPayload(frame []byte, h recordHeader) ([]byte, bool) {
	if len(frame) < recordHeaderSize+h.length {
		return nil, false
	}
	payload := frame[recordHeaderSize : recordHeaderSize+h.length]
	return payload, crc32.Checksum(payload, castagnoli) == h.sum
}

// damage returns the finding that everything up to last is lost.
func (s *scanner) damage(last uint64) item {
	it := item{kind: itemDamage, first: s.expect, last: last, cause: CauseCorrupt, off: s.bad.off, size: s.bad.n}
	if s.bad.n == 0 {
		it.off = s.off
	}
	s.expect = last + 1
	s.bad = region{}
	return it
}

// skip marks n bytes as bad and steps over them.
func (s *scanner) skip(n int64) {
	if s.bad.n == 0 {
		s.bad.off = s.off
	}
	s.off += n
	s.bad.n = s.off - s.bad.off
}

// resync steps to the next place that holds a whole record header, or to the end.
func (s *scanner) resync() error {
	for {
		s.skip(min(recordAlign, s.end-s.off))
		if s.off >= s.end {
			return nil
		}
		head, err := s.window(s.off, recordHeaderSize)
		if err != nil {
			return err
		}
		if _, ok := parseHeader(head, s.seed); ok {
			return nil
		}
	}
}

// window returns n bytes of the file at off, fewer at its end.
func (s *scanner) window(off, n int64) ([]byte, error) {
	n = min(n, s.end-off)
	if off < s.bufOff || off+n > s.bufOff+int64(len(s.buf)) {
		if err := s.load(off, min(max(n, scanWindow), s.end-off)); err != nil {
			return nil, err
		}
		n = min(n, int64(len(s.buf)))
	}
	at := off - s.bufOff
	return s.buf[at : at+n], nil
}

// load fills the window. Blocks that the disk cannot read become zeros, which no
// checksum accepts; a file that ends early ends the scan early.
func (s *scanner) load(off, n int64) error {
	if int64(cap(s.buf)) < n {
		s.buf = make([]byte, n)
	}
	s.buf, s.bufOff = s.buf[:n], off
	got, err := s.src.ReadAt(s.buf, off)
	switch {
	case int64(got) == n:
		return nil
	case errors.Is(err, io.EOF):
		s.buf = s.buf[:got]
		s.end = off + int64(got)
		return nil
	case errors.Is(err, unix.EIO):
		return s.loadBlocks(off, n)
	}
	return fmt.Errorf("read %d bytes at %d: %w", n, off, err)
}

func (s *scanner) loadBlocks(off, n int64) error {
	const block = 4096
	for at := int64(0); at < n; {
		// Blocks of the file, not of the window.
		size := min(block-(off+at)%block, n-at)
		part := s.buf[at : at+size]
		got, err := s.src.ReadAt(part, off+at)
		if int64(got) < size {
			if !errors.Is(err, unix.EIO) {
				return fmt.Errorf("read block at %d: %w", off+at, err)
			}
			clear(part)
		}
		at += size
	}
	return nil
}
