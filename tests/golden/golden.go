// SPDX-License-Identifier: Apache-2.0

// Package golden holds what tests get against files that say what they should get, and writes those files anew with
// -rewrite:
//
//	go test ./agent/learn -rewrite
//
// The difference is then to be read before it is committed. Transcripts are golden files that hold the question too:
// commands for code that is pure, each followed by what it answered.
package golden

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write golden files anew with what the tests get")

// Compare fails the test when a file does not hold what was got. With -rewrite it writes the file, which may be new.
func Compare(t testing.TB, file string, got []byte) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(got, want) {
		return
	}
	// From the first line that differs on.
	at := 0
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			break
		}
		if got[i] == '\n' {
			at = i + 1
		}
	}
	line := 1 + bytes.Count(got[:at], []byte{'\n'})
	t.Errorf("%s:%d differs (with -rewrite it is written anew). Got from there on:\n%s\nwant:\n%s", file, line, got[at:], want[at:])
}

// Each runs a test of its own for each file that a pattern finds, named like the file, and gives it the file's text. That
// there is none is a failure.
func Each(t *testing.T, pattern string, test func(t *testing.T, file, text string)) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	for _, file := range files {
		base := filepath.Base(file)
		t.Run(strings.TrimSuffix(base, filepath.Ext(base)), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			test(t, file, string(text))
		})
	}
}

// Transcripts plays each file that a pattern finds, and compares it with the transcript that play gives: the commands as
// they were, and what they answered now.
func Transcripts(t *testing.T, pattern string, play func(t *testing.T, text string) string) {
	t.Helper()
	Each(t, pattern, func(t *testing.T, file, text string) {
		Compare(t, file, []byte(play(t, text)))
	})
}

// Lines plays a transcript of which each line is a command, but for lines that are empty or begin with #; those that begin
// with a blank are what the command before them answered. do runs a command, and gives lines that begin so, or nothing.
func Lines(text string, do func(command string) string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, " ") {
			continue
		}
		out.WriteString(line + "\n")
		if line != "" && line[0] != '#' {
			out.WriteString(do(line))
		}
	}
	return out.String()
}
