// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

//go:embed builtin/*.yaml
var builtin embed.FS

// Builtin is the set of the detectors that come with Holdfast.
func Builtin() (*Set, error) {
	entries, err := builtin.ReadDir("builtin")
	if err != nil {
		return nil, fmt.Errorf("read the builtin detectors: %w", err)
	}
	all := &Set{}
	var wrong []error
	for _, e := range entries {
		data, err := builtin.ReadFile("builtin/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("read the builtin detectors: %w", err)
		}
		set, problems, err := Parse("builtin/"+e.Name(), data)
		if err != nil {
			return nil, err
		}
		for _, p := range problems {
			wrong = append(wrong, p)
		}
		all.Add(set)
	}
	if wrong != nil {
		return nil, errors.Join(wrong...)
	}
	return all, nil
}

// CompileConfig is what Compile needs beside the detectors.
type CompileConfig struct {
	// Enabled are the ids of the detectors to use; nil is all of the set.
	Enabled []string
	// Key is the key of the hashes in matches, the same on all agents whose alerts are to be compared.
	Key [32]byte
	// Exact are the users' own records to match.
	Exact []*ExactData
}

// Matcher finds the values of its detectors. It is immutable and safe for concurrent use.
type Matcher struct {
	detectors []Detector
	checks    []check
	key       hashKey
	filter    *filter
	anchors   []anchor
	shapes    [][]shape // by shapeIndex
	bare      [][]int32 // by length, the detectors that have numbers of digits alone
	words     *words
	announced []int32 // the detectors whose value follows a word
	alnum     [256]bool
	iban      int32 // the detector of IBANs, -1 if there is none
	card      int32 // the detector of cards, likewise
	exact     *exactTable
	// states and buffers are scratch space for the scans under way.
	states, buffers sync.Pool
}

// Compile makes a matcher of the detectors of the set that are enabled.
func (s *Set) Compile(cfg CompileConfig) (*Matcher, error) {
	m := &Matcher{key: deriveKey(cfg.Key, "match"), iban: -1, card: -1, shapes: make([][]shape, (maxGroup+1)*2*separators),
		bare: make([][]int32, maxGroup+1)}
	for _, id := range cfg.Enabled {
		if !slices.ContainsFunc(s.detectors, func(d Detector) bool { return d.ID == id }) {
			return nil, fmt.Errorf("compile the detectors: none has the id %q", id)
		}
	}
	table := checkTable()
	for _, d := range s.detectors {
		if cfg.Enabled != nil && !slices.Contains(cfg.Enabled, d.ID) {
			continue
		}
		m.detectors = append(m.detectors, d)
		m.checks = append(m.checks, table[d.Check])
	}
	if err := m.addExact(exactKey(cfg.Key), cfg.Exact); err != nil {
		return nil, err
	}
	if len(m.detectors) > maxDetectors {
		return nil, fmt.Errorf("compile the detectors: more than %d", maxDetectors)
	}
	for i := range m.detectors {
		m.add(int32(i))
	}
	for _, list := range m.shapes {
		// The longest first: a number with its country's prefix before the number without.
		slices.SortStableFunc(list, func(a, b shape) int { return len(b.template.text) - len(a.template.text) })
	}
	for b := range m.alnum {
		m.alnum[b] = isAlnum(byte(b))
	}
	m.words = newWords(m.detectors)
	if states := len(m.words.out); states > 1<<16 {
		return nil, fmt.Errorf("compile the detectors: their words need %d states, at most %d", states, 1<<16)
	}
	m.filter = newFilter(m.anchors, m.pairs())
	return m, nil
}

// Detectors are the detectors of the matcher; a match's Detector is an index of it. The caller does not change them.
func (m *Matcher) Detectors() []Detector { return m.detectors }

// add enters the anchors and shapes of a detector.
func (m *Matcher) add(id int32) {
	d := &m.detectors[id]
	switch d.Finder {
	case finderEmail:
		m.anchors = append(m.anchors, anchor{text: []byte("@"), kind: anchorEmail, detector: id})
	case finderIBAN:
		m.iban = id
	}
	if d.Check == "card" {
		m.card = id
	}
	for _, p := range d.programs {
		for _, l := range p.literals {
			if len(d.After) > 0 {
				break
			}
			text := l.text
			if l.fold {
				text = strings.ToLower(text)
			}
			m.anchors = append(m.anchors, anchor{
				text: []byte(text), fold: l.fold, detector: id, program: p, min: l.min, max: l.max,
			})
		}
	}
	if len(d.After) > 0 {
		m.announced = append(m.announced, id)
	}
	for _, phrase := range d.After {
		for _, v := range variants(phrase) {
			m.anchors = append(m.anchors, anchor{
				text: []byte(v), fold: true, kind: anchorAfter, detector: id, program: d.programs[0],
			})
		}
	}
	for i := range d.templates {
		t := &d.templates[i]
		if n := len(t.text); n <= maxGroup && strings.Trim(t.text, "9") == "" {
			if !slices.Contains(m.bare[n], id) {
				m.bare[n] = append(m.bare[n], id)
			}
			continue
		}
		for _, tr := range t.triggers {
			m.addShape(shape{id, t, tr.at, tr.width, t.far(tr)}, tr.sep)
		}
	}
}

// addShape enters a shape for groups of digits alone, of others, or of both, as its template has them.
func (m *Matcher) addShape(s shape, separator int) {
	group := s.template.text[s.at : s.at+s.width]
	for sep := range separators {
		if separator >= 0 && separator != sep {
			continue
		}
		if !strings.ContainsFunc(group, func(r rune) bool { return isLetter(byte(r)) }) {
			at := shapeIndex(s.width, sep, true)
			m.shapes[at] = append(m.shapes[at], s)
		}
		if strings.ContainsFunc(group, func(r rune) bool { return !isDigit(byte(r)) }) {
			at := shapeIndex(s.width, sep, false)
			m.shapes[at] = append(m.shapes[at], s)
		}
	}
}

// pairs reports whether something is found by two digits in a row: a number in groups of two, or an account, which has
// them behind its country.
func (m *Matcher) pairs() bool {
	return m.iban >= 0 || slices.ContainsFunc(m.shapes, func(list []shape) bool {
		return slices.ContainsFunc(list, func(s shape) bool { return s.width == 2 })
	})
}
