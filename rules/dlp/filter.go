// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// filter tells where in a text something may stand. It takes 64 places at a time and gives them as the bits of two words:
// where digits stand as numbers have them, and where a gram of a literal stands. A gram is three bytes, of which six bits
// each are looked at, those that tell letters without case from each other and from the rest. It is looked up at every
// second place: a literal of four bytes or more has one at an even and one at an odd distance from its start, and of
// each kind the rarest is entered.
type filter struct {
	grams   [1 << (3*codeBits - 6)]uint64 // a bit for each gram
	ranks   [1 << (3*codeBits - 6)]uint32 // how many bits are set in the words before
	index   []uint32                      // of buckets, by the rank of the gram
	buckets []bucket
	// pairs says that two digits in a row matter, not three alone.
	pairs bool
}

const (
	// codeBits are the bits of a byte that a gram looks at.
	codeBits = 6
	codeMask = 1<<codeBits - 1
	// window is how many places the filter takes at a time, margin how many bytes behind them it may look at.
	window = 64
	margin = 8
)

// bucket is what a gram may be a part of.
type bucket struct {
	anchors []placed
	// before and after are, by their low six bits, the bytes that stand next to the gram in some anchor: most places
	// that the gram alone does not rule out, they do.
	before, after uint64
}

// placed is a literal with the gram's distance from its start.
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

// newFilter enters the anchors.
func newFilter(anchors []anchor, pairs bool) *filter {
	byGram := make(map[uint32]*bucket)
	for i := range anchors {
		for _, p := range places(&anchors[i]) {
			b := byGram[p.gram]
			if b == nil {
				b = &bucket{}
				byGram[p.gram] = b
			}
			if e := (placed{int32(i), p.distance}); !slices.Contains(b.anchors, e) {
				b.anchors = append(b.anchors, e)
			}
		}
	}
	f := &filter{pairs: pairs}
	f.fill(byGram, anchors)
	return f
}

// fill numbers the buckets; equal ones are shared.
func (f *filter) fill(byGram map[uint32]*bucket, anchors []anchor) {
	order := make([]uint32, 0, len(byGram))
	for g := range byGram {
		order = append(order, g)
		f.grams[g>>6] |= 1 << (g & 63)
	}
	slices.Sort(order)
	known := make(map[string]uint32)
	for _, g := range order {
		b := byGram[g]
		id, ok := known[bucketKey(b)]
		if !ok {
			id = uint32(len(f.buckets))
			known[bucketKey(b)] = id
			b.surround(anchors)
			f.buckets = append(f.buckets, *b)
		}
		f.index = append(f.index, id)
	}
	n := 0
	for i, word := range f.grams {
		f.ranks[i] = uint32(n)
		n += bits.OnesCount64(word)
	}
}

// surround sets before and after.
func (b *bucket) surround(anchors []anchor) {
	for _, e := range b.anchors {
		a := &anchors[e.anchor]
		b.before |= around(a, int(e.distance)-1)
		b.after |= around(a, int(e.distance)+3)
	}
}

// around is the bits of what may stand at a distance from an anchor's start.
func around(a *anchor, at int) uint64 {
	if at < 0 || at >= len(a.text) {
		return ^uint64(0)
	}
	if a.fold && isLetter(a.text[at]) {
		return 1<<(lower(a.text[at])&63) | 1<<(upper(a.text[at])&63)
	}
	return 1 << (a.text[at] & 63)
}

func bucketKey(b *bucket) string {
	var key []byte
	for _, e := range b.anchors {
		key = binary.LittleEndian.AppendUint32(key, uint32(e.anchor))
		key = binary.LittleEndian.AppendUint32(key, uint32(e.distance))
	}
	return string(key)
}

// code is what a gram has of a byte: letters of both cases have the same.
func code(b byte) uint32 { return uint32(b&0x1f | b>>1&0x20) }

// gramPlace is a gram at a distance from a literal's start.
type gramPlace struct {
	gram     uint32
	distance int32
}

// places are the grams by which a literal is found: of those at even distances the rarest, and of those at odd ones.
func places(a *anchor) []gramPlace {
	var out []gramPlace
	if a.kind == anchorEmail {
		at := code('@')
		for rest := uint32(0); rest < 1<<(2*codeBits); rest++ {
			out = append(out, gramPlace{rest&codeMask | at<<codeBits | rest>>codeBits<<(2*codeBits), -1},
				gramPlace{at | rest<<codeBits, 0})
		}
		return out
	}
	for parity := range 2 {
		best, least := parity, 0
		for d := parity; d+2 < len(a.text); d += 2 {
			if n := commonness(a.text[d]) * commonness(a.text[d+1]) * commonness(a.text[d+2]); d == parity || n < least {
				best, least = d, n
			}
		}
		gram := code(a.text[best]) | code(a.text[best+1])<<codeBits
		if best+2 < len(a.text) {
			out = append(out, gramPlace{gram | code(a.text[best+2])<<(2*codeBits), int32(best)})
			continue
		}
		for third := range uint32(1 << codeBits) {
			out = append(out, gramPlace{gram | third<<(2*codeBits), int32(best)})
		}
	}
	return out
}

// commonness is a rough weight of how often a byte stands in text.
func commonness(b byte) int {
	switch {
	case isLetter(b):
		return [26]int{8, 2, 5, 4, 12, 3, 3, 4, 8, 1, 1, 5, 4, 7, 8, 4, 1, 7, 7, 9, 4, 2, 2, 1, 2, 1}[lower(b)-'a']
	case isDigit(b) || b == ' ':
		return 14
	case slices.Contains([]byte(`":,=-/.`), b):
		return 9
	}
	return 2
}

// look is where in the first 64 bytes of a text digits stand that begin a number's group, and where grams of literals do.
// Eight more bytes of it matter.
func (f *filter) look(text *[window + margin]byte) (numbers, literals uint64) {
	var digits uint64
	w := binary.LittleEndian.Uint64(text[:])
	codes := pack(w)
	for j := 0; j < window; j += 8 {
		digits |= digitBits(w) << j
		w = binary.LittleEndian.Uint64(text[j+8:])
		next := pack(w)
		a, b, c, d := codes, codes>>(2*codeBits), codes>>(4*codeBits), codes>>(6*codeBits)|next<<(2*codeBits)
		literals |= (f.grams[a>>6&(1<<12-1)]>>(a&63)&1 | f.grams[b>>6&(1<<12-1)]>>(b&63)&1<<2 |
			f.grams[c>>6&(1<<12-1)]>>(c&63)&1<<4 | f.grams[d>>6&(1<<12-1)]>>(d&63)&1<<6) << j
		codes = next
	}
	more := digitBits(w)
	two := digits & (digits>>1 | more<<63)
	three := two & (digits>>2 | more<<62)
	numbers = three &^ (three << 1)
	if f.pairs {
		numbers |= two &^ (digits << 1)
	}
	return numbers, literals
}

// pack is the codes of eight bytes, in 48 bits.
func pack(w uint64) uint64 {
	w = w&0x1f1f1f1f1f1f1f1f | w>>1&0x2020202020202020
	w = w&0x003f003f003f003f | w>>2&0x0fc00fc00fc00fc0
	w = w&0x00000fff00000fff | w>>4&0x00fff00000fff000
	return w&0x0000000000ffffff | w>>8&0x0000ffffff000000
}

// digitBits has a bit for each digit of eight bytes.
func digitBits(w uint64) uint64 {
	w ^= 0x3030303030303030
	w = ^((w&0x7f7f7f7f7f7f7f7f + 0x7676767676767676) | w) & 0x8080808080808080
	return w >> 7 * 0x0102040810204080 >> 56
}

// bucket is what the gram at the start of a text, which the filter found, may be a part of.
func (f *filter) bucket(gram uint32) *bucket {
	word := f.grams[gram>>6]
	return &f.buckets[f.index[int(f.ranks[gram>>6])+bits.OnesCount64(word&(1<<(gram&63)-1))]]
}
