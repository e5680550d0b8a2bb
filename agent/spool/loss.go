// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"fmt"
	"slices"
)

// Cause says why records were lost. The numbers are part of the format on disk
// and of what receivers see; they never change their meaning.
type Cause uint8

// Causes of loss.
const (
	// CauseEvicted: given up at MaxBytes under DropOldest.
	CauseEvicted Cause = 1
	// CauseFull: refused at MaxBytes, under DropNewest, or under DropOldest when
	// everything was in flight.
	CauseFull Cause = 2
	// CauseBacklog: refused because records came faster than the disk takes them.
	CauseBacklog Cause = 3
	// CauseDisk: refused because the disk refuses and the memory buffer is full.
	CauseDisk Cause = 4
	// CauseTooLarge: beyond MaxRecordBytes.
	CauseTooLarge Cause = 5
	// CauseCorrupt: was durable, and can no longer be read.
	CauseCorrupt Cause = 6
	// CauseCrash: appended but not durable when the process or machine died. The
	// range is an upper bound: it covers every sequence that may have been used.
	CauseCrash Cause = 7
	// CauseSeveral: a range for which there was no room to keep causes apart.
	CauseSeveral Cause = 8

	// NumCauses is one more than the highest Cause; arrays are indexed by Cause.
	NumCauses = 9
)

// String returns the name of the cause as it appears in metrics.
func (c Cause) String() string {
	names := [NumCauses]string{"none", "evicted", "full", "backlog", "disk", "too_large", "corrupt", "crash", "several"}
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("cause_%d", uint8(c))
}

// Loss is a range of sequences that will not be delivered.
type Loss struct {
	First uint64 // first sequence of the range
	Last  uint64 // last sequence of the range, inclusive
	Cause Cause
}

// hole is a loss with its epoch, as kept in memory and in the state file.
type hole struct {
	epoch, first, last uint64
	cause              Cause
}

// maxHoles bounds the holes between segments whose cause is remembered. When
// there are more, the oldest is forgotten and reads as CauseCorrupt. Holes lie
// between segments in flight and segments given up, so that a few are usual.
const maxHoles = 88

// holes is a list of ranges that do not overlap, ordered within each epoch.
type holes []hole

// add inserts h without the parts that are there already, and joins neighbours
// of the same cause.
func (l holes) add(h hole) holes {
	for _, have := range l {
		if have.epoch != h.epoch || have.last < h.first || have.first > h.last {
			continue
		}
		if h.first < have.first {
			left := h
			left.last = have.first - 1
			l = l.add(left)
		}
		if h.last > have.last {
			right := h
			right.first = have.last + 1
			l = l.add(right)
		}
		return l
	}
	at := len(l)
	for at > 0 && l[at-1].epoch == h.epoch && l[at-1].first > h.first {
		at--
	}
	l = slices.Insert(l, at, h)
	if at+1 < len(l) && l[at].joins(l[at+1]) {
		l[at].last = l[at+1].last
		l = slices.Delete(l, at+1, at+2)
	}
	if at > 0 && l[at-1].joins(l[at]) {
		l[at-1].last = l[at].last
		l = slices.Delete(l, at, at+1)
	}
	if len(l) > maxHoles {
		l = slices.Delete(l, 0, len(l)-maxHoles)
	}
	return l
}

func (h hole) joins(next hole) bool {
	return h.epoch == next.epoch && h.cause == next.cause && h.last+1 == next.first
}

// at returns the loss that begins at first and ends at last or earlier: up to
// the end of the hole that holds first, or, as fallback, up to the next hole.
func (l holes) at(epoch, first, last uint64, fallback Cause) Loss {
	for _, h := range l {
		if h.epoch != epoch || h.last < first {
			continue
		}
		if h.first <= first {
			return Loss{First: first, Last: min(last, h.last), Cause: h.cause}
		}
		if h.first <= last {
			last = h.first - 1
		}
	}
	return Loss{First: first, Last: last, Cause: fallback}
}

// covers reports whether [first, last] lies in holes of the given cause alone.
func (l holes) covers(epoch, first, last uint64, cause Cause) bool {
	for first <= last {
		loss := l.at(epoch, first, last, 0)
		if loss.Cause != cause {
			return false
		}
		first = loss.Last + 1
	}
	return true
}

// maxTail bounds the ranges of refused records that await the next accepted one.
const maxTail = 16

// extend appends one refused sequence to the tail; l is contiguous.
func (l holes) extend(epoch, seq uint64, cause Cause) holes {
	if n := len(l); n > 0 {
		last := &l[n-1]
		if last.cause == cause {
			last.last = seq
			return l
		}
		if n == maxTail {
			last.last, last.cause = seq, CauseSeveral
			return l
		}
	}
	return append(l, hole{epoch: epoch, first: seq, last: seq, cause: cause})
}

// appendLoss adds l to list, joined with its predecessor where they touch.
func appendLoss(list []Loss, l Loss) []Loss {
	if n := len(list); n > 0 && list[n-1].Cause == l.Cause && list[n-1].Last+1 == l.First {
		list[n-1].Last = l.Last
		return list
	}
	return append(list, l)
}
