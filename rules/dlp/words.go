// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"slices"
	"strings"
)

const (
	// maxWindow bounds how far before a value a word counts, ahead how far after it.
	maxWindow = 128
	ahead     = 24
	// maxWord bounds the length of a word.
	maxWord = 40
)

// words finds proximity words: an automaton after Aho and Corasick over letters without case.
type words struct {
	classes [256]uint8
	width   int
	next    []uint32    // by state + class; a state is a multiple of width
	out     [][]wordHit // by state / width
	first   uint32      // the states from it on are those in which a word ends
	window  int         // the widest window of a detector
}

// wordHit is a word that ends in a state.
type wordHit struct {
	length int
	owners []owner
}

// owner is a detector that a word belongs to, and how far before a value it counts there.
type owner struct {
	detector int32
	window   int
}

// variants are the ways to write a phrase: spaces, underscores, dashes, dots, or nothing between its words.
func variants(phrase string) []string {
	phrase = strings.ToLower(phrase)
	if !strings.Contains(phrase, " ") {
		return []string{phrase}
	}
	var out []string
	for _, sep := range []string{" ", "_", "-", ".", ""} {
		out = append(out, strings.ReplaceAll(phrase, " ", sep))
	}
	return out
}

// newWords builds the automaton of all the words of the detectors.
func newWords(detectors []Detector) *words {
	owners := make(map[string][]owner)
	w := &words{width: 1}
	for i := range detectors {
		d := &detectors[i]
		for _, phrase := range slices.Concat(d.Words, d.After) {
			w.window = max(w.window, d.Window)
			for _, v := range variants(phrase) {
				if o := (owner{int32(i), d.Window}); !slices.Contains(owners[v], o) {
					owners[v] = append(owners[v], o)
				}
			}
		}
	}
	list := make([]string, 0, len(owners))
	for w := range owners {
		list = append(list, w)
	}
	slices.Sort(list)
	for _, text := range list {
		for i := range len(text) {
			if w.classes[text[i]] == 0 {
				w.classes[text[i]] = uint8(w.width)
				w.width++
			}
		}
	}
	for b := byte('A'); b <= 'Z'; b++ {
		w.classes[b] = w.classes[b|0x20]
	}
	w.build(list, owners)
	w.order()
	return w
}

// build fills the table: the tree of the words, then the transitions of failure in order of depth.
func (w *words) build(list []string, owners map[string][]owner) {
	grow := func() int {
		w.next = append(w.next, make([]uint32, w.width)...)
		w.out = append(w.out, nil)
		return len(w.out) - 1
	}
	grow()
	for _, text := range list {
		s := 0
		for i := range len(text) {
			at := s*w.width + int(w.classes[text[i]])
			if w.next[at] == 0 {
				to := grow()
				w.next[at] = uint32(to)
			}
			s = int(w.next[at])
		}
		w.out[s] = append(w.out[s], wordHit{len(text), owners[text]})
	}
	fail := make([]int, len(w.out))
	queue := []int{0}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		for c := range w.width {
			at := s*w.width + c
			to := int(w.next[at])
			back := int(w.next[fail[s]*w.width+c])
			if to == 0 {
				if s != 0 {
					w.next[at] = uint32(back)
				}
				continue
			}
			if s != 0 {
				fail[to] = back
			}
			w.out[to] = append(w.out[to], w.out[fail[to]]...)
			queue = append(queue, to)
		}
	}
}

// order numbers the states anew, those in which a word ends last, by where their transitions begin.
func (w *words) order() {
	states := len(w.out)
	numbers, old := make([]uint32, states), make([]int, 0, states)
	for _, ends := range []bool{false, true} {
		if ends {
			w.first = uint32(len(old) * w.width)
		}
		for s := range states {
			if len(w.out[s]) > 0 == ends {
				numbers[s] = uint32(len(old) * w.width)
				old = append(old, s)
			}
		}
	}
	next, out := make([]uint32, 0, len(w.next)), make([][]wordHit, 0, states)
	for _, s := range old {
		for _, to := range w.next[s*w.width : (s+1)*w.width] {
			next = append(next, numbers[to])
		}
		out = append(out, w.out[s])
	}
	w.next, w.out = next, out
}

// stands reports whether a word in a text is not a part of a longer one: users' "cardNumber" and "SSNs" hold words, a
// "company" holds no pan. A word at the text's very end counts.
func stands(text []byte, start, end int) bool {
	if start > 0 && isLetter(text[start-1]) && (!isUpper(text[start]) || isUpper(text[start-1])) {
		return false
	}
	if end == len(text) || !isLetter(text[end]) {
		return true
	}
	if isUpper(text[end]) && !isUpper(text[end-1]) {
		return true
	}
	return lower(text[end]) == 's' && (end+1 == len(text) || !isLetter(text[end+1]))
}

// mark adds the detectors that have a word in text[from:to]; unless value is negative, of those before the value there
// the ones that are near enough for their detector.
func (w *words) mark(set detectorSet, text []byte, from, to, value int) {
	s, next := uint32(0), w.next
	for i := from; i < to; i++ {
		s = next[s+uint32(w.classes[text[i]])]
		if s < w.first {
			continue
		}
		for _, hit := range w.out[int(s)/w.width] {
			start, end := i+1-hit.length, i+1
			if !stands(text, start, end) {
				continue
			}
			for _, o := range hit.owners {
				if value < 0 || value-end <= o.window {
					set.add(o.detector)
				}
			}
		}
	}
}
