// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// event is one record of go test -json; see go doc test2json.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
	Elapsed    float64 // seconds
}

// counts are tests and subtests by outcome. A package that fails without a
// failed test (it does not build, it panics outside a test, it runs out of
// time) counts as one failure.
type counts struct {
	passed, failed, skipped int
}

func (c *counts) add(o counts) {
	c.passed += o.passed
	c.failed += o.failed
	c.skipped += o.skipped
}

func (c counts) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", c.passed, c.failed, c.skipped)
}

// closing is a line of counts as String writes it.
var closing = regexp.MustCompile(`^(\d+) passed, (\d+) failed, (\d+) skipped$`)

// parseCounts reads a line that String wrote.
func parseCounts(line []byte) (counts, bool) {
	m := closing.FindSubmatch(line)
	if m == nil {
		return counts{}, false
	}
	var c counts
	for i, n := range []*int{&c.passed, &c.failed, &c.skipped} {
		var err error
		if *n, err = strconv.Atoi(string(m[i+1])); err != nil {
			return counts{}, false
		}
	}
	return c, true
}

// folder folds an event stream into counts and prints what a person needs.
type folder struct {
	counts
	out     io.Writer
	verbose bool
	output  map[string][]string // by package and test, until the test ends
	failed  map[string]int      // failed tests by package
	skip    []string
	slow    []timed
}

// timed is a test, not a subtest, with how long it took.
type timed struct {
	name string
	took time.Duration
}

// A stage lists up to slowest tests that took at least worthSaying.
const (
	slowest     = 8
	worthSaying = 10 * time.Second
)

func newFolder(out io.Writer, verbose bool) *folder {
	return &folder{
		out:     out,
		verbose: verbose,
		output:  make(map[string][]string),
		failed:  make(map[string]int),
	}
}

// line takes one line of the stream. What is not an event is passed on.
func (f *folder) line(b []byte) {
	var e event
	if err := json.Unmarshal(b, &e); err != nil {
		fmt.Fprintf(f.out, "%s\n", b)
		return
	}
	switch {
	case e.Action == "build-output":
		fmt.Fprint(f.out, e.Output)
	case e.Test == "":
		f.pkg(e)
	default:
		f.test(e)
	}
}

// plain takes one line of a command's own output: its counts are added, and
// the rest is passed on.
func (f *folder) plain(b []byte) {
	if c, ok := parseCounts(b); ok {
		f.add(c)
		return
	}
	fmt.Fprintf(f.out, "%s\n", b)
}

// pkg takes an event of a whole package: its closing line is printed, and so
// is anything written outside a test.
func (f *folder) pkg(e event) {
	switch e.Action {
	case "output":
		if e.Output != "PASS\n" && !strings.Contains(e.Output, "[no test files]") {
			fmt.Fprint(f.out, e.Output)
		}
	case "fail":
		if f.failed[e.Package] == 0 {
			f.counts.failed++
		}
		f.unfinished(e.Package)
	}
}

// unfinished prints what the tests had written that never ended, as after a
// panic or a time-out.
func (f *folder) unfinished(pkg string) {
	for key, lines := range f.output {
		if strings.HasPrefix(key, pkg+" ") {
			f.print(lines)
			delete(f.output, key)
		}
	}
}

// test takes an event of one test.
func (f *folder) test(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		if !frame(e.Output) {
			f.output[key] = append(f.output[key], e.Output)
		}
		return
	case "pass":
		f.passed++
		if f.verbose {
			f.print(f.output[key])
		}
	case "fail":
		f.counts.failed++
		f.failed[e.Package]++
		f.print(f.output[key])
	case "skip":
		f.skipped++
		f.skip = append(f.skip, key+": "+reason(f.output[key]))
	default:
		return
	}
	if took := time.Duration(e.Elapsed * float64(time.Second)); took >= worthSaying && !strings.Contains(e.Test, "/") {
		f.slow = append(f.slow, timed{name: key, took: took})
	}
	delete(f.output, key)
}

// print writes the lines of one test.
func (f *folder) print(lines []string) {
	for _, l := range lines {
		fmt.Fprint(f.out, l)
	}
}

// end lists the tests that took long, and the skipped ones with their reasons.
func (f *folder) end() {
	slices.SortFunc(f.slow, func(a, b timed) int { return cmp.Compare(b.took, a.took) })
	for _, s := range f.slow[:min(slowest, len(f.slow))] {
		fmt.Fprintf(f.out, "slow: %s: %s\n", s.name, s.took.Round(time.Second))
	}
	for _, s := range f.skip {
		fmt.Fprintln(f.out, "skipped:", s)
	}
}

// frame reports whether a line is go test's own and says nothing new.
func frame(line string) bool {
	for _, p := range []string{"=== RUN", "=== PAUSE", "=== CONT", "=== NAME", "--- PASS", "--- SKIP"} {
		if strings.HasPrefix(strings.TrimLeft(line, " "), p) {
			return true
		}
	}
	return false
}

// reason joins what a skipped test said.
func reason(lines []string) string {
	parts := make([]string, 0, len(lines))
	for _, l := range lines {
		parts = append(parts, strings.TrimSpace(l))
	}
	if len(parts) == 0 {
		return "no reason given"
	}
	return strings.Join(parts, " ")
}
