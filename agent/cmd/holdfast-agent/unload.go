// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/agent/config"
	"github.com/holdfast-project/holdfast/agent/sensor"
)

// unload removes what outlives the agent.
func unload() *cobra.Command {
	var pinDir string
	cmd := &cobra.Command{
		Use:   "unload",
		Short: "Remove the programs and maps that outlive the agent",
		Long: "Detaches and removes everything that agents of any version have pinned below the folder, and says what it was.\n" +
			"From then on nothing is seen and nothing is blocked. The agent must have ended. Again, it has nothing to do.",
		Example: "  systemctl stop holdfast-agent && holdfast-agent unload",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			gone, err := sensor.Unload(pinDir)
			if printErr := printUnloaded(cmd.OutOrStdout(), pinDir, gone); err == nil {
				err = printErr
			}
			return err
		},
	}
	cmd.Flags().StringVar(&pinDir, "pin-dir", config.DefaultPinDir, "`DIR` of a BPF file system where they are pinned")
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
