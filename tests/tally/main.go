// SPDX-License-Identifier: Apache-2.0

// Command tally runs tests in stages and closes with one line of counts.
//
// Each argument is a stage: a name, a colon and the arguments of go test; or,
// for tests that another program runs, a name, "!" and that command, which is
// to print its counts as the line below.
//
//	tally 'unit: ./agent/...' 'chart: -C tests/chart ./...' 'kernels! go run ./tests/kernel/cmd/vmtest'
//
// Every stage runs, whatever happened in the ones before it. A package's own
// closing line is printed as go test prints it; a test's output is printed
// when it fails, and always in a stage that asks for -v. Skipped tests are
// listed with the reason they gave, and those that took longest with their
// time. The last line is
//
//	N passed, N failed, N skipped
//
// and the exit status is 1 if a test or a package failed, if a command itself
// failed, or if no test ran. A stage that ran none has failed, too.
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

// maxLine bounds one line of output.
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

// run runs the stages in turn and writes the report to out.
func run(ctx context.Context, stages []string, out io.Writer) error {
	if len(stages) == 0 {
		return errors.New("no stage: give 'NAME: go test arguments'")
	}
	var total counts
	var errs []error
	for _, stage := range stages {
		at := strings.IndexAny(stage, ":!")
		if at < 0 {
			return fmt.Errorf("stage %q has no name: give 'NAME: go test arguments' or 'NAME! command'", stage)
		}
		name, args := stage[:at], strings.Fields(stage[at+1:])
		f := newFolder(out, slices.Contains(args, "-v"))
		fold := f.plain
		if stage[at] == ':' {
			fold, args = f.line, goTest(args)
		}
		start := time.Now()
		fmt.Fprintf(out, "--- stage %s\n", name)
		err := command(ctx, args, fold)
		f.end()
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("stage %s: %w", name, err))
		case f.counts.failed > 0:
			errs = append(errs, fmt.Errorf("stage %s: %d failed", name, f.counts.failed))
		case f.passed == 0:
			errs = append(errs, fmt.Errorf("stage %s: no test ran", name))
		}
		fmt.Fprintf(out, "--- stage %s: %s in %s\n", name, f.counts, time.Since(start).Round(time.Second))
		total.add(f.counts)
	}
	fmt.Fprintln(out, total)
	return errors.Join(errs...)
}

// goTest is the command of a stage of go test. A folder to run it in, for a
// module of its own, has to be its first argument.
func goTest(args []string) []string {
	const own = 2
	command := []string{"go", "test"}
	if len(args) >= own && args[0] == "-C" {
		command, args = append(command, args[:own]...), args[own:]
	}
	return append(append(command, "-json", "-count=1"), args...)
}

// command runs a command and hands its standard output to fold by lines.
func command(ctx context.Context, args []string, fold func(line []byte)) error {
	if len(args) == 0 {
		return errors.New("no command")
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("pipe from %s: %w", args[0], err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", args[0], err)
	}
	lines := bufio.NewScanner(stdout)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	for lines.Scan() {
		fold(lines.Bytes())
	}
	err = lines.Err()
	if err != nil {
		// Let the command finish: a full pipe would block it for ever.
		_, _ = io.Copy(io.Discard, stdout)
		err = fmt.Errorf("read the output of %s: %w", args[0], err)
	}
	return errors.Join(err, cmd.Wait())
}
