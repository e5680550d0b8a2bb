// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// whole is what Scan finds, in the order of the text.
func whole(m *Matcher, text []byte) []Match {
	return sorted(m.Scan(nil, text))
}

func sorted(matches []Match) []Match {
	slices.SortFunc(matches, func(a, b Match) int {
		if a.Start != b.Start {
			return int(a.Start - b.Start)
		}
		return int(a.Detector - b.Detector)
	})
	return matches
}

// parted is what a stream finds in the parts that cut says the lengths of.
func parted(s *Stream, text []byte, cut func() int) []Match {
	var out []StreamMatch
	for rest := text; len(rest) > 0; {
		n := min(len(rest), max(1, cut()))
		out = s.Write(out, bytes.Clone(rest[:n]))
		rest = rest[n:]
	}
	var matches []Match
	for _, m := range s.Close(out) {
		m.End += int32(m.At) - m.Start
		m.Start = int32(m.At)
		matches = append(matches, m.Match)
	}
	return sorted(matches)
}

// TestStream cuts texts of many values into parts of every size and finds the same as in the whole.
func TestStream(t *testing.T) {
	m := builtinMatcher(t)
	g := newGen(11)
	stream := m.Stream()
	for round := range 60 {
		var text []byte
		for range g.between(1, 60) {
			id := g.IntN(len(m.detectors))
			one, _, _ := g.positive(&m.detectors[id], m.checks[id])
			text = append(append(text, one...), g.pick("\n", " ", "", "&")...)
			text = g.negative(text)
		}
		want := whole(m, text)
		if len(want) == 0 {
			t.Fatal("nothing found in the whole")
		}
		for _, most := range []int{1, 3, 17, 256, 5000, 1 << 20} {
			if most == 1 && round > 4 {
				continue
			}
			got := parted(stream, text, func() int { return g.between(1, most) })
			if !slices.Equal(got, want) {
				t.Fatalf("round %d, parts up to %d bytes: %s", round, most, difference(m, text, got, want))
			}
		}
	}
}

// difference tells the first match that is not in both.
func difference(m *Matcher, text []byte, got, want []Match) string {
	tell := func(what string, x Match) string {
		return what + " " + m.detectors[x.Detector].ID + " " + string(text[max(0, x.Start-40):x.Start]) + ">>>" +
			string(text[x.Start:x.End]) + "<<<" + string(text[x.End:min(len(text), int(x.End)+40)])
	}
	for _, x := range want {
		if !slices.Contains(got, x) {
			return tell("missing", x)
		}
	}
	for _, x := range got {
		if !slices.Contains(want, x) {
			return tell("too many", x)
		}
	}
	return "order or repetition"
}

// TestStreamKeepsLittle bounds what a stream holds between parts, on a text that never lets go.
func TestStreamKeepsLittle(t *testing.T) {
	m := builtinMatcher(t)
	s := m.Stream()
	part := []byte(strings.Repeat("eyJ"+"hbGciOiJIUzI1NiJ9.", 400))
	for range 50 {
		s.Write(nil, part)
		if len(s.carry) > 4096 {
			t.Fatalf("%d bytes kept", len(s.carry))
		}
	}
}

func TestStreamMasks(t *testing.T) {
	m := builtinMatcher(t)
	s := m.Stream()
	card := "4111 1111" + " 1111 1111"
	out := s.Write(nil, []byte("card: "+card[:7]))
	out = s.Write(out, []byte(card[7:]+" and more text behind it, which decides"))
	if len(out) != 1 || string(out[0].Masked()) != "411111******1111" || out[0].At != 6 {
		t.Fatalf("found %+v", out)
	}
}

// TestNoAllocation scans and streams without a byte of garbage.
func TestNoAllocation(t *testing.T) {
	m := builtinMatcher(t)
	g := newGen(12)
	var text []byte
	for id := range m.detectors {
		one, _, _ := g.positive(&m.detectors[id], m.checks[id])
		text = append(append(text, one...), '\n')
	}
	dst := m.Scan(nil, text)
	if n := testing.AllocsPerRun(50, func() { dst = m.Scan(dst[:0], text) }); n != 0 && !raced {
		t.Errorf("Scan allocates %v times", n)
	}
	s := m.Stream()
	out := s.Write(nil, text)
	out = s.Close(out)
	if n := testing.AllocsPerRun(50, func() { out = s.Close(s.Write(out[:0], text)) }); n != 0 && !raced {
		t.Errorf("a stream allocates %v times", n)
	}
	mask := make([]byte, 0, maskBytes)
	if n := testing.AllocsPerRun(50, func() { mask = m.Mask(mask[:0], dst[0], text) }); n != 0 {
		t.Errorf("Mask allocates %v times", n)
	}
}

// TestWorkIsBounded makes sure that texts made of beginnings of values cost a bounded number of steps a byte.
func TestWorkIsBounded(t *testing.T) {
	m := builtinMatcher(t)
	for _, unit := range []string{
		"eyJ" + "-", "-----BEGIN " + "PRIVATE KEY-----", "sk-", "https://a:", "@", "1111 ", "1234-5678-", "xoxb-", "passport ", "DE89 ", "a=",
		"host=x;", "\"private_key_id\"", "19",
	} {
		st := newState(m)
		st.reset()
		st.final = true
		text := bytes.Repeat([]byte(unit), (1<<18)/len(unit))
		st.run(text)
		if most := int64(2*workPerByte)*int64(len(text)) + workFree; st.work > most {
			t.Errorf("%q again and again: %d steps for %d bytes", unit, st.work, len(text))
		}
	}
}
