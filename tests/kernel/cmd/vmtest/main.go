// SPDX-License-Identifier: Apache-2.0

// Command vmtest runs tests on several real kernels in virtual machines and prints
// what came of them as tables.
//
//	vmtest [flags] --pkg ./agent/sensor --run TestExec
//	vmtest [flags] -- BINARY [ARG...]
//
// With --pkg it compiles the tests of packages; without, it runs a statically
// linked binary. It exits with status 1 when a test failed, was skipped for another
// reason than that the kernel cannot do it, or did not run, and with status 2 when
// it could not start. See package vm for what the machines are like.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/holdfast-project/holdfast/tests/kernel/vm"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	report, err := execute(ctx, os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmtest:", err)
		os.Exit(2)
	}
	problems := report.Problems()
	if len(problems) > 0 {
		fmt.Printf("\nfailed:\n%s\n", strings.Join(problems, "\n"))
	}
	passed, failed, skipped := report.Counts()
	fmt.Printf("\n%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	if len(problems) > 0 {
		os.Exit(1)
	}
}

// execute does everything but the verdict.
func execute(ctx context.Context, args []string) (vm.Report, error) {
	opts, err := parse(args)
	if err != nil {
		return vm.Report{}, err
	}
	if err := vm.Require(); err != nil {
		return vm.Report{}, err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	cache := vm.Cache{Folder: opts.cache, Refresh: opts.refresh, Log: log}
	images, err := cache.Ensure(ctx, opts.kernels)
	if err != nil {
		return vm.Report{}, err
	}
	folder, err := os.MkdirTemp("", "vmtest-build-")
	if err != nil {
		return vm.Report{}, fmt.Errorf("make a folder for binaries: %w", err)
	}
	defer os.RemoveAll(folder)
	payload, err := build(ctx, opts, folder)
	if err != nil {
		return vm.Report{}, err
	}
	machines := vm.Arrange(images, opts.lsms, vm.Machine{
		Payload: payload, Count: opts.count, BootTimeout: opts.boot, Timeout: opts.timeout,
	})
	outputs := logs{folder: opts.logs, quiet: opts.quiet}
	for i := range machines {
		if err := outputs.connect(&machines[i]); err != nil {
			return vm.Report{}, errors.Join(err, outputs.close())
		}
	}
	report := vm.BootAll(ctx, machines, opts.parallel, log)
	if err := outputs.close(); err != nil {
		return vm.Report{}, fmt.Errorf("write the logs: %w", err)
	}
	if ctx.Err() != nil {
		return vm.Report{}, errors.New("interrupted")
	}
	return report, report.Write(os.Stdout)
}
