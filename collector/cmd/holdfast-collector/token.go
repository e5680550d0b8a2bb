// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/collector/authority"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/collector/store/sqlite"
	"github.com/holdfast-project/holdfast/collector/term"
)

// defaultJoinTTL is how long a join token is good unless --ttl says otherwise.
const defaultJoinTTL = 24 * time.Hour

func newToken() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make, list and end tokens",
		Long: `Tokens let agents join and people ask. A token is shown once, when it is made; the collector keeps a hash of it.
All of these commands work while the collector is serving the data directory, and take effect at once.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newTokenCreate(), newTokenList(), newTokenRevoke())
	return cmd
}

// withState runs something on the state of the data directory that a command was given.
func withState(cmd *cobra.Command, do func(*sqlite.Store, *authority.Authority) error) (err error) {
	dir, err := dataDir(cmd)
	if err != nil {
		return err
	}
	s, err := sqlite.OpenState(cmd.Context(), dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	a, err := authority.Open(authority.Config{Dir: dir, Store: s})
	if err != nil {
		return err
	}
	return do(s, a)
}

func newTokenCreate() *cobra.Command {
	grant := authority.Grant{}
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a token and print it",
		Long: `Create makes a token and prints it, alone, on standard output.

Without --role it is a join token: an agent that is given it with --join-token-file enrols with it, once or --uses times,
within --ttl. It carries the fingerprint of the collector's authority, so the agent knows the collector before it sends
anything. With --node only the agent of that name can use it; a node that was revoked can enrol again only so.

With --role viewer or admin it is a token for the HTTP API, which the holdfast command is given as HOLDFAST_TOKEN. A
viewer reads; an admin also changes what is recorded and more. It is good until it is revoked, unless --ttl is given.`,
		Example: `  holdfast-collector token create --data-dir /var/lib/holdfast --node worker-1 > join.token
  holdfast-collector token create --data-dir /var/lib/holdfast --uses 20 --ttl 1h
  export HOLDFAST_TOKEN=$(holdfast-collector token create --data-dir /var/lib/holdfast --role admin)`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withState(cmd, func(_ *sqlite.Store, a *authority.Authority) error {
				if grant.Role == store.RoleJoin && !cmd.Flags().Changed("ttl") {
					grant.TTL = defaultJoinTTL
				}
				if grant.Role != store.RoleJoin && cmd.Flags().Changed("uses") {
					return errors.New("--uses is for join tokens alone")
				}
				text, _, err := a.CreateToken(cmd.Context(), grant)
				if err != nil {
					return fmt.Errorf("create a token: %w", err)
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
				return err
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar((*string)(&grant.Role), "role", string(store.RoleJoin), "what the token is good for: `ROLE` join, viewer or admin")
	flags.DurationVar(&grant.TTL, "ttl", 0, "for how long the token is good, such as 30m or 48h; 0 is for ever (default 24h for join tokens, else 0)")
	flags.StringVar(&grant.Node, "node", "", "`NAME` of the one node that may join with the token")
	flags.IntVar(&grant.Uses, "uses", 1, "how often agents may join with the token; -1 is without bound")
	flags.StringVar(&grant.Note, "note", "", "`TEXT` to remember what the token is for")
	return cmd
}

func newTokenList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List tokens, the newest first",
		Long:  `List shows every token that was made, the newest first, without its secret.`,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withState(cmd, func(s *sqlite.Store, _ *authority.Authority) error {
				tokens, err := s.ListTokens(cmd.Context())
				if err != nil {
					return err
				}
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
				fmt.Fprintln(w, "ID\tROLE\tSTATE\tCREATED\tEXPIRES\tUSES LEFT\tNODE\tNOTE")
				now := time.Now()
				for _, t := range tokens {
					fmt.Fprintln(w, strings.Join([]string{
						t.ID, string(t.Role), stateOf(t, now), stamp(t.Created), stamp(t.Expires), usesOf(t), dash(t.Node), dash(term.Escape(t.Note)),
					}, "\t"))
				}
				return w.Flush()
			})
		},
	}
}

func stateOf(t store.Token, now time.Time) string {
	switch {
	case !t.Revoked.IsZero():
		return "revoked"
	case !t.Valid(now):
		return "expired"
	case t.Role == store.RoleJoin && t.Uses == 0:
		return "spent"
	}
	return "good"
}

func usesOf(t store.Token) string {
	if t.Role != store.RoleJoin || t.Uses < 0 {
		return "any"
	}
	return strconv.Itoa(t.Uses)
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func newTokenRevoke() *cobra.Command {
	return &cobra.Command{
		Use:     "revoke ID...",
		Short:   "End tokens",
		Long:    `Revoke ends tokens, which are named by the IDs that 'token list' shows. Nodes that have joined with one stay.`,
		Example: `  holdfast-collector token revoke --data-dir /var/lib/holdfast 7xg2kq4mhzv5nbpa`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, ids []string) error {
			return withState(cmd, func(s *sqlite.Store, _ *authority.Authority) error {
				var errs []error
				for _, id := range ids {
					errs = append(errs, s.RevokeToken(cmd.Context(), id, time.Now()))
				}
				return errors.Join(errs...)
			})
		},
	}
}
