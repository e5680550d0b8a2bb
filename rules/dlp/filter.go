// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"encoding/binary"
	"slices"
)

// filter tells, for each pair of bytes, what may stand there. The scan looks at every second position only: a literal of
// three bytes or more has a pair at an even and one at an odd distance from its start, and both are in the table; so has
// a run of three digits.
type filter struct {
	table   [1 << 16]uint8  // bits of holds
	index   [1 << 16]uint16 // of buckets
	buckets []bucket
}

// What a pair of bytes may be a part of.
const (
	holdsDigits uint8 = 1 << iota
	holdsAnchor
)

// bucket is what a pair of bytes may be a part of.
type bucket struct {
	digits  bool
	anchors []placed
	// before and after are, by their low six bits, the bytes that stand next to the pair in some anchor: most places
	// that the pair alone does not rule out, they do.
	before, after uint64
}

// placed is a literal with the pair's distance from its start.
type placed struct {
	anchor   int32
	distance int32
}

// anchor is a literal and what to do where it stands.
type anchor struct {
	text     []byte
	fold     bool
	kind     anchorKind
	detector int32
	program  *program
	min, max int // distance of the literal from the match's start
}

type anchorKind uint8

const (
	anchorPattern anchorKind = iota // a part of a match of program
	anchorAfter                     // the word that a match of program follows
	anchorEmail
)

// newFilter builds the table.
func newFilter(anchors []anchor) *filter {
	pairs := make(map[uint16]*bucket)
	at := func(pair uint16) *bucket {
		if pairs[pair] == nil {
			pairs[pair] = &bucket{}
		}
		return pairs[pair]
	}
	for a := range 10 {
		for b := range 10 {
			at(uint16('0'+a) | uint16('0'+b)<<8).digits = true
		}
	}
	for i := range anchors {
		for _, p := range places(&anchors[i]) {
			b := at(p.pair)
			if e := (placed{int32(i), p.distance}); !slices.Contains(b.anchors, e) {
				b.anchors = append(b.anchors, e)
			}
		}
	}
	f := &filter{buckets: []bucket{{}}}
	f.fill(pairs, anchors)
	return f
}

// fill numbers the buckets; equal ones are shared.
func (f *filter) fill(pairs map[uint16]*bucket, anchors []anchor) {
	known := make(map[string]uint16)
	order := make([]uint16, 0, len(pairs))
	for p := range pairs {
		order = append(order, p)
	}
	slices.Sort(order)
	for _, p := range order {
		b := pairs[p]
		id, ok := known[bucketKey(b)]
		if !ok {
			id = uint16(len(f.buckets))
			known[bucketKey(b)] = id
			f.buckets = append(f.buckets, *b)
		}
		f.index[p] = id
		if b.digits {
			f.table[p] |= holdsDigits
		}
		if len(b.anchors) > 0 {
			f.table[p] |= holdsAnchor
		}
	}
	for i := range f.buckets {
		f.buckets[i].surround(anchors)
	}
}

// surround sets before and after.
func (b *bucket) surround(anchors []anchor) {
	for _, e := range b.anchors {
		a := &anchors[e.anchor]
		b.before |= around(a, int(e.distance)-1)
		b.after |= around(a, int(e.distance)+2)
	}
}

// around is the bits of what may stand at a distance from an anchor's start.
func around(a *anchor, at int) uint64 {
	if at < 0 || at >= len(a.text) {
		return ^uint64(0)
	}
	var bits uint64
	for _, b := range cases(a.text[at], a.fold) {
		bits |= 1 << (b & 63)
	}
	return bits
}

func bucketKey(b *bucket) string {
	key := []byte{0}
	if b.digits {
		key[0] = 1
	}
	for _, e := range b.anchors {
		key = binary.LittleEndian.AppendUint32(key, uint32(e.anchor))
		key = binary.LittleEndian.AppendUint32(key, uint32(e.distance))
	}
	return string(key)
}

// pairPlace is a pair of bytes at a distance from a literal's start.
type pairPlace struct {
	pair     uint16
	distance int32
}

// places are the pairs by which a literal is found: of those at even distances the rarest, and of those at odd ones.
func places(a *anchor) []pairPlace {
	var out []pairPlace
	if a.kind == anchorEmail {
		for b := range 256 {
			out = append(out, pairPlace{uint16(b) | '@'<<8, -1}, pairPlace{'@' | uint16(b)<<8, 0})
		}
		return out
	}
	for parity := range 2 {
		best := parity
		for d := parity; d+1 < len(a.text); d += 2 {
			if commonness(a.text[d])*commonness(a.text[d+1]) < commonness(a.text[best])*commonness(a.text[best+1]) {
				best = d
			}
		}
		for _, x := range cases(a.text[best], a.fold) {
			for _, y := range cases(a.text[best+1], a.fold) {
				out = append(out, pairPlace{uint16(x) | uint16(y)<<8, int32(best)})
			}
		}
	}
	return out
}

func cases(b byte, fold bool) []byte {
	if fold && isLetter(b) {
		return []byte{lower(b), upper(b)}
	}
	return []byte{b}
}

// commonness is a rough weight of how often a byte stands in text.
func commonness(b byte) int {
	switch {
	case isLower(b):
		return [26]int{8, 2, 5, 4, 12, 3, 3, 4, 8, 1, 1, 5, 4, 7, 8, 4, 1, 7, 7, 9, 4, 2, 2, 1, 2, 1}[b-'a']
	case isDigit(b) || b == ' ':
		return 14
	case isUpper(b) || b == '_':
		return 2
	case slices.Contains([]byte(`":,=-/.`), b):
		return 9
	}
	return 1
}
