// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"slices"
)

// The bounds of the inline automaton, which are those of the kernel's map, and its mark.
const (
	InlineStates  = 1024
	InlineClasses = 64
	// InlineSuspect marks, in Inline.Accept, what is no match before it was looked at again.
	InlineSuspect = 0x80
)

// Inline is an automaton that needs nothing but a table, so that a packet filter can walk it. It is entered in state 0 at
// the start of a stream, and goes with byte b from state s to Next[s*64+Classes[b]]. Where Accept of the state gone to is
// not 0, a value has just ended, or the part of it that can be judged: the low seven bits are an index of Detectors plus
// one. With InlineSuspect set the automaton cannot tell: a card number written as bare digits may be any number, and a
// token's checksum is beyond it; the matcher can. Without it what was found is a card number in groups, of a known
// issuer and correct by Luhn, or the header or prefix and length of a key that has no other meaning.
//
// It finds the first number that begins in a row of groups, not one that begins inside of another's groups, and no
// values of the matcher's other detectors.
type Inline struct {
	Classes [256]uint8
	States  int
	Next    []uint16 // States*64
	Accept  []uint8  // per state
	// Detectors are the matcher's detectors that take part, by their index there.
	Detectors []int32
}

// node is a state of a part of the automaton before the parts are put together: a token's pattern or a card's lane.
type node struct {
	edges  [256]int32 // -1 nowhere
	accept uint8
	// lane says that something has begun here that is followed to its end, and nothing else meanwhile.
	lane bool
}

// inlineBuilder puts the parts together.
type inlineBuilder struct {
	nodes []node
	// starts are the nodes entered where no letter, digit or underscore stands before, numbers those entered where a
	// number can begin, solos instead of them behind another number, and anywhere those entered at every byte.
	starts, numbers, solos, anywhere []int32
	// digits and gap are the nodes of numbers that are no card's, -1 without cards.
	digits, gap int32
}

// Inline makes the automaton of the matcher's detectors that ask for it.
func (m *Matcher) Inline() (Inline, error) {
	var in Inline
	b := &inlineBuilder{digits: -1, gap: -1}
	for i := range m.detectors {
		d := &m.detectors[i]
		if !d.Inline {
			continue
		}
		if len(in.Detectors) == InlineSuspect-1 {
			return Inline{}, fmt.Errorf("inline automaton: more than %d detectors", InlineSuspect-1)
		}
		in.Detectors = append(in.Detectors, int32(i))
		if err := b.detector(d, uint8(len(in.Detectors)), m.checks[i] != nil); err != nil {
			return Inline{}, fmt.Errorf("inline automaton: detector %s: %w", d.ID, err)
		}
	}
	if err := b.subsets(&in); err != nil {
		return Inline{}, fmt.Errorf("inline automaton: %w", err)
	}
	return in, nil
}

// detector adds the part of a detector.
func (b *inlineBuilder) detector(d *Detector, id uint8, checked bool) error {
	if d.Check == "card" {
		b.addCards(id)
		return nil
	}
	if len(d.Patterns) == 0 || len(d.After) > 0 {
		return errors.New("only cards and patterns can be walked inline")
	}
	if d.Class == Key {
		checked = false // the header alone says what follows
	}
	if checked {
		id |= InlineSuspect
	}
	for i, p := range d.programs {
		if err := b.program(p, d.Patterns[i], d.Class == Key, id); err != nil {
			return err
		}
	}
	return nil
}

// inlineTail is how many bytes of a token behind its prefix the automaton asks for at most: enough to tell it from a
// word of a text, and few states.
const inlineTail = 12

// program adds a pattern: as far as it is fixed, and inlineTail bytes of what follows; of a key the header.
func (b *inlineBuilder) program(p *program, pattern string, header bool, id uint8) error {
	re, _, _, err := parseExpr(pattern)
	if err != nil {
		return err
	}
	prefixes, rest := prefix(re)
	if len(prefixes) == 0 {
		return errors.New("its pattern begins with no fixed text")
	}
	var set [256]bool
	tail := 0
	if !header {
		if set, tail, err = following(rest); err != nil {
			return err
		}
	}
	end := int32(-1)
	for k := min(tail, inlineTail); k >= 0; k-- {
		n := b.node()
		b.nodes[n].lane = k < min(tail, inlineTail) || tail > 0
		if k == min(tail, inlineTail) {
			b.nodes[n].accept = id
		} else {
			for c, ok := range set {
				if ok {
					b.nodes[n].edges[c] = end
				}
			}
		}
		end = n
	}
	for _, text := range prefixes {
		b.literal(text, end, p.wordStart)
	}
	return nil
}

// prefix are the fixed texts that a pattern begins with, and what follows them.
func prefix(re *syntax.Regexp) ([]string, []*syntax.Regexp) {
	parts := []*syntax.Regexp{re}
	if re.Op == syntax.OpConcat {
		parts = re.Sub
	}
	f := finder{texts: []piece{{}}}
	for i, part := range parts {
		set := pieces(part)
		if set == nil || len(set)*len(f.texts) > maxLiterals {
			parts = parts[i:]
			break
		}
		f.extend(set)
		if i == len(parts)-1 {
			parts = nil
		}
	}
	var out []string
	for _, t := range f.texts {
		if len(t.text) >= minLiteral && !t.fold {
			out = append(out, t.text)
		}
	}
	return out, parts
}

// following is what may stand behind the prefix, and how often it stands there at least.
func following(rest []*syntax.Regexp) (set [256]bool, least int, err error) {
	if len(rest) == 0 {
		return set, 0, nil
	}
	class := rest[0]
	least, _ = width(class)
	for class.Op == syntax.OpRepeat || class.Op == syntax.OpPlus {
		class = class.Sub[0]
	}
	if class.Op != syntax.OpCharClass {
		return set, 0, errors.New("what follows its fixed text is no class")
	}
	for i := 0; i < len(class.Rune); i += 2 {
		for r := class.Rune[i]; r <= min(class.Rune[i+1], 0x7f); r++ {
			set[r] = true
		}
	}
	return set, least, nil
}

// node adds a node without edges.
func (b *inlineBuilder) node() int32 {
	var n node
	for i := range n.edges {
		n.edges[i] = -1
	}
	b.nodes = append(b.nodes, n)
	return int32(len(b.nodes) - 1)
}

// literal adds a chain of nodes that ends in end.
func (b *inlineBuilder) literal(text string, end int32, wordStart bool) {
	start := b.node()
	n := start
	for i := range len(text) {
		to := end
		if i < len(text)-1 {
			to = b.node()
		}
		b.nodes[n].edges[text[i]] = to
		n = to
	}
	if wordStart {
		b.starts = append(b.starts, start)
	} else {
		b.anywhere = append(b.anywhere, start)
	}
}

// subsets walks the parts side by side and numbers the states.
func (b *inlineBuilder) subsets(in *Inline) error {
	classes, samples, err := b.classes()
	if err != nil {
		return err
	}
	in.Classes = classes
	first := b.enter(nil, '\n')
	sets := [][]int32{first}
	index := map[string]uint16{setKey(first, 0): 0}
	in.Accept = []uint8{0}
	for at := 0; at < len(sets); at++ {
		row := make([]uint16, InlineClasses)
		for c, sample := range samples {
			set, accept := b.move(sets[at], sample)
			set = b.enter(set, sample)
			k := setKey(set, accept)
			to, ok := index[k]
			if !ok {
				if len(sets) == InlineStates {
					return fmt.Errorf("needs more than %d states, of %d nodes: take fewer detectors inline", InlineStates, len(b.nodes))
				}
				to = uint16(len(sets))
				index[k] = to
				sets = append(sets, set)
				in.Accept = append(in.Accept, accept)
			}
			row[c] = to
		}
		in.Next = append(in.Next, row...)
	}
	in.States = len(sets)
	return nil
}

// setKey names a set with what it accepts.
func setKey(set []int32, accept uint8) string {
	key := []byte{accept}
	for _, n := range set {
		key = append(key, byte(n), byte(n>>8))
	}
	return string(key)
}

// numberStart reports whether a number can begin behind a byte: not inside of a word, a version or a longer number.
func numberStart(last byte) bool { return !isWord(last) && last != '-' && last != '.' && last != '+' }

// enter adds the nodes that begin behind a byte.
func (b *inlineBuilder) enter(set []int32, last byte) []int32 {
	if slices.ContainsFunc(set, func(n int32) bool { return b.nodes[n].lane && b.nodes[n].accept == 0 }) {
		return set
	}
	set = append(slices.Clone(set), b.anywhere...)
	if !isWord(last) {
		set = append(set, b.starts...)
	}
	switch {
	case isDigit(last) && b.digits >= 0:
		set = append(set, b.digits)
	case !numberStart(last):
	case slices.Contains(set, b.gap):
		set = append(set, b.solos...)
	default:
		set = append(set, b.numbers...)
	}
	slices.Sort(set)
	return slices.Compact(set)
}

// move is where a set goes with a byte, and what that accepts: what is certain before what is suspect.
func (b *inlineBuilder) move(set []int32, c byte) (to []int32, accept uint8) {
	for _, n := range set {
		next := b.nodes[n].edges[c]
		if next < 0 {
			continue
		}
		if a := b.nodes[next].accept; a != 0 && (accept == 0 || accept&InlineSuspect != 0) {
			accept = a
		}
		to = append(to, next)
	}
	return to, accept
}

// classes gives bytes that no node tells apart the same class, with a sample of each.
func (b *inlineBuilder) classes() (classes [256]uint8, samples []byte, err error) {
	index := make(map[string]uint8)
	for c := range 256 {
		sign := make([]byte, 0, 4*len(b.nodes)+1)
		sign = append(sign, '0')
		if isWord(byte(c)) {
			sign[0] = '1'
		} else if numberStart(byte(c)) {
			sign[0] = '2'
		}
		if isDigit(byte(c)) {
			sign[0] = '3'
		}
		for i := range b.nodes {
			n := b.nodes[i].edges[c]
			sign = append(sign, byte(n), byte(n>>8))
		}
		class, ok := index[string(sign)]
		if !ok {
			if len(samples) == InlineClasses {
				return classes, nil, fmt.Errorf("needs more than %d classes of bytes: take fewer detectors inline", InlineClasses)
			}
			class = uint8(len(samples))
			index[string(sign)] = class
			samples = append(samples, byte(c))
		}
		classes[c] = class
	}
	return classes, samples, nil
}
