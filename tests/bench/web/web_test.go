// SPDX-License-Identifier: Apache-2.0

package web

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/tests/lab"
)

func TestMain(m *testing.M) {
	lab.RunHolder()
	os.Exit(m.Run())
}

// rounds are how often each state of the modes has its turn.
const rounds = 7

// state is which signals are in monitor.
type state struct {
	name string
	on   []string
}

// BenchmarkReading measures with the budget that agents have unless they are told otherwise, beyond which traffic is counted and
// not read, and with one that is never used up: what is not read then, the agent was too slow for.
func BenchmarkReading(b *testing.B) {
	for _, budget := range []struct {
		name string
		args []string
	}{{"default", nil}, {"unbounded", []string{"--content-rate", fmt.Sprint(2 << 30)}}} {
		b.Run(budget.name, func(b *testing.B) {
			s := start(b, budget.args)
			for b.Loop() {
				compare(b, s)
			}
		})
	}
}

// compare gives each state and lane its turns and prints what they took.
func compare(b *testing.B, s *server) {
	states := []state{{"off", nil}, {"dlp", []string{"dlp"}}, {"dlp, waf", []string{"dlp", "waf"}}}
	lanes := []lane{
		{"plain, 1 KiB", smallPage, false, 8000}, {"plain, 64 KiB", largePage, false, 2000},
		{"TLS, 1 KiB", smallPage, true, 6000}, {"TLS, 64 KiB", largePage, true, 1500},
	}
	taken := make([][][]cost, len(lanes))
	for i := range taken {
		taken[i] = make([][]cost, len(states))
	}
	for round := range rounds {
		for turn := range states {
			// None of them always comes behind the same.
			at := (turn*(1+round%2) + round) % len(states)
			if err := s.set(b.Context(), states[at].on); err != nil {
				b.Fatal(err)
			}
			for i := range lanes {
				c, err := s.measure(b.Context(), &lanes[i])
				if err != nil {
					b.Fatalf("%s, %s: %v", lanes[i].name, states[at].name, err)
				}
				taken[i][at] = append(taken[i][at], c)
			}
		}
	}
	b.Logf("medians of %d rounds, quartiles in brackets; microseconds of processor time a request", rounds)
	b.Logf("%-14s %-9s %10s %22s %22s %8s %8s %8s", "", "", "requests/s", "to off", "server's time to off", "server", "agent", "read")
	for i, l := range lanes {
		for at, of := range states {
			b.Logf("%-14s %-9s %s", l.name, of.name, line(taken[i][at], taken[i][0]))
		}
	}
	for _, cause := range []string{"kernel_ring_content_full", "content_record_gap", "finding_untold"} {
		b.Logf("%s: %.0f", cause, s.lost(b, cause))
	}
}

// cost is what a number of requests took.
type cost struct {
	rate          float64 // requests a second
	server, agent float64 // processor time a request, microseconds
	read          float64 // the share of what was sent and got
}

// line is the medians of costs, and their relation to what was taken in the same rounds in another state.
func line(costs, base []cost) string {
	of := func(f func(c, base cost) float64) []float64 {
		var values []float64
		for i := range costs {
			values = append(values, f(costs[i], base[i]))
		}
		slices.Sort(values)
		return values
	}
	one := func(f func(c, base cost) float64) float64 { v := of(f); return v[len(v)/2] }
	ratio := func(f func(c, base cost) float64) string {
		v := of(f)
		return fmt.Sprintf("%.3f [%.3f %.3f]", v[len(v)/2], v[len(v)/4], v[len(v)*3/4])
	}
	return fmt.Sprintf("%10.0f %22s %22s %8.1f %8.1f %7.0f%%",
		one(func(c, _ cost) float64 { return c.rate }),
		ratio(func(c, base cost) float64 { return c.rate / base.rate }), ratio(func(c, base cost) float64 { return c.server / base.server }),
		one(func(c, _ cost) float64 { return c.server }), one(func(c, _ cost) float64 { return c.agent }),
		100*one(func(c, _ cost) float64 { return c.read }))
}

// eventually waits until a condition holds, and returns its last error if it does not within a minute. It asks at a pace at which
// a figure that stays the same has come to its end.
func eventually(condition func() error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.After(time.Minute)
	for {
		err := condition()
		if err == nil {
			return nil
		}
		select {
		case <-late:
			return errors.Join(errors.New("not within a minute"), err)
		case <-tick.C:
		}
	}
}
