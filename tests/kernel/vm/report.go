// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Outcome is the result of a machine together with the error that ended it.
type Outcome struct {
	Result
	Err error // nil if the machine got to the end of its programs
}

// Report joins the outcomes of all machines, in the order of their columns.
type Report struct{ Outcomes []Outcome }

// Problems returns why the run as a whole has failed, a line each; none means that
// it has passed. A machine on which nothing ran has failed, too.
func (r Report) Problems() []string {
	var problems []string
	for _, outcome := range r.Outcomes {
		if outcome.Err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", outcome.Machine, outcome.Err))
		}
		ran := false
		for _, test := range outcome.Tests {
			ran = ran || !noTests(test)
			if test.Status == Fail {
				problems = append(problems, fmt.Sprintf("%s: %s: %s", outcome.Machine, test.Title(), test.Reason))
			}
		}
		if !ran && outcome.Err == nil {
			problems = append(problems, outcome.Machine+": no test ran")
		}
	}
	return problems
}

// Counts returns how many tests and subtests passed, failed and were skipped, over
// all machines. A machine or a test binary that broke off counts as a failure.
func (r Report) Counts() (passed, failed, skipped int) {
	for _, outcome := range r.Outcomes {
		if outcome.Err != nil {
			failed++
		}
		for _, test := range outcome.Tests {
			switch {
			case test.Status == Fail:
				failed++
			case test.Name == "":
				// The binary as a whole: its tests are counted.
			case test.Status == Skip:
				skipped++
			default:
				passed++
			}
		}
	}
	return passed, failed, skipped
}

// noTests reports whether a test binary found nothing to run.
func noTests(test Test) bool {
	return test.Name == "" && slices.Contains(test.Output, "testing: warning: no tests to run")
}

// Write writes the output of failed tests and then the tables: the machines, every
// test on every machine, why tests were skipped, and what is used for which hook.
func (r Report) Write(to io.Writer) error {
	var text strings.Builder
	r.failures(&text)
	r.machines(&text)
	r.tests(&text)
	r.skips(&text)
	r.hooks(&text)
	_, err := io.WriteString(to, text.String())
	return err
}

func table(to io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(to, 0, 8, 2, ' ', 0) }

// failures writes what the failed tests printed, and the consoles of machines that
// did not get to their end.
func (r Report) failures(to io.Writer) {
	for _, outcome := range r.Outcomes {
		for _, test := range outcome.Tests {
			if test.Status != Fail {
				continue
			}
			fmt.Fprintf(to, "FAIL %s, %s: %s\n", test.Title(), outcome.Machine, test.Reason)
			for _, line := range test.Output {
				fmt.Fprintf(to, "    %s\n", line)
			}
		}
		if outcome.Err != nil {
			fmt.Fprintf(to, "FAIL %s: %v\n", outcome.Machine, outcome.Err)
			for line := range strings.Lines(outcome.Console) {
				fmt.Fprintf(to, "    %s\n", strings.TrimRight(line, "\r\n"))
			}
		}
	}
}

func (r Report) machines(to io.Writer) {
	rows := table(to)
	defer rows.Flush()
	fmt.Fprintln(rows, "\nMACHINE\tRELEASE\tLSM LIST\tTOOK")
	for _, outcome := range r.Outcomes {
		fmt.Fprintf(rows, "%s\t%s\t%s\t%.0fs\n", outcome.Machine, outcome.Release, outcome.LSMs, outcome.Took.Seconds())
	}
}

// worthSaying is how long a test takes at least whose time is told.
const worthSaying = 10 * time.Second

// cell is a test's outcome, with its time if that is long; nothing, if the machine has no such test.
func cell(test Test) string {
	switch {
	case test.Status == "":
		return "-"
	case test.Took < worthSaying:
		return string(test.Status)
	default:
		return fmt.Sprintf("%s %.0fs", test.Status, test.Took.Seconds())
	}
}

// tests writes tests by machines. Subtests have a row only where one of them has
// not passed: the test above them stands for the others.
func (r Report) tests(to io.Writer) {
	cells := make(map[string]map[int]Test)
	var order []string
	for column, outcome := range r.Outcomes {
		for _, test := range outcome.Tests {
			if noTests(test) && test.Status == Pass {
				continue
			}
			name := test.Title()
			if cells[name] == nil {
				cells[name] = make(map[int]Test)
				order = append(order, name)
			}
			cells[name][column] = test
		}
	}
	rows := table(to)
	defer rows.Flush()
	fmt.Fprint(rows, "\nTEST")
	for _, outcome := range r.Outcomes {
		fmt.Fprintf(rows, "\t%s", outcome.Machine)
	}
	fmt.Fprintln(rows)
	for _, name := range order {
		if subtest(name) && !slices.ContainsFunc(slices.Collect(maps.Values(cells[name])), notPassed) {
			continue
		}
		fmt.Fprint(rows, name)
		for column := range r.Outcomes {
			fmt.Fprintf(rows, "\t%s", cell(cells[name][column]))
		}
		fmt.Fprintln(rows)
	}
}

// skips writes each reason once, with the tests and machines that it holds for.
func (r Report) skips(to io.Writer) {
	var grouped groups
	for _, outcome := range r.Outcomes {
		for _, test := range outcome.Tests {
			if test.Status == Skip {
				grouped.add(test.Title()+"\t"+test.Reason, outcome.Machine)
			}
		}
	}
	grouped.write(to, "SKIPPED\tUNSUPPORTED\tON")
}

// hooks writes each choice once for a hook, with the machines that make it.
func (r Report) hooks(to io.Writer) {
	var grouped groups
	for _, outcome := range r.Outcomes {
		for _, used := range outcome.Hooks {
			grouped.add(used.Hook+"\t"+used.Choice, outcome.Machine)
		}
	}
	slices.SortStableFunc(grouped, func(a, b group) int {
		hookA, _, _ := strings.Cut(a.key, "\t")
		hookB, _, _ := strings.Cut(b.key, "\t")
		return strings.Compare(hookA, hookB)
	})
	grouped.write(to, "HOOK\tWHAT IS USED\tON")
}

type group struct {
	key      string
	machines []string
}

// groups are keys in the order of their first machine.
type groups []group

func (g *groups) add(key, machine string) {
	at := slices.IndexFunc(*g, func(known group) bool { return known.key == key })
	if at < 0 {
		*g = append(*g, group{key: key})
		at = len(*g) - 1
	}
	if !slices.Contains((*g)[at].machines, machine) {
		(*g)[at].machines = append((*g)[at].machines, machine)
	}
}

func (g groups) write(to io.Writer, header string) {
	if len(g) == 0 {
		return
	}
	rows := table(to)
	defer rows.Flush()
	fmt.Fprintf(rows, "\n%s\n", header)
	for _, group := range g {
		fmt.Fprintf(rows, "%s\t%s\n", group.key, strings.Join(group.machines, ", "))
	}
}

// Title names a test in tables: its program and its name.
func (t Test) Title() string {
	if t.Name == "" {
		return t.Program
	}
	return t.Program + " " + t.Name
}

// subtest reports whether a title is that of a subtest.
func subtest(title string) bool {
	_, name, _ := strings.Cut(title, " ")
	return strings.Contains(name, "/")
}

func notPassed(test Test) bool { return test.Status != Pass }
