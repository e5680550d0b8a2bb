// SPDX-License-Identifier: Apache-2.0

package waf

import "slices"

// families is a set of families, a bit each.
type families uint32

// automaton finds which of many literals occur in a text, in one pass, without regard to the case of ASCII letters. All
// white space is one class of bytes, so that a literal's space stands for any of it, and so are the two quotation marks.
// It is the deterministic form of Aho and Corasick's machine: a load of the class and one of the next state for a byte.
//
// States are numbered so that those in which a literal ends come last, and are kept multiplied by stride.
type automaton struct {
	class  [256]uint8
	next   []uint32
	found  []families // by state
	accept uint32     // states from here on have something in found
}

// stride is the number of classes that a row of the table has room for.
const stride = 80

// literal is a word to look for, and what it makes a text a candidate for.
type literal struct {
	text string
	of   families
}

// fold is the byte that stands for c in literals.
func fold(c byte) byte {
	switch {
	case c >= 'A' && c <= 'Z':
		return c + 'a' - 'A'
	case c == '\t' || c == '\n' || c == '\v' || c == '\f' || c == '\r':
		return ' '
	case c == '"':
		return '\''
	}
	return c
}

// builder is the trie that the automaton is made from.
type builder struct {
	class   [256]uint8
	classes int
	next    [][stride]int32 // -1 where the trie has no edge
	found   []families
}

// newAutomaton builds the machine for the literals. It returns nil if they use more classes of bytes than a row has.
func newAutomaton(literals []literal) *automaton {
	b := &builder{classes: 1}
	for _, l := range literals {
		for i := range len(l.text) {
			c := fold(l.text[i])
			if b.class[c] == 0 {
				if b.classes == stride {
					return nil
				}
				b.class[c] = uint8(b.classes)
				b.classes++
			}
		}
	}
	for c := range 256 {
		b.class[c] = b.class[fold(byte(c))]
	}
	b.state()
	for _, l := range literals {
		b.add(l)
	}
	return b.link()
}

func (b *builder) state() int32 {
	var row [stride]int32
	for i := range row {
		row[i] = -1
	}
	b.next = append(b.next, row)
	b.found = append(b.found, 0)
	return int32(len(b.next) - 1)
}

func (b *builder) add(l literal) {
	at := int32(0)
	for i := range len(l.text) {
		c := b.class[l.text[i]]
		if b.next[at][c] < 0 {
			to := b.state()
			b.next[at][c] = to
		}
		at = b.next[at][c]
	}
	b.found[at] |= l.of
}

// link fills in the edges that the trie lacks, state by state in order of their depth, and numbers the states anew.
func (b *builder) link() *automaton {
	fail := make([]int32, len(b.next))
	queue := make([]int32, 0, len(b.next))
	for c := range b.classes {
		if to := b.next[0][c]; to >= 0 {
			queue = append(queue, to)
		} else {
			b.next[0][c] = 0
		}
	}
	for i := 0; i < len(queue); i++ {
		at := queue[i]
		b.found[at] |= b.found[fail[at]]
		for c := range b.classes {
			if to := b.next[at][c]; to >= 0 {
				fail[to] = b.next[fail[at]][c]
				queue = append(queue, to)
			} else {
				b.next[at][c] = b.next[fail[at]][c]
			}
		}
	}
	return b.number(append([]int32{0}, queue...))
}

func (b *builder) number(order []int32) *automaton {
	slices.SortStableFunc(order, func(x, y int32) int {
		if (b.found[x] == 0) == (b.found[y] == 0) {
			return 0
		}
		if b.found[x] == 0 {
			return -1
		}
		return 1
	})
	name := make([]uint32, len(order))
	for i, s := range order {
		name[s] = uint32(i)
	}
	a := &automaton{class: b.class, next: make([]uint32, len(order)*stride), found: make([]families, len(order))}
	a.accept = uint32(len(order)) * stride
	for i, s := range order {
		a.found[i] = b.found[s]
		if a.found[i] != 0 {
			a.accept = min(a.accept, uint32(i)*stride)
		}
		for c := range b.classes {
			a.next[i*stride+c] = name[b.next[s][c]] * stride
		}
	}
	return a
}

// scan returns what the text is a candidate for.
func (a *automaton) scan(text []byte) families {
	var all families
	state, next, accept := uint32(0), a.next, a.accept
	for _, c := range text {
		state = next[state+uint32(a.class[c])]
		if state >= accept {
			all |= a.found[state/stride]
		}
	}
	return all
}
