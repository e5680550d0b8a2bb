// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/collector/term"
	"github.com/holdfast-project/holdfast/collector/view"
)

const recordPath = "/api/v1/record"

const recordHelp = `Say which event classes of which workloads are recorded. Recorded events travel and are stored apart from alerts, and are
shed before them; 'holdfast events --since' reads them.

A workload pattern is a shell pattern over namespace/workload/container; an empty one stands for every workload and the
host. A class is recorded where any rule asks for it. Changing rules needs a token of the role admin.`

const recordExamples = `  holdfast record list
  holdfast record set --workload 'shop/*' --type exec,connect   # record these of everything in shop
  holdfast record set --workload '' --type exec                 # record every exec, on the host too
  holdfast record clear --workload 'shop/*'
  holdfast record clear --all`

func newRecord(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "record",
		Short:   "Show and change which events are recorded",
		Long:    recordHelp,
		Example: recordExamples,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usageError(cmd, errors.New("say list, set or clear"))
		},
	}
	cmd.AddCommand(newRecordList(a), newRecordSet(a), newRecordClear(a))
	return cmd
}

func newRecordList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Show what is recorded",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.record(cmd.Context(), http.MethodGet, url.Values{}, nil)
		},
	}
}

func newRecordSet(a *app) *cobra.Command {
	var rule view.RecordRule
	cmd := &cobra.Command{
		Use:     "set",
		Short:   "Record event classes of the workloads that match a pattern, in place of those it had",
		Example: "  holdfast record set --workload 'shop/*' --type exec,connect",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.record(cmd.Context(), http.MethodPut, url.Values{}, rule)
		},
	}
	cmd.Flags().StringVarP(&rule.Workload, "workload", "w", "", "`PATTERN` over namespace/workload/container; '' for everything (required)")
	cmd.Flags().StringSliceVarP(&rule.Types, "type", "t", nil, "event `TYPES`: exec, open, connect, … (required)")
	requireFlags(cmd, "workload", "type")
	return cmd
}

func newRecordClear(a *app) *cobra.Command {
	var pattern string
	var all bool
	cmd := &cobra.Command{
		Use:     "clear",
		Short:   "Stop recording what one rule, or all of them, asked for",
		Example: "  holdfast record clear --workload 'shop/*'\n  holdfast record clear --all",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if all == cmd.Flags().Changed("workload") {
				return usageError(cmd, errors.New("say either --workload PATTERN or --all"))
			}
			query := url.Values{"workload": {pattern}}
			if all {
				query = url.Values{"all": {"true"}}
			}
			return a.record(cmd.Context(), http.MethodDelete, query, nil)
		},
	}
	cmd.Flags().StringVarP(&pattern, "workload", "w", "", "`PATTERN` of the rule, as 'record list' shows it")
	cmd.Flags().BoolVar(&all, "all", false, "take all rules away")
	return cmd
}

// requireFlags makes the absence of flags a usage error.
func requireFlags(cmd *cobra.Command, names ...string) {
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		var missing []string
		for _, name := range names {
			if !cmd.Flags().Changed(name) {
				missing = append(missing, "--"+name)
			}
		}
		if len(missing) > 0 {
			return usageError(cmd, fmt.Errorf("%s not given", strings.Join(missing, " and ")))
		}
		return nil
	}
}

// record asks for or changes what is recorded, and shows what it is then.
func (a *app) record(ctx context.Context, method string, query url.Values, body any) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	var answer struct {
		Rules []json.RawMessage `json:"rules"`
	}
	if err := s.call(ctx, method, recordPath, query, body, &answer); err != nil {
		return err
	}
	if s.format == formatJSON {
		for _, object := range answer.Rules {
			if err := s.writeJSON(object); err != nil {
				return err
			}
		}
		return nil
	}
	if len(answer.Rules) == 0 {
		return s.nothing("nothing is recorded, but for what an agent's own --record asks for")
	}
	table := s.table(term.Column{Title: "WORKLOAD"}, term.Column{Title: "TYPES"})
	for _, object := range answer.Rules {
		var rule view.RecordRule
		if err := json.Unmarshal(object, &rule); err != nil {
			return s.strange(fmt.Errorf("record rule: %w", err))
		}
		workload := term.Cell{Text: rule.Workload}
		if workload.Text == "" {
			workload = term.Cell{Text: "(everything)", Style: term.Dim}
		}
		if err := table.Row(workload, term.Cell{Text: strings.Join(rule.Types, ", ")}); err != nil {
			return err
		}
	}
	return table.Flush()
}
