// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// seeds are texts with values of every detector.
func seeds(m *Matcher) [][]byte {
	g := newGen(31)
	var out [][]byte
	for id := range m.detectors {
		text, _, _ := g.positive(&m.detectors[id], m.checks[id])
		out = append(out, []byte(text))
	}
	for range 24 {
		out = append(out, g.negative(nil))
	}
	// What broke it once.
	return append(out, []byte("0@"))
}

func FuzzParse(f *testing.F) {
	entries, err := builtin.ReadDir("builtin")
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range entries {
		data, err := builtin.ReadFile("builtin/" + e.Name())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("detectors:\n  - id: acme\n    pattern: '\\bACME-[0-9]{6}\\b'\n  - {id: b1, number: 99-999_999}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, problems, err := Parse("users.yaml", data)
		for _, p := range problems {
			if !strings.HasPrefix(p.Error(), "users.yaml:") {
				t.Fatalf("%v does not name its place", p)
			}
		}
		if err != nil {
			return
		}
		m, err := set.Compile(CompileConfig{})
		if err != nil {
			return
		}
		m.Scan(nil, data)
	})
}

// sound checks what every match has to be.
func sound(t *testing.T, m *Matcher, text []byte, matches []Match) {
	t.Helper()
	for _, x := range matches {
		if x.Start < 0 || x.End <= x.Start || int(x.End) > len(text) || x.End-x.Start > MaxMatch || x.Confidence < Reported {
			t.Fatalf("match %+v of %d bytes", x, len(text))
		}
		if mask := m.Mask(nil, x, text); len(mask) > maskBytes || bytes.IndexByte(mask, '\n') >= 0 {
			t.Fatalf("mask %q", mask)
		}
	}
}

func FuzzScan(f *testing.F) {
	m := builtinMatcher(f)
	for _, s := range seeds(m) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text []byte) { sound(t, m, text, m.Scan(nil, text)) })
}

// FuzzStream cuts a text at random and wants the same as of the whole.
func FuzzStream(f *testing.F) {
	m := builtinMatcher(f)
	for i, s := range seeds(m) {
		f.Add(s, uint64(i), uint16(1+i*7))
	}
	stream := m.Stream()
	f.Fuzz(func(t *testing.T, text []byte, seed uint64, most uint16) {
		r := rand.New(rand.NewPCG(seed, 1))
		want := whole(m, text)
		got := parted(stream, text, func() int { return 1 + r.IntN(int(most)+1) })
		if !slices.Equal(got, want) {
			t.Fatalf("in parts and in the whole it differs: %s", difference(m, text, got, want))
		}
	})
}

// FuzzInline walks over any text; what is accepted without doubt as a card is one.
func FuzzInline(f *testing.F) {
	m, in := builtinInline(f)
	for _, s := range seeds(m) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, a := range in.walk(text) {
			if a.suspect || a.detector != m.card {
				continue
			}
			norm := normalise(make([]byte, 0, maxTemplate), text[max(0, a.end-19):a.end])
			if !slices.ContainsFunc([]int{14, 15, 16}, func(n int) bool { return n <= len(norm) && cardNumber(norm[len(norm)-n:]) }) {
				t.Fatalf("%q is no card", text[max(0, a.end-19):a.end])
			}
		}
	})
}

func FuzzExact(f *testing.F) {
	key := [32]byte{9}
	data, err := BuildExact(key, "crm", [][]byte{[]byte("Jane Roe"), []byte("AB-1234.5")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:len(data)-3])
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ReadExact(key, data)
		if err != nil {
			return
		}
		if len(e.hashes) != e.Len() || !slices.IsSorted(e.hashes) {
			t.Fatal("damaged hashes were taken")
		}
	})
}
