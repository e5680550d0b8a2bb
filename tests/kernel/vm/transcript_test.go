// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/tests/golden"
)

// TestTranscripts feeds what machines print, up to the line of dashes, and compares
// with what stands below. ^V, ^N and ^O stand for the control characters with which
// the testing package marks its lines.
func TestTranscripts(t *testing.T) {
	const separator = "----\n"
	controls := strings.NewReplacer("^V", "\x16", "^N", "\x0e", "^O", "\x0f")
	golden.Transcripts(t, "testdata/transcripts/*.txt", func(_ *testing.T, text string) string {
		input, _, _ := strings.Cut(text, separator)
		follow := transcript{programs: []string{"agent/sensor", "agent/probe", "shell"}}
		for line := range strings.Lines(input) {
			follow.line(controls.Replace(strings.TrimSuffix(line, "\n")) + "\r")
		}
		if !follow.done {
			follow.stop("the kernel panicked")
		}
		return input + separator + describe(&follow)
	})
}

// describe writes everything that a transcript holds.
func describe(follow *transcript) string {
	var text strings.Builder
	fmt.Fprintf(&text, "release %s\nsecurity modules %s\n", follow.release, follow.lsms)
	for _, warning := range follow.warnings {
		fmt.Fprintf(&text, "warning %s\n", warning)
	}
	for _, used := range follow.hooks {
		fmt.Fprintf(&text, "hook %s: %s\n", used.Hook, used.Choice)
	}
	for _, test := range follow.tests {
		judged := judge(*test, follow.release, follow.lsms)
		fmt.Fprintf(&text, "%s %s: %s\n", judged.Status, judged.Title(), judged.Reason)
		for _, line := range judged.Output {
			fmt.Fprintf(&text, "\t%s\n", line)
		}
	}
	return text.String()
}

// FuzzTranscript checks that nothing that a machine prints breaks the parser, and
// that whatever ran has an outcome in the end.
func FuzzTranscript(f *testing.F) {
	f.Add("HFVM run 0 a\n\x16=== RUN   TestX\n\x16--- PASS: TestX (0.00s)\nHFVM exit 0 0\nHFVM done\n")
	f.Add("HFVM exit 0 0\nHFVM run -1 a\nHFVM run 99 b\n\x16--- FAIL: TestX (\nHFVM boot\n")
	f.Fuzz(func(t *testing.T, printed string) {
		follow := transcript{programs: []string{"program"}}
		for line := range strings.Lines(printed) {
			follow.line(line)
		}
		follow.stop("ended")
		for _, test := range follow.tests {
			if test.Status != Pass && test.Status != Fail && test.Status != Skip {
				t.Errorf("test %q has status %q", test.Name, test.Status)
			}
		}
	})
}

// TestOutputBounded checks that a test which prints without end keeps only the
// last lines.
func TestOutputBounded(t *testing.T) {
	follow := transcript{programs: []string{"program"}}
	follow.line("HFVM run 0 program")
	for i := range 10 * outputLines {
		follow.line(fmt.Sprint(i))
	}
	follow.line("HFVM exit 0 0")
	output := follow.tests[0].Output
	if len(output) != outputLines || output[outputLines-1] != fmt.Sprint(10*outputLines-1) {
		t.Errorf("%d lines kept, the last is %q", len(output), output[len(output)-1])
	}
}

func TestCheckSkip(t *testing.T) {
	const with, without = "lockdown,yama,bpf", "lockdown,yama,bpfilter"
	for _, test := range []struct {
		line, release, lsms string
		reason, err         string
	}{
		{"unsupported: bpf_loop needs 5.17", "5.10.0-46", with, "bpf_loop needs 5.17", ""},
		{"    a_test.go:3: unsupported: bpf_loop needs v5.17", "5.10.0-46", with, "bpf_loop needs v5.17", ""},
		{"unsupported: bpf_loop needs 5.17", "5.17.0", with, "", "bpf_loop needs 5.17, which this kernel has"},
		{"unsupported: bpf_loop needs 5.9", "5.10.0", with, "", "which this kernel has"},
		{"unsupported: lsm/x needs lsm=bpf", "6.1.0", without, "lsm/x needs lsm=bpf", ""},
		{"unsupported: lsm/x needs lsm=bpf", "6.1.0", with, "", "which this kernel has"},
		{"unsupported: lsm/x needs 5.11 and lsm=bpf", "6.1.0", without, "lsm/x needs 5.11 and lsm=bpf", ""},
		{"unsupported: lsm/x needs 5.11 and lsm=bpf", "5.10.0", with, "lsm/x needs 5.11 and lsm=bpf", ""},
		{"unsupported: lsm/x needs 5.11 and lsm=bpf", "5.11.0", with, "", "which this kernel has"},
		{"unsupported: kprobes needs CONFIG_KPROBES", "6.1.0", with, "kprobes needs CONFIG_KPROBES", ""},
		{"unsupported: kprobes", "6.1.0", with, "", "without a line"},
		{"not today", "6.1.0", with, "", "not today"},
	} {
		reason, err := checkSkip([]string{"before", test.line, "after"}, test.release, test.lsms)
		if test.err == "not today" {
			reason, err = checkSkip([]string{test.line}, test.release, test.lsms)
		}
		if reason != test.reason || (err == nil) != (test.err == "") || (err != nil && !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%q on %s, %s: %q, %v; want %q, %q", test.line, test.release, test.lsms, reason, err, test.reason, test.err)
		}
	}
}
