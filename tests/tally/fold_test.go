// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"strings"
	"testing"
)

// stream is what go test -json writes for one package with a test of every
// outcome, one package that does not build, and one that panics.
const stream = `
{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestGood"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"    a_test.go:3: 12 seen\n"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"--- PASS: TestGood (0.00s)\n"}
{"Action":"pass","Package":"p","Test":"TestGood"}
{"Action":"output","Package":"p","Test":"TestBad","Output":"    a_test.go:9: got 1, want 2\n"}
{"Action":"output","Package":"p","Test":"TestBad","Output":"--- FAIL: TestBad (0.00s)\n"}
{"Action":"fail","Package":"p","Test":"TestBad","Elapsed":12.3}
{"Action":"output","Package":"p","Test":"TestNot","Output":"    a_test.go:20: needs root\n"}
{"Action":"skip","Package":"p","Test":"TestNot"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
{"ImportPath":"q","Action":"build-output","Output":"q.go:1: undefined: x\n"}
{"ImportPath":"q","Action":"build-fail"}
{"Action":"output","Package":"q","Output":"FAIL\tq [build failed]\n"}
{"Action":"fail","Package":"q"}
{"Action":"output","Package":"r","Test":"TestPanics","Output":"panic: r\n"}
{"Action":"fail","Package":"r"}
`

func fold(t *testing.T, verbose bool) (counts, string) {
	t.Helper()
	var out strings.Builder
	f := newFolder(&out, verbose)
	for l := range strings.SplitSeq(strings.TrimSpace(stream), "\n") {
		f.line([]byte(l))
	}
	f.end()
	return f.counts, out.String()
}

func TestFoldCounts(t *testing.T) {
	got, _ := fold(t, false)
	want := counts{passed: 1, failed: 3, skipped: 1}
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestFoldPrintsFailuresAndReasons(t *testing.T) {
	_, out := fold(t, false)
	for _, want := range []string{
		"got 1, want 2", "FAIL\tp\t0.1s", "undefined: x", "panic: r",
		"skipped: p TestNot: a_test.go:20: needs root", "slow: p TestBad: 12s",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("output lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "12 seen") {
		t.Errorf("a passing test's log was printed without -v:\n%s", out)
	}
}

func TestFoldVerbosePrintsPassingLogs(t *testing.T) {
	if _, out := fold(t, true); !strings.Contains(out, "12 seen") {
		t.Errorf("a passing test's log is missing with -v:\n%s", out)
	}
}

func TestFoldPassesOnWhatIsNoEvent(t *testing.T) {
	var out strings.Builder
	newFolder(&out, false).line([]byte("go: warning"))
	if out.String() != "go: warning\n" {
		t.Errorf("got %q", out.String())
	}
}

func TestParseCountsReadsWhatStringWrites(t *testing.T) {
	want := counts{passed: 12, failed: 3, skipped: 4}
	if got, ok := parseCounts([]byte(want.String())); !ok || got != want {
		t.Errorf("got %v, %v", got, ok)
	}
	for _, line := range []string{"", "ok", "1 passed, 2 failed", "x 1 passed, 2 failed, 3 skipped"} {
		if got, ok := parseCounts([]byte(line)); ok {
			t.Errorf("%q: read as %v", line, got)
		}
	}
}

func TestRunRefusesStagesItCannotRead(t *testing.T) {
	for _, stages := range [][]string{nil, {"./agent/..."}, {"empty!"}, {"none! ./no-such-command"}} {
		if err := run(t.Context(), stages, io.Discard); err == nil {
			t.Errorf("stages %q: no error", stages)
		}
	}
}

func TestRunFailsOnAStageThatRanNothing(t *testing.T) {
	var out strings.Builder
	err := run(t.Context(), []string{"empty: -run ^$ .", "full! echo 2 passed, 0 failed, 1 skipped"}, &out)
	if err == nil || err.Error() != "stage empty: no test ran" {
		t.Errorf("got error %v", err)
	}
	if !strings.HasSuffix(out.String(), "\n2 passed, 0 failed, 1 skipped\n") {
		t.Errorf("closing line is missing:\n%s", out.String())
	}
}

func TestRunFailsOnFailedCommands(t *testing.T) {
	for _, stage := range []string{"a! false", "a! echo 1 passed, 1 failed, 0 skipped"} {
		if err := run(t.Context(), []string{stage}, io.Discard); err == nil {
			t.Errorf("%s: no error", stage)
		}
	}
}

func TestFolderOfAModuleComesFirst(t *testing.T) {
	for given, want := range map[string]string{
		"-v ./a":       "go test -json -count=1 -v ./a",
		"-C dir -v ./": "go test -C dir -json -count=1 -v ./",
		"-C":           "go test -json -count=1 -C",
	} {
		if got := strings.Join(goTest(strings.Fields(given)), " "); got != want {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
	}
}
