// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Status is the outcome of a test.
type Status string

// The outcomes, as the testing package writes them.
const (
	Pass Status = "PASS"
	Fail Status = "FAIL"
	Skip Status = "SKIP"
)

// Test is the outcome of one test, or of a program that is no test.
type Test struct {
	Program string   // name of the program
	Name    string   // of the test, with those above it; empty for the program itself
	Status  Status   // empty while it runs
	Reason  string   // of a failure or skip, one line
	Output  []string // the last lines that it printed
	Took    time.Duration
}

// Used is a line of the table of hooks: what a machine uses for a hook.
type Used struct{ Hook, Choice string }

// outputLines bounds what is kept of a test's output.
const outputLines = 200

// transcript follows what a machine prints on its second serial port. It does no
// input or output and needs no clock.
type transcript struct {
	programs []string // names, by number
	release  string   // as uname prints it; empty before the init program runs
	lsms     string   // list of security modules in force
	warnings []string // modules that do not load
	tests    []*Test
	hooks    []Used
	done     bool
	current  *Test // whom output belongs to
	program  *Test // the program that runs
	running  int   // its number
}

// line takes one line without its end.
func (t *transcript) line(text string) {
	text = strings.TrimRight(text, "\r")
	if own, ok := strings.CutPrefix(text, "HFVM "); ok && t.control(own) {
		return
	}
	// A framing line begins with a mark, but may follow output without an end.
	printed, framing, ok := strings.Cut(text, "\x16")
	if !ok || !t.frame(framing) {
		t.output(text)
		return
	}
	if strings.TrimSpace(printed) != "" {
		t.output(printed)
	}
}

// control takes a line of the init program. It returns false for a line that only
// looks like one.
func (t *transcript) control(text string) bool {
	word, rest, _ := strings.Cut(text, " ")
	switch word {
	case "boot":
		t.release, t.lsms, _ = strings.Cut(rest, " ")
	case "module":
		t.warnings = append(t.warnings, "module "+rest)
	case "run":
		index, _, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(index)
		if err != nil || n < 0 || n >= len(t.programs) {
			return false
		}
		t.program, t.running = &Test{Program: t.programs[n]}, n
		t.current = t.program
	case "exit":
		var n, status int
		if _, err := fmt.Sscanf(rest, "%d %d", &n, &status); err != nil || t.program == nil || n != t.running {
			return false
		}
		t.exit(status)
	case "done":
		t.done = true
	default:
		return false
	}
	return true
}

// exit ends a program. A test that has not reported by then has not passed; a
// status that no failed test explains is a failure of the program itself.
func (t *transcript) exit(status int) {
	failed, tested := false, false
	for _, test := range t.tests {
		if test.Program != t.program.Program {
			continue
		}
		tested = true
		if test.Status == "" {
			test.Status, test.Reason = Fail, fmt.Sprintf("did not finish, the program ended with status %d", status)
		}
		failed = failed || test.Status == Fail
	}
	t.program.Status = Pass
	if status != 0 {
		t.program.Status, t.program.Reason = Fail, fmt.Sprintf("ended with status %d", status)
	}
	if !tested || (t.program.Status == Fail && !failed) {
		t.tests = append(t.tests, t.program)
	}
	t.program, t.current = nil, nil
}

// stop ends what still runs when the machine ends, with the reason.
func (t *transcript) stop(reason string) {
	running := false
	for _, test := range t.tests {
		if test.Status == "" {
			test.Status, test.Reason, running = Fail, reason, true
		}
	}
	if t.program != nil && !running {
		t.program.Status, t.program.Reason = Fail, reason
		t.tests = append(t.tests, t.program)
	}
	t.program, t.current = nil, nil
}

var (
	frameStart  = regexp.MustCompile(`^=== (RUN|NAME|CONT|PAUSE|ATTR) +(\S+)`)
	frameResult = regexp.MustCompile(`^--- (PASS|FAIL|SKIP): (\S+) \(([0-9.]+s)?`)
)

// frame takes a line of the testing package. It returns false for what is none.
func (t *transcript) frame(text string) bool {
	if t.program == nil {
		return false
	}
	if match := frameStart.FindStringSubmatch(text); match != nil {
		t.current = t.test(match[2])
		if match[1] == "RUN" {
			// With -test.count a test runs again: it has passed only if it always has.
			if t.current.Status != Fail {
				t.current.Status = ""
			}
		}
		return true
	}
	if strings.HasPrefix(text, "=== NAME") {
		// Without a name: what comes now is of no test.
		t.current = t.program
		return true
	}
	match := frameResult.FindStringSubmatch(text)
	if match == nil {
		return strings.HasPrefix(text, "===") || strings.HasPrefix(text, "---")
	}
	t.current = t.test(match[2])
	t.current.Took, _ = time.ParseDuration(match[3])
	if t.current.Status != Fail {
		t.current.Status = Status(match[1])
		if t.current.Status != Pass {
			t.current.Reason = lastLog(t.current.Output)
		}
	}
	return true
}

// test returns the test of the running program with a name, made if need be.
func (t *transcript) test(name string) *Test {
	for _, test := range t.tests {
		if test.Program == t.program.Program && test.Name == name {
			return test
		}
	}
	test := &Test{Program: t.program.Program, Name: name}
	t.tests = append(t.tests, test)
	return test
}

// Marks that the testing package puts around parts of its output.
var marks = strings.NewReplacer("\x16", "", "\x0e", "", "\x0f", "")

// position is what the testing package puts before a logged line.
var position = regexp.MustCompile(`^\s+\S+\.go:\d+: `)

// output takes a line that a test or a program printed.
func (t *transcript) output(text string) {
	text = marks.Replace(text)
	logged := position.ReplaceAllString(text, "")
	if row, ok := strings.CutPrefix(logged, "HFTABLE "); ok {
		if hook, choice, ok := strings.Cut(row, "\t"); ok {
			t.hooks = append(t.hooks, Used{strings.TrimSpace(hook), strings.TrimSpace(choice)})
			return
		}
	}
	if t.current == nil {
		return
	}
	lines := append(t.current.Output, text)
	t.current.Output = lines[max(0, len(lines)-outputLines):]
}

// lastLog is the last thing that a test logged, without its position, or the last
// line that it printed.
func lastLog(output []string) string {
	for i := len(output) - 1; i >= 0; i-- {
		if position.MatchString(output[i]) {
			return position.ReplaceAllString(output[i], "")
		}
	}
	if len(output) > 0 {
		return strings.TrimSpace(output[len(output)-1])
	}
	return "no reason given"
}
