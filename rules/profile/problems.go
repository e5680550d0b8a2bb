// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// MaxProblems is how many problems of a file are told.
const MaxProblems = 20

// Problem is one thing that is wrong with a profile.
type Problem struct {
	// File is the name of the file as Decode was given it; Line counts from 1. Both are zero for what is in no file.
	File string
	Line int
	// Reason is what is wrong.
	Reason string
}

// String gives the problem as file:line: reason.
func (p Problem) String() string {
	switch {
	case p.Line > 0:
		return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Reason)
	case p.File != "":
		return p.File + ": " + p.Reason
	default:
		return p.Reason
	}
}

// InvalidError says why a profile or a file of profiles was refused.
type InvalidError struct {
	// Problems are the first MaxProblems of them, in the order of the file.
	Problems []Problem
	// More counts those that are not told.
	More int
}

// Error gives each problem on a line of its own.
func (e *InvalidError) Error() string {
	lines := make([]string, 0, len(e.Problems)+1)
	for _, p := range e.Problems {
		lines = append(lines, p.String())
	}
	if e.More > 0 {
		lines = append(lines, fmt.Sprintf("and %d more problems", e.More))
	}
	return strings.Join(lines, "\n")
}

// refuse notes a problem.
func (r *reader) refuse(line int, format string, arguments ...any) {
	if len(r.problems) == MaxProblems {
		r.more++
		return
	}
	r.problems = append(r.problems, Problem{File: r.file, Line: line, Reason: fmt.Sprintf(format, arguments...)})
}

// total counts the problems so far.
func (r *reader) total() int {
	return len(r.problems) + r.more
}

// refuseError notes an error, if it is one, as a problem of something.
func (r *reader) refuseError(line int, what string, err error) {
	if err == nil {
		return
	}
	if what != "" {
		what += ": "
	}
	r.refuse(line, "%s%s", what, strings.ReplaceAll(err.Error(), "\n", "; "))
}

// err is what has been noted; nil if nothing has.
func (r *reader) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return &InvalidError{Problems: r.problems, More: r.more}
}
