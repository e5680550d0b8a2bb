// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"net/url"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/rules/waf"
	"github.com/holdfast-project/holdfast/rules/waf/crs"
	"github.com/holdfast-project/holdfast/tests/traffic"
)

// stageTurn is how much processor time a contender takes in each of its turns: the figure that holds where others run too.
const stageTurn = 60 * time.Millisecond

// BenchmarkWAFStages compares the cost of a request at the filter with that at the core rule set behind it: of a small request, of a
// form with 4 KiB of prose, and of ordinary traffic of all kinds. The contenders take turns; the figures are medians.
func BenchmarkWAFStages(b *testing.B) {
	filter, err := waf.Compile(waf.Config{})
	if err != nil {
		b.Fatal(err)
	}
	var engines [2]*crs.Engine
	for i := range engines {
		if engines[i], err = crs.New(crs.Config{Paranoia: i + 1}); err != nil {
			b.Fatal(err)
		}
	}
	headers := []waf.Pair{
		{Name: []byte("User-Agent"), Value: []byte("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36")}, {Name: []byte("Accept"), Value: []byte("text/html,*/*;q=0.8")},
	}
	small := []*waf.Request{{Method: []byte("GET"), Target: []byte("/item?id=5&q=green+tea"), Host: []byte("shop.example.com"), Headers: headers}}
	form := []*waf.Request{{
		Method: []byte("POST"), Target: []byte("/comment"), Host: []byte("shop.example.com"), Headers: headers, ContentType: []byte("application/x-www-form-urlencoded"),
		Body: []byte("name=Ann&comment=" + url.QueryEscape(string(prose(4<<10)))),
	}}
	var mixed []*waf.Request
	for generator := traffic.New(5); len(mixed) < 200; {
		mixed = append(mixed, generator.Request())
	}
	for b.Loop() {
		b.Logf("%-30s %12s %14s %14s", "a request, ns", "filter", "paranoia 1", "paranoia 2")
		for _, c := range []struct {
			name     string
			requests []*waf.Request
		}{{"small", small}, {"form with 4 KiB of prose", form}, {"ordinary traffic", mixed}} {
			b.Logf("%-30s %s", c.name, stages(b, filter, engines, c.requests))
		}
	}
}

// used is the processor time of this process, with that of what collects garbage.
func used(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// stages has the filter and the engines take turns, and gives what a request costs at each.
func stages(b *testing.B, filter *waf.Filter, engines [2]*crs.Engine, requests []*waf.Request) string {
	inspect := func(e *crs.Engine) func(*waf.Request) {
		return func(r *waf.Request) {
			if _, err := e.Inspect(r); err != nil {
				b.Fatal(err)
			}
		}
	}
	runs := [3]func(*waf.Request){func(r *waf.Request) { filter.Request(nil, r) }, inspect(engines[0]), inspect(engines[1])}
	var times [3][]float64
	var next [3]int
	for range wafRounds {
		for i, run := range runs {
			n, start := 0, used(b)
			for used(b)-start < stageTurn {
				run(requests[next[i]%len(requests)])
				next[i]++
				n++
			}
			times[i] = append(times[i], float64(used(b)-start)/float64(n))
		}
	}
	first := median(times[0])
	text := fmt.Sprintf("%12.0f", first)
	for _, t := range times[1:] {
		m := median(t)
		text += fmt.Sprintf(" %14.0f (%.0f times)", m, m/first)
	}
	return text
}
