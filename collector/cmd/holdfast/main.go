// SPDX-License-Identifier: Apache-2.0

// Command holdfast asks a Holdfast collector what happens on its nodes. See 'holdfast --help' and docs/cli.md.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/collector/cli"
)

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first Ctrl-C asks for an orderly end, the second has the usual effect.
	defer context.AfterFunc(ctx, stop)()
	env := cli.Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv,
		Interactive: isatty.IsTerminal(os.Stdin.Fd()),
		Terminal:    isatty.IsTerminal(os.Stdout.Fd()), Location: time.Local, Now: time.Now,
	}
	if size, err := unix.IoctlGetWinsize(int(os.Stdout.Fd()), unix.TIOCGWINSZ); err == nil {
		env.Columns = int(size.Col)
	}
	return cli.Run(ctx, env, os.Args[1:])
}
