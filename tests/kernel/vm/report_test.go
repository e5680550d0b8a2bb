// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestReport(t *testing.T) {
	report := Report{[]Outcome{
		{Result: Result{Machine: "5.10 bpf", Release: "5.10.0", LSMs: "bpf", Took: 3 * time.Second,
			Tests: []Test{
				{"agent/x", "TestA", Pass, "", nil, 71 * time.Second}, {"agent/x", "TestA/one", Pass, "", nil, 0},
				{"agent/x", "TestA/two", Pass, "", nil, 0},
			},
			Hooks: []Used{{"exec", "lsm/a"}, {"exec", "lsm/a"}}}},
		{Result: Result{Machine: "6.1 nobpf", Release: "6.1.0", LSMs: "yama", Took: 4 * time.Second,
			Tests: []Test{
				{"agent/x", "TestA", Fail, "broken", []string{"what it printed"}, 0}, {"agent/x", "TestA/one", Pass, "", nil, 0},
				{"agent/x", "TestA/two", Fail, "broken below", nil, 0}, {"agent/x", "TestB", Skip, "loop needs 6.9", nil, 0},
			},
			Hooks: []Used{{"exec", "fmod_ret/a"}, {"connect", "cgroup/c"}}}},
		{Result: Result{Machine: "7 bpf", Console: "last words\r\n"}, Err: errors.New("the kernel panicked")},
		{Result: Result{Machine: "7 nobpf", Tests: []Test{{"agent/x", "", Pass, "", []string{"testing: warning: no tests to run", "PASS"}, 0}}}},
	}}
	var text strings.Builder
	if err := report.Write(&text); err != nil {
		t.Fatal(err)
	}
	const want = `FAIL agent/x TestA, 6.1 nobpf: broken
    what it printed
FAIL agent/x TestA/two, 6.1 nobpf: broken below
FAIL 7 bpf: the kernel panicked
    last words

MACHINE    RELEASE  LSM LIST  TOOK
5.10 bpf   5.10.0   bpf       3s
6.1 nobpf  6.1.0    yama      4s
7 bpf                         0s
7 nobpf                       0s

TEST               5.10 bpf  6.1 nobpf  7 bpf  7 nobpf
agent/x TestA      PASS 71s  FAIL       -      -
agent/x TestA/two  PASS      FAIL       -      -
agent/x TestB      -         SKIP       -      -

SKIPPED        UNSUPPORTED     ON
agent/x TestB  loop needs 6.9  6.1 nobpf

HOOK     WHAT IS USED  ON
connect  cgroup/c      6.1 nobpf
exec     lsm/a         5.10 bpf
exec     fmod_ret/a    6.1 nobpf
`
	if text.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", text.String(), want)
	}
	problems := []string{
		"6.1 nobpf: agent/x TestA: broken",
		"6.1 nobpf: agent/x TestA/two: broken below",
		"7 bpf: the kernel panicked",
		"7 nobpf: no test ran",
	}
	if got := report.Problems(); !slices.Equal(got, problems) {
		t.Errorf("problems %q, want %q", got, problems)
	}
}
