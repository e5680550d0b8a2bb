// SPDX-License-Identifier: Apache-2.0

// Command tally runs go test in stages and closes with one line of counts.
//
// Each argument is a stage: a name, a colon and the arguments of go test.
//
//	tally 'unit: ./agent/...' 'end to end: -v -p 1 -timeout 15m ./tests/e2e/...'
//
// Every stage runs, whatever happened in the ones before it. A package's own
// closing line is printed as go test prints it; a test's output is printed
// when it fails, and always in a stage that asks for -v. Skipped tests are
// listed with the reason they gave. The last line is
//
//	N passed, N failed, N skipped
//
// and the exit status is 1 if a test or a package failed, if go test itself
// failed, or if no test ran.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// maxLine bounds one line of go test's JSON stream.
const maxLine = 4 << 20

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "tally:", err)
		os.Exit(1)
	}
}

// run executes the stages in turn and writes the report to out.
func run(ctx context.Context, stages []string, out io.Writer) error {
	if len(stages) == 0 {
		return errors.New("no stage: give 'NAME: go test arguments'")
	}
	var total counts
	var errs []error
	for _, stage := range stages {
		name, args, ok := strings.Cut(stage, ":")
		if !ok {
			return fmt.Errorf("stage %q has no name: give 'NAME: go test arguments'", stage)
		}
		start := time.Now()
		fmt.Fprintf(out, "--- stage %s\n", name)
		c, err := runStage(ctx, strings.Fields(args), out)
		if err != nil {
			errs = append(errs, fmt.Errorf("stage %s: %w", name, err))
		}
		fmt.Fprintf(out, "--- stage %s: %s in %s\n", name, c, time.Since(start).Round(time.Second))
		total.add(c)
	}
	fmt.Fprintln(out, total)
	if total.passed+total.failed == 0 {
		errs = append(errs, errors.New("no test ran"))
	}
	return errors.Join(errs...)
}

// runStage runs go test once and folds its event stream into counts.
func runStage(ctx context.Context, args []string, out io.Writer) (counts, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json", "-count=1"}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return counts{}, fmt.Errorf("pipe from go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return counts{}, fmt.Errorf("start go test: %w", err)
	}
	f := newFolder(out, slices.Contains(args, "-v"))
	lines := bufio.NewScanner(stdout)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	for lines.Scan() {
		f.line(lines.Bytes())
	}
	scanErr := lines.Err()
	if scanErr != nil {
		// Let go test finish: a full pipe would block it for ever.
		_, _ = io.Copy(io.Discard, stdout)
		scanErr = fmt.Errorf("read go test's events: %w", scanErr)
	}
	f.skips()
	return f.counts, errors.Join(scanErr, cmd.Wait())
}
