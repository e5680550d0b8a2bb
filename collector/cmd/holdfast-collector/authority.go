// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/collector/authority"
	"github.com/holdfast-project/holdfast/collector/store/sqlite"
)

func newCA() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Show the collector's certificate authority",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "show",
		Short: "Print the authority's certificate, PEM",
		Long: `Show prints the certificate of the collector's authority, PEM. A file with it is what the holdfast command is given as
HOLDFAST_CA. It is made if the data directory has none yet, and it is no secret. DIR/ca.pem holds the same.`,
		Example: `  holdfast-collector ca show --data-dir /var/lib/holdfast > ca.pem`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withState(cmd, func(_ *sqlite.Store, a *authority.Authority) error {
				_, err := cmd.OutOrStdout().Write(a.PEM())
				return err
			})
		},
	})
	return cmd
}

func newNode() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Revoke nodes, and allow them again",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "revoke NODE...",
		Short: "Void the certificates of nodes",
		Long: `Revoke voids every certificate that nodes have: a collector that serves ends their streams within seconds, and takes
neither new streams nor renewals from them. What they have sent stays. A revoked node can join again only with a join
token of its own that was made later ('token create --node NODE'), or, once 'node allow' has named it, with a
ServiceAccount token that was made later.`,
		Example: `  holdfast-collector node revoke --data-dir /var/lib/holdfast worker-1`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, nodes []string) error {
			return withState(cmd, func(_ *sqlite.Store, a *authority.Authority) error {
				var errs []error
				for _, node := range nodes {
					errs = append(errs, a.Revoke(cmd.Context(), node))
				}
				return errors.Join(errs...)
			})
		},
	}, newNodeAllow())
	return cmd
}

func newNodeAllow() *cobra.Command {
	return &cobra.Command{
		Use:   "allow NODE...",
		Short: "Let revoked nodes enrol again with ServiceAccount tokens",
		Long: `Allow lets nodes that were revoked enrol again as other nodes of a Kubernetes cluster do: with the ServiceAccount token of
the agent's pod. The token must have been made after the node was revoked, as the kubelet does within the hour, or at once
for a new pod: older ones may have been stolen. Certificates that were void stay so. With join tokens it has nothing to do.`,
		Example: `  holdfast-collector node allow --data-dir /var/lib/holdfast worker-1`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, nodes []string) error {
			return withState(cmd, func(_ *sqlite.Store, a *authority.Authority) error {
				var errs []error
				for _, node := range nodes {
					errs = append(errs, a.Allow(cmd.Context(), node))
				}
				return errors.Join(errs...)
			})
		},
	}
}
