// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"strings"
	"testing"
)

// tally is what the corpus says about a detector.
type tally struct {
	positives, found, false int
	missed, wrong           string // the first of each
}

// TestCorpus holds every detector against texts drawn with its values and against texts without any: recall is at least
// 99 in 100, and false matches are in fewer than 1 in 100,000 messages; the short form looks at a tenth of them. The table
// is printed with -v.
func TestCorpus(t *testing.T) {
	positives, negatives := 50_000, 500_000
	if testing.Short() {
		positives, negatives = 5_000, 50_000
	}
	m := builtinMatcher(t)
	tallies := make([]tally, len(m.detectors))
	g := newGen(1)
	var matches []Match
	for n := range positives {
		id := n % len(m.detectors)
		text, start, end := g.positive(&m.detectors[id], m.checks[id])
		matches = m.Scan(matches[:0], []byte(text))
		c := &tallies[id]
		c.positives++
		if covered(matches, int32(id), start, end) {
			c.found++
		} else if c.missed == "" {
			c.missed = text
		}
	}
	bytes := 0
	var message []byte
	for range negatives {
		message = g.negative(message[:0])
		bytes += len(message)
		matches = m.Scan(matches[:0], message)
		for i, mt := range matches {
			if c := &tallies[mt.Detector]; !reported(matches[:i], mt.Detector) {
				c.false++
				if c.wrong == "" {
					c.wrong = string(message[mt.Start:mt.End]) + " in " + string(message)
				}
			}
		}
	}
	t.Logf("%d positives, %d negatives of %d MB", positives, negatives, bytes>>20)
	t.Logf("%-34s %9s %7s %8s %6s %10s", "detector", "positives", "found", "recall", "false", "per 100000")
	for id, c := range tallies {
		recall, rate := float64(c.found)/float64(c.positives), float64(c.false)/float64(negatives)*1e5
		t.Logf("%-34s %9d %7d %7.2f%% %6d %10.2f", m.detectors[id].ID, c.positives, c.found, recall*100, c.false, rate)
		if recall < 0.99 {
			t.Errorf("%s: recall %.2f%%; missed: %.300q", m.detectors[id].ID, recall*100, c.missed)
		}
		if c.false > negatives/100_001 {
			t.Errorf("%s: false matches in %d of %d messages, such as %.400q", m.detectors[id].ID, c.false, negatives, c.wrong)
		}
	}
}

func reported(matches []Match, detector int32) bool {
	for _, m := range matches {
		if m.Detector == detector {
			return true
		}
	}
	return false
}

// covered reports whether a match of the detector is the value at start, but for a tenth of it at the ends.
func covered(matches []Match, detector int32, start, end int) bool {
	slack := (end - start) / 10
	for _, m := range matches {
		if m.Detector == detector && int(m.Start) <= start+slack && int(m.Start) >= start-12 &&
			(int(m.End) >= end-slack-1 || m.End-m.Start == MaxMatch) {
			return true
		}
	}
	return false
}

// TestCorpusIsNotEmpty makes sure that the negatives hold what they are said to hold.
func TestCorpusIsNotEmpty(t *testing.T) {
	g := newGen(2)
	var all strings.Builder
	var message []byte
	for range 4000 {
		message = g.negative(message[:0])
		all.Write(message)
		all.WriteByte('\n')
	}
	text := all.String()
	for _, want := range []string{"card", "passport", "patient", "sha256:", "EXAMPLE", "function", "tax", "-----BEGIN", "account", "eyJ"} {
		if !strings.Contains(text, want) {
			t.Errorf("the negatives hold no %q", want)
		}
	}
}
