// SPDX-License-Identifier: Apache-2.0

// Command holdfast-collector is the collector: 'serve' takes what agents send, stores it and answers people; the other
// commands make and end tokens, show the authority's certificate and revoke nodes, on the same data directory and while
// it is being served. See 'holdfast-collector --help' and docs/collector.md.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/collector/term"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Stdout, os.Stderr, os.Args[1:])
	stop()
	os.Exit(code)
}

// run runs the command with the arguments after its name and returns the exit code: 0, or 1 after an error.
func run(ctx context.Context, stdout, stderr io.Writer, args []string) int {
	root := newRoot()
	root.SetArgs(append([]string{}, args...))
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		// Errors repeat what files and the command line said.
		fmt.Fprintf(stderr, "holdfast-collector: %s\n", term.Escape(err.Error()))
		return 1
	}
	return 0
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "holdfast-collector",
		Short: "Collect, store and serve what Holdfast agents report",
		Long: `The Holdfast collector takes alerts and recorded events from agents over gRPC, stores them in one
directory, and serves them to the holdfast command and to other programs over HTTPS.

A first start:

  holdfast-collector serve --data-dir /var/lib/holdfast
  holdfast-collector token create --data-dir /var/lib/holdfast               # for an agent to join with
  holdfast-collector token create --data-dir /var/lib/holdfast --role admin  # for the holdfast command

Every flag can also stand in a YAML file under its name, which --config names. A flag on the command line wins.`,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("holdfast-collector {{.Version}}\n")
	root.PersistentFlags().String("config", "", "YAML `FILE` with flags of the collector's commands by their names")
	root.PersistentFlags().String("data-dir", "", "`DIR` that holds everything the collector keeps (required)")
	root.AddCommand(newServe(), newToken(), newCA(), newNode())
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return readConfig(root, cmd) }
	return root
}

// version is what the build says of itself.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown)"
}
