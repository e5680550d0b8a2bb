// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/tests/golden"
)

// transcript is what a conversation looks like beside what came of it.
func (c *conversation) transcript(out string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "port %d inbound %t udp %t\n", c.port, c.inbound, c.udp)
	for _, s := range c.steps {
		data := s.data
		if len(data) > 400 {
			data = data[:400] + "…"
		}
		fmt.Fprintf(&b, "%s %q\n", [...]string{"out", "in"}[s.dir], data)
		if s.gap > 0 {
			fmt.Fprintf(&b, "    %d bytes lost\n", s.gap)
		}
	}
	return b.String() + "----\n" + out
}

// TestTranscripts compares what comes of each conversation with testdata. With -rewrite it writes that.
func TestTranscripts(t *testing.T) {
	for _, c := range conversations(t) {
		t.Run(c.name, func(t *testing.T) {
			out, _ := c.play(t, whole, inOrder)
			golden.Compare(t, filepath.Join("testdata", c.name+".txt"), []byte(c.transcript(out)))
		})
	}
}

// TestSplits cuts each conversation at random a thousand times, and shuffles the segments of what one side says at a
// time: the texts are the same.
func TestSplits(t *testing.T) {
	rounds := 1000
	if testing.Short() {
		rounds = 50
	}
	for _, c := range conversations(t) {
		if c.udp {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			want, _ := c.play(t, whole, inOrder)
			for seed := range rounds {
				rng := rand.New(rand.NewPCG(uint64(seed), 1))
				most := 1 + rng.IntN(24)
				if seed == 0 {
					most = 1 << 16 // byte by byte
				}
				cut := func(n int) []int { return randomCuts(rng, n, most) }
				shuffle := inOrder
				if seed%2 == 1 {
					shuffle = rng.Shuffle
				}
				got, st := c.play(t, cut, shuffle)
				if got != want {
					t.Fatalf("seed %d: got\n%s\nwant\n%s", seed, got, want)
				}
				if st.Differing != 0 {
					t.Fatalf("seed %d: %d segments differ", seed, st.Differing)
				}
			}
		})
	}
}

// randomCuts is up to most places in n bytes, and their end.
func randomCuts(rng *rand.Rand, n, most int) []int {
	var ends []int
	if most > n {
		for i := range n {
			ends = append(ends, i+1)
		}
		return ends
	}
	for range most - 1 {
		if n > 1 {
			ends = append(ends, 1+rng.IntN(n-1))
		}
	}
	ends = append(ends, n)
	slices.Sort(ends)
	return slices.Compact(ends)
}
