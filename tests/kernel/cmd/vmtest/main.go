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
	"sync"
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
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	if err := requirePackages(ctx, opts.install, log); err != nil {
		return vm.Report{}, err
	}
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
	machines, closeLogs, err := arrange(opts, images, payload)
	if err != nil {
		return vm.Report{}, err
	}
	report := bootAll(ctx, machines, opts.parallel, log)
	if err := closeLogs(); err != nil {
		return vm.Report{}, err
	}
	if ctx.Err() != nil {
		return vm.Report{}, errors.New("interrupted")
	}
	fmt.Println()
	return report, report.Write(os.Stdout)
}

// requirePackages installs what the host lacks, or says what that is.
func requirePackages(ctx context.Context, install bool, log *slog.Logger) error {
	missing, err := vm.Missing()
	if err != nil || len(missing) == 0 {
		return err
	}
	if !install {
		return fmt.Errorf("missing Debian packages: apt-get install %s (or use --install)", strings.Join(missing, " "))
	}
	log.Info("installing Debian packages", "packages", strings.Join(missing, " "))
	return vm.Install(ctx, missing)
}

// bootAll boots the machines, so many at once, and returns the outcomes in their
// order.
func bootAll(ctx context.Context, machines []vm.Machine, parallel int, log *slog.Logger) vm.Report {
	outcomes := make([]vm.Outcome, len(machines))
	slots := make(chan struct{}, parallel)
	var running sync.WaitGroup
	for i, machine := range machines {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			result, err := vm.Boot(ctx, machine)
			result.Machine = machine.Name()
			outcomes[i] = vm.Outcome{Result: result, Err: err}
			for _, warning := range result.Warnings {
				log.Warn("machine", "machine", machine.Name(), "warning", warning)
			}
			if err != nil && ctx.Err() == nil {
				log.Error("machine", "machine", machine.Name(), "err", err, "console", lastLines(result.Console))
			}
		})
	}
	running.Wait()
	return vm.Report{Outcomes: outcomes}
}

// lastLines is the end of a console, which holds the reason of a panic.
func lastLines(console string) string {
	return console[max(0, len(console)-4096):]
}
