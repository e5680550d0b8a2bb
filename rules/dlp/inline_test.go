// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"slices"
	"testing"
)

// accepted is a place where the automaton accepts.
type accepted struct {
	end      int
	detector int32
	suspect  bool
}

// walk goes with the automaton over a text as the kernel does.
func (in *Inline) walk(text []byte) []accepted {
	var out []accepted
	state := 0
	for i, b := range text {
		state = int(in.Next[state*InlineClasses+int(in.Classes[b])])
		if a := in.Accept[state]; a != 0 {
			out = append(out, accepted{i + 1, in.Detectors[a&^InlineSuspect-1], a&InlineSuspect != 0})
		}
	}
	return out
}

func builtinInline(t testing.TB) (*Matcher, *Inline) {
	t.Helper()
	m := builtinMatcher(t)
	in, err := m.Inline()
	if err != nil {
		t.Fatal(err)
	}
	return m, &in
}

// TestInlineAgrees holds the walk against Scan: on drawn values of every inline detector it accepts within each match.
// In texts without a value it accepts without doubt hardly anything: what is left are rows of a table whose first four
// numbers of four digits make a card by chance.
func TestInlineAgrees(t *testing.T) {
	m, in := builtinInline(t)
	t.Logf("%d states, %d classes, %d detectors", in.States, int(slices.Max(in.Classes[:]))+1, len(in.Detectors))
	g := newGen(21)
	found, all := make(map[int32]int), make(map[int32]int)
	for _, id := range in.Detectors {
		for all[id] < 300 {
			text, _, _ := g.positive(&m.detectors[id], m.checks[id])
			accepts := in.walk([]byte(text))
			for _, mt := range m.Scan(nil, []byte(text)) {
				if mt.Detector != id || id == m.card && !inlineCard(text[mt.Start:mt.End]) {
					continue
				}
				all[id]++
				if slices.ContainsFunc(accepts, func(a accepted) bool {
					return a.detector == id && a.end > int(mt.Start) && a.end <= int(mt.End)
				}) {
					found[id]++
				}
			}
		}
	}
	for id, n := range all {
		if share := float64(found[id]) / float64(n); share < 0.99 {
			t.Errorf("%s: the automaton finds %d of %d", m.detectors[id].ID, found[id], n)
		}
	}
	certain, suspects, bytes := 0, 0, 0
	var message []byte
	for range 40_000 {
		message = g.negative(message[:0])
		bytes += len(message)
		for _, a := range in.walk(message) {
			switch {
			case a.suspect:
				suspects++
			case m.detectors[a.detector].Class != Key:
				if certain++; certain < 4 {
					t.Logf("%s: %.200q", m.detectors[a.detector].ID, message[max(0, a.end-60):a.end])
				}
			}
		}
	}
	t.Logf("in %d bytes without a value: %d accepted as certain, %d as suspect", bytes, certain, suspects)
	if certain > 20 {
		t.Errorf("%d accepted as certain in texts without a value", certain)
	}
}

// inlineCard reports whether a card is written as the automaton reads them.
func inlineCard(text string) bool {
	var norm [maxTemplate]byte
	v := normalise(norm[:0], []byte(text))
	return len(v) >= 14 && len(v) <= 16 && !maestro(v)
}

// TestInlineCards walks over every digit of a card: each change of one digit is refused, in all ways to write it.
func TestInlineCards(t *testing.T) {
	m, in := builtinInline(t)
	for _, card := range []string{
		"4111 1111 1111 1111", "5555-5555-5555-4444", "2223 0031 2200 3222", "3782 822463 10005", "3056-930902-5904", "3530 1113 3330 0000",
		"4111111111111111", "378282246310005", "30569309025904",
	} {
		for i := range card {
			for d := byte('0'); d <= '9'; d++ {
				if !isDigit(card[i]) {
					continue
				}
				changed := card[:i] + string(d) + card[i+1:]
				got := in.walk([]byte("pay " + changed + " now"))
				var norm [maxTemplate]byte
				want := cardNumber(normalise(norm[:0], []byte(changed))) && inlineCard(changed)
				if want != (len(got) == 1) {
					t.Fatalf("%s: accepted %v", changed, got)
				}
				if want && (got[0].detector != m.card || got[0].end != 4+len(changed) || got[0].suspect == (card[4] == ' ' || card[4] == '-')) {
					t.Fatalf("%s: accepted %+v", changed, got)
				}
			}
		}
	}
}
