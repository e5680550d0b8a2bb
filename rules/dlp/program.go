// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"
)

const (
	// maxStates bounds the automaton of one pattern.
	maxStates = 4096
	// maxPrefix bounds what may stand before the literal of a pattern.
	maxPrefix = 64
	// maxLiterals bounds the literals that one pattern is found by.
	maxLiterals = 64
	// minLiteral is the length from which on a literal can be found by the filter.
	minLiteral = 3
)

// program is a pattern as a deterministic automaton over bytes, with the literals that each of its matches holds.
type program struct {
	classes [256]uint8
	width   int      // classes
	next    []uint16 // state*width + class; state 0 is dead, 1 the start
	accept  []bool
	// wordStart and wordEnd ask that no letter, digit or underscore touches the match.
	wordStart, wordEnd bool
	literals           []literal
}

// literal is a text that every match of a pattern holds, min to max bytes after the match's start.
type literal struct {
	text     string
	fold     bool // compare letters without case
	min, max int
}

// parseExpr reads a pattern and takes the word boundaries at its ends off.
func parseExpr(pattern string) (*syntax.Regexp, bool, bool, error) {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, false, false, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	var start, end bool
	for re.Op == syntax.OpCapture {
		re = re.Sub[0]
	}
	if re.Op == syntax.OpConcat {
		if re.Sub[0].Op == syntax.OpWordBoundary {
			start, re.Sub = true, re.Sub[1:]
		}
		if n := len(re.Sub); n > 0 && re.Sub[n-1].Op == syntax.OpWordBoundary {
			end, re.Sub = true, re.Sub[:n-1]
		}
		if len(re.Sub) == 0 {
			return nil, false, false, fmt.Errorf("pattern %q: matches nothing but a boundary", pattern)
		}
	}
	return re, start, end, nil
}

// compileProgram makes the automaton of a pattern. It refuses what is not of the supported subset and says why.
func compileProgram(pattern string) (*program, error) {
	re, start, end, err := parseExpr(pattern)
	if err != nil {
		return nil, err
	}
	// Compile changes what it is given to, hence the literals first.
	literals := findLiterals(re)
	code, err := syntax.Compile(re.Simplify())
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	p := &program{wordStart: start, wordEnd: end, literals: literals}
	if err := p.determinise(code); err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	return p, nil
}

// determinise builds the automaton by the construction of subsets.
func (p *program) determinise(code *syntax.Prog) error {
	if err := p.classify(code); err != nil {
		return err
	}
	sample := make([]byte, p.width)
	for b := 255; b >= 0; b-- {
		sample[p.classes[b]] = byte(b)
	}
	first := closure(code, []uint32{uint32(code.Start)})
	sets := [][]uint32{nil, first}
	index := map[string]uint16{key(nil): 0, key(first): 1}
	p.accept = []bool{false, accepting(code, first)}
	if p.accept[1] {
		return fmt.Errorf("matches the empty text")
	}
	p.next = make([]uint16, p.width)
	for at := 1; at < len(sets); at++ {
		for c := range p.width {
			set := closure(code, step(code, sets[at], sample[c]))
			to, ok := index[key(set)]
			if !ok {
				if len(sets) == maxStates {
					return fmt.Errorf("needs more than %d states: shorten its repetitions", maxStates)
				}
				to = uint16(len(sets))
				index[key(set)] = to
				sets = append(sets, set)
				p.accept = append(p.accept, accepting(code, set))
			}
			p.next = append(p.next, to)
		}
	}
	return nil
}

// classify gives the bytes that no instruction tells apart the same class, and refuses instructions outside the subset.
func (p *program) classify(code *syntax.Prog) error {
	index := make(map[string]uint8)
	for b := range 256 {
		var sign strings.Builder
		for i := range code.Inst {
			switch in := &code.Inst[i]; in.Op {
			case syntax.InstEmptyWidth:
				return fmt.Errorf("an assertion (^, $, \\b) stands elsewhere than \\b at its ends")
			case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
				if in.Op == syntax.InstRune1 && in.Rune[0] > 0x7f {
					return fmt.Errorf("holds the letter %q: only ASCII is supported", in.Rune[0])
				}
				if takes(in, byte(b)) {
					sign.WriteByte('1')
				} else {
					sign.WriteByte('0')
				}
			}
		}
		class, ok := index[sign.String()]
		if !ok {
			class = uint8(len(index))
			index[sign.String()] = class
		}
		p.classes[b] = class
	}
	p.width = len(index)
	return nil
}

// takes reports whether an instruction takes a byte. Bytes outside ASCII stand for any letter outside ASCII.
func takes(in *syntax.Inst, b byte) bool {
	r := rune(b)
	if b > 0x7f {
		r = 0x2603
	}
	switch in.Op {
	case syntax.InstRuneAny:
		return true
	case syntax.InstRuneAnyNotNL:
		return b != '\n'
	}
	return in.MatchRune(r)
}

// closure is the set with what it reaches without a byte, in order.
func closure(code *syntax.Prog, from []uint32) []uint32 {
	seen := make(map[uint32]bool)
	stack := slices.Clone(from)
	var set []uint32
	for len(stack) > 0 {
		pc := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[pc] {
			continue
		}
		seen[pc] = true
		switch in := &code.Inst[pc]; in.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			stack = append(stack, in.Out, in.Arg)
		case syntax.InstCapture, syntax.InstNop:
			stack = append(stack, in.Out)
		case syntax.InstFail:
		default:
			set = append(set, pc)
		}
	}
	slices.Sort(set)
	return set
}

// step is where a set goes with a byte.
func step(code *syntax.Prog, set []uint32, b byte) []uint32 {
	var out []uint32
	for _, pc := range set {
		if in := &code.Inst[pc]; in.Op != syntax.InstMatch && takes(in, b) {
			out = append(out, in.Out)
		}
	}
	return out
}

func accepting(code *syntax.Prog, set []uint32) bool {
	return slices.ContainsFunc(set, func(pc uint32) bool { return code.Inst[pc].Op == syntax.InstMatch })
}

func key(set []uint32) string {
	var b strings.Builder
	for _, pc := range set {
		b.WriteByte(byte(pc))
		b.WriteByte(byte(pc >> 8))
		b.WriteByte(byte(pc >> 16))
	}
	return b.String()
}

// longest is the end of the longest match that starts at start and ends by limit, or -1; open says that more text after
// it could change that. steps is how many bytes were looked at.
func (p *program) longest(text []byte, start, limit int) (end int, open bool, steps int) {
	state, end := 1, -1
	i := start
	for ; i < limit; i++ {
		state = int(p.next[state*p.width+int(p.classes[text[i]])])
		if state == 0 {
			return end, false, i - start
		}
		if p.accept[state] {
			end = i + 1
		}
	}
	return end, true, i - start
}

// begins reports whether a match can begin with a byte.
func (p *program) begins(b byte) bool { return p.next[p.width+int(p.classes[b])] != 0 }
