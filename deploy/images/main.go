// SPDX-License-Identifier: Apache-2.0

// Command images puts the programs of several architectures into container images, without a registry and without a
// daemon. For each image it writes
//
//	NAME/               an OCI image layout: the index of all architectures, and as referrers the bills of materials
//	NAME-ARCH.tar       an archive of one architecture for ctr, docker, podman and skopeo
//	NAME-ARCH.cdx.json  the bill of materials of it, CycloneDX
//
// An image has one layer with its programs, an empty data folder and the licences, and nothing else: no shell, no
// libraries, no package manager. The same programs give the same bytes.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
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
	var prefix, tag, out string
	cmd := &cobra.Command{
		Use:   "images [flags] DIR...",
		Short: "Put the programs of each DIR, one an architecture, into container images",
		Long: "Puts the programs of folders, one for each architecture, into container images: OCI layouts with all\n" +
			"architectures, and for each an archive for ctr images import, docker load, podman load and skopeo.",
		Example:      "  images --out bin/images bin/linux-amd64 bin/linux-arm64",
		Args:         cobra.MinimumNArgs(1),
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, dirs []string) error {
			for _, c := range components() {
				made, err := c.build(dirs, prefix, tag)
				if err != nil {
					return fmt.Errorf("image %s: %w", c.name, err)
				}
				if err := made.write(out, cmd.OutOrStdout()); err != nil {
					return fmt.Errorf("image %s: %w", c.name, err)
				}
				if err := cmd.Context().Err(); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&prefix, "prefix", "", "`REGISTRY/PATH` before the images' names")
	cmd.Flags().StringVar(&tag, "tag", "", "`TAG` of the images (default: the version that the programs tell)")
	cmd.Flags().StringVar(&out, "out", "bin/images", "`DIR` for layouts and archives")
	return cmd
}

// component is one image.
type component struct {
	name        string
	description string
	// programs are the files of the image; the first is its entry point, with args by default.
	programs []string
	args     []string
	// user runs it and owns the data folder.
	user int
	data string
	// temp says that it has a folder for temporary files.
	temp bool
}

// nonroot is the user of images that need no root, by the number that distroless images have made a habit.
const nonroot = 65532

func components() []component {
	return []component{
		{
			name: "holdfast-agent", description: "Holdfast's node agent: runtime security with eBPF",
			programs: []string{"holdfast-agent"}, args: []string{"run"}, data: "/var/lib/holdfast-agent",
		},
		{
			name: "holdfast-collector", description: "Holdfast's collector, and the holdfast command",
			programs: []string{"holdfast-collector", "holdfast"},
			args:     []string{"serve", "--data-dir", "/var/lib/holdfast-collector"},
			user:     nonroot, data: "/var/lib/holdfast-collector", temp: true,
		},
	}
}

// reference is the full name of an image: what names no registry is Docker Hub's, by the habit of all runtimes.
func reference(prefix, name, tag string) string {
	name += ":" + tag
	if prefix = strings.Trim(prefix, "/"); prefix == "" {
		return "docker.io/library/" + name
	}
	host, _, _ := strings.Cut(prefix, "/")
	if strings.ContainsAny(host, ".:") || host == "localhost" {
		return prefix + "/" + name
	}
	return "docker.io/" + prefix + "/" + name
}
