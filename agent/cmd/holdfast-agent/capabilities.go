// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/agent/config"
	"github.com/holdfast-project/holdfast/agent/container/cgroup"
	"github.com/holdfast-project/holdfast/agent/guard"
	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/sensor"
)

// capabilities loads and attaches everything, says what came of it, and takes it down again.
func capabilities() *cobra.Command {
	var format, cgroupRoot, pinDir string
	cmd := &cobra.Command{
		Use:   "capabilities",
		Short: "Say what this node's kernel lets the agent see and block, and why not",
		Long: "Tries every hook on this kernel, as run does, prints what each signal is seen by or why it cannot be, and\n" +
			"detaches again. Nothing is recorded or reported.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "table" && format != "json" {
				return fmt.Errorf("--output: %q is neither table nor json", format)
			}
			list, err := tryAll(cgroupRoot, pinDir)
			if err != nil {
				return err
			}
			return printCapabilities(cmd.OutOrStdout(), format, list)
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "table", "table or json")
	cmd.Flags().StringVar(&cgroupRoot, "cgroup-root", "", "`DIR` where cgroup2 is mounted (default: found)")
	cmd.Flags().StringVar(&pinDir, "pin-dir", config.DefaultPinDir, "`DIR` where run would pin programs and maps")
	return cmd
}

func tryAll(cgroupRoot, pinDir string) (list []probe.Capability, err error) {
	kernel, err := probe.Run()
	if err != nil {
		return nil, err
	}
	tree, err := cgroup.Open(cgroupRoot)
	if err != nil {
		return nil, err
	}
	s, err := sensor.New(sensor.Config{CgroupRoot: tree.Root()}, kernel)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.Start(func() error { return nil }); err != nil {
		return nil, err
	}
	return slices.Concat([]probe.Capability{sensor.Pinnable(pinDir)}, s.Capabilities()[1:], guard.Capabilities(kernel.Rights)), nil
}

func printCapabilities(to io.Writer, format string, list []probe.Capability) error {
	if format == "json" {
		encoder := json.NewEncoder(to)
		for _, c := range list {
			if err := encoder.Encode(map[string]string{
				"signal": c.Signal, "see": c.See.String(), "block": c.Block.String(), "mechanism": c.Mechanism, "reason": c.Reason,
			}); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SIGNAL\tSEE\tBLOCK\tMECHANISM\tREASON")
	for _, c := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", c.Signal, c.See, c.Block, c.Mechanism, c.Reason)
	}
	return w.Flush()
}
