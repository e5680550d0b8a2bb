// SPDX-License-Identifier: Apache-2.0

// Command holdfast-agent watches the containers of one node and reports to the collector.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/agent"
	"github.com/holdfast-project/holdfast/agent/config"
)

// garbagePercent lets the heap grow by two fifths of what lives before garbage is collected, where Go's default is as much
// again: a node's memory is dearer than the time, since the way of an event allocates nothing. GOGC overrides it.
const garbagePercent = 40

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := root().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "holdfast-agent:", err)
		os.Exit(1)
	}
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "holdfast-agent",
		Short: "Watch the containers of this node and report to the collector",
		Long: "holdfast-agent attaches eBPF programs to process, file and network hooks, ties what it sees to containers\n" +
			"and their workloads, and streams alerts to the collector. It runs as root, one on each node.",
		Version:       agent.Version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	cmd.AddCommand(run(), capabilities(), unload())
	return cmd
}

func run() *cobra.Command {
	var cfg config.Config
	var file string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the agent until it is told to stop",
		Long: "Runs the agent. At its first start it enrols with a join token and gets a certificate for this node, which it\n" +
			"renews by itself. Alerts are on disk before they are sent, so the collector may be away. SIGTERM or Ctrl-C ends\n" +
			"it cleanly.\n\nPrograms, maps and what the kernel has to tell outlive the agent below --pin-dir: the next agent, also of\n" +
			"another version, goes on with them, and unload removes them.\n\nEvery flag can stand in a YAML file under the same name; a flag wins over the file.",
		Example: "  holdfast-collector token create --data-dir /var/lib/holdfast-collector > join.token\n" +
			"  holdfast-agent run --collector collector.example:7443 --join-token-file join.token\n" +
			"  holdfast-agent run --config /etc/holdfast/agent.yaml --record exec,connect",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file != "" {
				if err := config.Read(file, cmd.Flags()); err != nil {
					return err
				}
			}
			if err := cfg.Validate(); err != nil {
				return err
			}
			a, err := agent.New(cfg, cfg.Logger())
			if err != nil {
				return err
			}
			return a.Run(cmd.Context())
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVar(&file, "config", "", "YAML `FILE` of settings, under the names of the flags")
	cfg.Bind(cmd.Flags())
	return cmd
}
