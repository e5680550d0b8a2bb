// SPDX-License-Identifier: Apache-2.0

package dlp

import "regexp/syntax"

// findLiterals are the literals of a pattern by which its matches are found: the best run of fixed bytes of its top
// level that stands within a bounded distance of its start. nil if there is none.
func findLiterals(re *syntax.Regexp) []literal {
	parts := []*syntax.Regexp{re}
	if re.Op == syntax.OpConcat {
		parts = re.Sub
	}
	var best []literal
	f := finder{texts: []piece{{}}}
	for _, part := range parts {
		set := pieces(part)
		if set != nil && len(set)*len(f.texts) <= maxLiterals {
			f.extend(set)
			continue
		}
		if f.literals(); better(f.found, best) {
			best = f.found
		}
		least, most := width(part)
		f.min, f.max = f.min+f.least()+least, f.max+f.most()+most
		f.texts = []piece{{}}
		if set != nil {
			// Too many together with what stood before: they begin anew.
			f.min, f.max = f.min-least, f.max-most
			f.extend(set)
		}
		if f.max > maxPrefix {
			return best
		}
	}
	if f.literals(); better(f.found, best) {
		best = f.found
	}
	return best
}

// piece is a fixed text; fold says that its letters stand for both cases.
type piece struct {
	text string
	fold bool
}

// finder collects runs of fixed texts.
type finder struct {
	min, max int // distance of the run from the pattern's start
	texts    []piece
	found    []literal
}

func (f *finder) extend(set []piece) {
	out := make([]piece, 0, len(set)*len(f.texts))
	for _, a := range f.texts {
		for _, b := range set {
			out = append(out, piece{a.text + b.text, a.fold || b.fold})
		}
	}
	f.texts = out
}

func (f *finder) least() int {
	n := len(f.texts[0].text)
	for _, t := range f.texts {
		n = min(n, len(t.text))
	}
	return n
}

func (f *finder) most() int {
	n := 0
	for _, t := range f.texts {
		n = max(n, len(t.text))
	}
	return n
}

// literals sets found to the run collected, if it is long enough.
func (f *finder) literals() {
	f.found = nil
	if f.least() < minLiteral || f.max > maxPrefix {
		return
	}
	for _, t := range f.texts {
		f.found = append(f.found, literal{text: t.text, fold: t.fold, min: f.min, max: f.max})
	}
}

// better reports whether a set of literals is to be preferred: the longer and fewer, and the nearer to the start.
func better(a, b []literal) bool {
	return len(a) > 0 && (len(b) == 0 || weight(a) > weight(b))
}

func weight(set []literal) int {
	shortest := len(set[0].text)
	for _, l := range set {
		shortest = min(shortest, len(l.text))
	}
	return min(shortest, 6)*8 - len(set) - 2*(set[0].max-set[0].min) - set[0].min
}

// pieces are the texts that a part of a pattern stands for, nil if they are too many or not fixed.
func pieces(re *syntax.Regexp) []piece {
	switch re.Op {
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			if r > 0x7f {
				return nil
			}
		}
		return []piece{{string(re.Rune), re.Flags&syntax.FoldCase != 0}}
	case syntax.OpCharClass:
		return classPieces(re.Rune)
	case syntax.OpCapture:
		return pieces(re.Sub[0])
	case syntax.OpEmptyMatch:
		return []piece{{}}
	case syntax.OpQuest:
		if inner := pieces(re.Sub[0]); inner != nil {
			return append([]piece{{}}, inner...)
		}
	case syntax.OpAlternate:
		var all []piece
		for _, sub := range re.Sub {
			set := pieces(sub)
			if set == nil || len(all)+len(set) > maxLiterals {
				return nil
			}
			all = append(all, set...)
		}
		return all
	case syntax.OpConcat:
		f := finder{texts: []piece{{}}}
		for _, sub := range re.Sub {
			set := pieces(sub)
			if set == nil || len(set)*len(f.texts) > maxLiterals {
				return nil
			}
			f.extend(set)
		}
		return f.texts
	}
	return nil
}

// classPieces are the bytes of a small class.
func classPieces(ranges []rune) []piece {
	var out []piece
	for i := 0; i < len(ranges); i += 2 {
		if ranges[i+1] > 0x7f || len(out)+int(ranges[i+1]-ranges[i]) >= 8 {
			return nil
		}
		for r := ranges[i]; r <= ranges[i+1]; r++ {
			out = append(out, piece{text: string(r)})
		}
	}
	return out
}

// unbounded is the width of what has no bound.
const unbounded = 1 << 20

// width is the least and the most bytes that a part of a pattern takes.
func width(re *syntax.Regexp) (least, most int) {
	switch re.Op {
	case syntax.OpLiteral:
		return len(re.Rune), len(re.Rune)
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return 1, 1
	case syntax.OpCapture:
		return width(re.Sub[0])
	case syntax.OpQuest:
		_, most = width(re.Sub[0])
		return 0, most
	case syntax.OpStar:
		return 0, unbounded
	case syntax.OpPlus:
		least, _ = width(re.Sub[0])
		return least, unbounded
	case syntax.OpRepeat:
		least, most = width(re.Sub[0])
		if re.Max < 0 {
			return least * re.Min, unbounded
		}
		return least * re.Min, min(most*re.Max, unbounded)
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			l, m := width(sub)
			least, most = least+l, min(most+m, unbounded)
		}
		return least, most
	case syntax.OpAlternate:
		least = unbounded
		for _, sub := range re.Sub {
			l, m := width(sub)
			least, most = min(least, l), max(most, m)
		}
		return least, most
	}
	return 0, 0
}
