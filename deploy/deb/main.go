// SPDX-License-Identifier: Apache-2.0

// Command deb puts the programs of several architectures into Debian packages for hosts without Kubernetes:
// holdfast-agent, and holdfast-collector with the holdfast command. Each has a systemd unit and, as a file that the
// administrator owns, its settings below /etc/holdfast. The same programs give the same bytes.
//
// A package is an ar archive of two tar archives, so nothing of Debian's is needed to make one.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/deploy/pack"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil {
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var native, out string
	cmd := &cobra.Command{
		Use:   "deb --native DIR [flags] DIR...",
		Short: "Put the programs of each DIR, one an architecture, into Debian packages",
		Long: "Puts the programs of folders, one for each architecture, into Debian packages. The files of settings are\n" +
			"written from what the programs say of their flags, hence one that this machine can run.",
		Example:      "  deb --native bin --out bin/deb bin/linux-amd64 bin/linux-arm64",
		Args:         cobra.MinimumNArgs(1),
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, dirs []string) error {
			if err := os.MkdirAll(out, 0o755); err != nil {
				return fmt.Errorf("make the folder for packages: %w", err)
			}
			for _, p := range packages() {
				settings, err := p.settings(cmd.Context(), native)
				if err != nil {
					return fmt.Errorf("package %s: %w", p.name, err)
				}
				for _, dir := range dirs {
					b, err := pack.Read(dir, p.programs...)
					if err != nil {
						return fmt.Errorf("package %s: %w", p.name, err)
					}
					text, err := p.build(b, settings)
					if err != nil {
						return fmt.Errorf("package %s for %s: %w", p.name, b.Architecture, err)
					}
					file := filepath.Join(out, p.name+"_"+b.Debian()+"_"+b.Architecture+".deb")
					if err := os.WriteFile(file, text, 0o644); err != nil {
						return err
					}
					fmt.Fprintf(cmd.OutOrStdout(), "%s  %s\n", file, humanize.IBytes(uint64(len(text))))
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&native, "native", "bin", "`DIR` of the programs for this machine")
	cmd.Flags().StringVar(&out, "out", "bin/deb", "`DIR` for packages")
	return cmd
}

// debian is one package.
type debian struct {
	name string
	// summary is its one line, description the paragraph behind.
	summary, description string
	// programs are its files in /usr/bin.
	programs []string
	depends  string
	// command is the one of the first program that the unit runs, and config the name of its settings in /etc/holdfast.
	command, config string
	// active are the settings that do not stay at the program's default.
	active map[string]string
	// licences are those of parts that are not under the product's own.
	licences []string
	// users says that it brings a user of its own, by deploy/deb/NAME.sysusers.
	users bool
}

func packages() []debian {
	return []debian{
		{
			name: "holdfast-agent", summary: "runtime security with eBPF: the agent of a node",
			description: "The agent attaches eBPF programs to process, file and network hooks, ties what it sees to containers,\n" +
				"learns what they normally do, and reports or blocks everything else, in the kernel.",
			programs: []string{"holdfast-agent"}, depends: "init-system-helpers (>= 1.54)",
			command: "run", config: "agent.yaml",
			// Of what is loaded into the kernel.
			licences: []string{"BSD-2-Clause.txt", "GPL-2.0-only.txt"},
		},
		{
			name: "holdfast-collector", summary: "runtime security with eBPF: the collector and the holdfast command",
			description: "The collector stores what the agents of all nodes report, merges and distributes profiles, and serves\n" +
				"people. The holdfast command asks it, from here or from elsewhere.",
			programs: []string{"holdfast-collector", "holdfast"},
			depends:  "init-system-helpers (>= 1.54), systemd | systemd-standalone-sysusers | systemd-sysusers",
			command:  "serve", config: "collector.yaml", active: map[string]string{"data-dir": "/var/lib/holdfast-collector"},
			users: true,
		},
	}
}
