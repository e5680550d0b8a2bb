// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/agent/cleanup"
	"github.com/holdfast-project/holdfast/agent/config"
	"github.com/holdfast-project/holdfast/agent/sensor"
)

// unload removes what outlives the agent.
func unload() *cobra.Command {
	var pinDir, dataDir string
	cmd := &cobra.Command{
		Use:   "unload",
		Short: "Remove the programs and maps that outlive the agent",
		Long: "Detaches and removes everything that agents of any version have pinned below the folder, and says what it was.\n" +
			"From then on nothing is seen and nothing is blocked. The agent must have ended. Again, it has nothing to do.\n\n" +
			"With --data-dir it removes the agent's files too: its identity, what it has learned, and alerts that the collector\n" +
			"does not have.",
		Example: "  systemctl stop holdfast-agent && holdfast-agent unload",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			gone, err := sensor.Unload(pinDir)
			if printErr := printUnloaded(cmd.OutOrStdout(), pinDir, gone); err == nil {
				err = printErr
			}
			if err != nil || dataDir == "" {
				return err
			}
			removed, err := cleanup.RemoveData(dataDir)
			if removed && err == nil {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "removed %s\n", dataDir)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&pinDir, "pin-dir", config.DefaultPinDir, "`DIR` of a BPF file system where they are pinned")
	cmd.Flags().StringVar(&dataDir, "data-dir", "", "`DIR` with the agent's identity and spools, to be removed too (default: left as it is)")
	cmd.AddCommand(hold(), wait())
	return cmd
}

// hold idles, for pods that have unloaded: a DaemonSet's pods must go on, or they would begin again.
func hold() *cobra.Command {
	return &cobra.Command{
		Use:   "hold",
		Short: "Do nothing until told to stop",
		Long: "Waits for SIGTERM or Ctrl-C. The pods that clean nodes up when the Helm chart is uninstalled run it afterwards, to\n" +
			"say that their node is clean.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			<-cmd.Context().Done()
			return nil
		},
	}
}

// wait blocks until all nodes of a cluster are clean.
func wait() *cobra.Command {
	var set string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "wait",
		Short: "Wait until the pods of a DaemonSet have unloaded on every node",
		Long: "Asks the API server of the cluster that it runs in, until every pod of the DaemonSet is ready. The Helm chart runs it\n" +
			"when it is uninstalled. When the time is over, the error names the nodes that are not clean.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			namespace, name, ok := strings.Cut(set, "/")
			if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
				return fmt.Errorf("--daemonset: %q is not NAMESPACE/NAME", set)
			}
			if timeout <= 0 {
				return errors.New("--timeout: must be more than 0")
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return cleanup.Wait(ctx, namespace, name, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)))
		},
	}
	cmd.Flags().StringVar(&set, "daemonset", "", "`NAMESPACE/NAME` of the DaemonSet whose pods unload")
	cmd.Flags().DurationVar(&timeout, "timeout", 4*time.Minute, "how long to wait")
	return cmd
}

func printUnloaded(to io.Writer, dir string, gone []sensor.Unloaded) error {
	count := map[string]int{}
	for _, g := range gone {
		count[g.Kind]++
		if _, err := fmt.Fprintf(to, "removed %s %s\n", g.Kind, g.Path); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(to, "%s: %d links, %d maps, %d programs removed\n", dir, count["link"], count["map"], count["program"])
	return err
}
