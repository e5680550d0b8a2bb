// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/rules/dlp"
	"github.com/holdfast-project/holdfast/tests/traffic"
)

const (
	dlpText    = 1 << 20
	dlpRounds  = 9
	dlpRepeats = 8 // the clock of processor time is coarse on some machines
)

// BenchmarkDLP compares the matcher with what any search costs, on a mix of HTTP, JSON and logs: a loop over the bytes, a
// search for one literal, a walk of the inline automaton, and one regular expression of few. The contenders take turns
// within each round; the figures are of processor time, medians of rounds with the quartiles, and ratios of medians.
func BenchmarkDLP(b *testing.B) {
	text := traffic.Mixed(dlpText)
	contenders := dlpContenders(b, text)
	b.ResetTimer()
	for b.Loop() {
		times := make([][]float64, len(contenders))
		for range dlpRounds {
			for i, c := range contenders {
				start := spent(b)
				for range dlpRepeats {
					c.run()
				}
				times[i] = append(times[i], float64(spent(b)-start)/float64(dlpRepeats*c.size))
			}
		}
		base := median(times[0])
		b.Logf("%-42s %8s %8s %13s %8s", "", "ns/byte", "MB/s", "quartiles", "ratio")
		for i, c := range contenders {
			t := slices.Sorted(slices.Values(times[i]))
			m, slow, quick := t[len(t)/2], t[len(t)*3/4], t[len(t)/4]
			b.Logf("%-42s %8.3f %8.0f %6.0f %6.0f %8.2f", c.name, m, 1e3/m, 1e3/slow, 1e3/quick, m/base)
		}
	}
}

// dlpContender is a way to look through a text, of which it takes the first bytes.
type dlpContender struct {
	name string
	size int
	run  func()
}

func dlpContenders(b *testing.B, text []byte) []dlpContender {
	set, err := dlp.Builtin()
	if err != nil {
		b.Fatal(err)
	}
	all := compileDLP(b, set, func(*dlp.Detector) bool { return true })
	automaton, err := all.Inline()
	if err != nil {
		b.Fatal(err)
	}
	few := regexp.MustCompile(`AKIA[A-Z2-7]{16}|ghp_[A-Za-z0-9]{36}|xox[abp]-[A-Za-z0-9-]{24}|\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b`)
	const part = 1400
	sum := 0
	contenders := []dlpContender{
		{"sum of the bytes", len(text), func() {
			for _, c := range text {
				sum += int(c)
			}
		}},
		{"bytes.Count of one literal", len(text), func() { sum += bytes.Count(text, []byte("AKIA")) }},
		{"regexp, four patterns", len(text) / 16, func() { sum += len(few.FindAllIndex(text[:len(text)/16], -1)) }},
		{"walk of the inline automaton", len(text), func() { sum += walk(&automaton, text) }},
	}
	of := func(classes ...dlp.Class) func(*dlp.Detector) bool {
		return func(d *dlp.Detector) bool { return slices.Contains(classes, d.Class) }
	}
	for _, c := range []struct {
		name string
		has  func(*dlp.Detector) bool
	}{
		{"all detectors", func(*dlp.Detector) bool { return true }},
		{"those of the inline automaton", func(d *dlp.Detector) bool { return d.Inline }},
		{"cards", of(dlp.Card)}, {"bank accounts", of(dlp.Bank)}, {"national ids", of(dlp.NationalID)}, {"health", of(dlp.Health)},
		{"contacts", of(dlp.Contact)}, {"credentials and keys", of(dlp.Credential, dlp.Key)},
	} {
		m := compileDLP(b, set, c.has)
		stream := m.Stream()
		var matches []dlp.Match
		var parts []dlp.StreamMatch
		contenders = append(contenders, dlpContender{"scan, " + c.name, len(text), func() { matches = m.Scan(matches[:0], text) }},
			dlpContender{fmt.Sprintf("  in parts of %d bytes", part), len(text), func() {
				for piece := range slices.Chunk(text, part) {
					parts = stream.Write(parts[:0], piece)
				}
				parts = stream.Close(parts[:0])
			}})
	}
	return contenders
}

// compileDLP makes a matcher of some of the detectors.
func compileDLP(b *testing.B, set *dlp.Set, has func(*dlp.Detector) bool) *dlp.Matcher {
	b.Helper()
	var ids []string
	for _, d := range set.Detectors() {
		if has(&d) {
			ids = append(ids, d.ID)
		}
	}
	m, err := set.Compile(dlp.CompileConfig{Enabled: ids})
	if err != nil {
		b.Fatal(err)
	}
	return m
}

// spent is the processor time of this process. What else the machine does while a contender waits is not counted.
func spent(b *testing.B) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

// walk goes with the automaton over a text, as the packet filter does.
func walk(in *dlp.Inline, text []byte) int {
	state, accepted := 0, 0
	for _, c := range text {
		state = int(in.Next[state*dlp.InlineClasses+int(in.Classes[c])])
		if in.Accept[state] != 0 {
			accepted++
		}
	}
	return accepted
}
