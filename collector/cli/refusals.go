// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/collector/term"
	"github.com/holdfast-project/holdfast/collector/view"
)

const refusalsPath = "/api/v1/refusals"

func newRefusals(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "refused",
		Short: "Show who was refused that would have been a node, and why",
		Long: "Show who was refused that would have been a node: agents that could not enrol or were revoked, and whoever pretends\n" +
			"to be one. Refusals of the same name, address, token and cause are one row. Names are as they were said.",
		Example: "  holdfast nodes refused\n  holdfast nodes refused -o json | jq 'select(.cause == \"other_node\")'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.open()
			if err != nil {
				return err
			}
			return s.listRefusals(cmd.Context())
		},
	}
}

func (s *session) listRefusals(ctx context.Context) error {
	var answer struct {
		Refusals []json.RawMessage `json:"refusals"`
	}
	if err := s.get(ctx, refusalsPath, url.Values{}, &answer); err != nil {
		return err
	}
	if s.format == formatJSON {
		for _, object := range answer.Refusals {
			if err := s.writeJSON(object); err != nil {
				return err
			}
		}
		return nil
	}
	if len(answer.Refusals) == 0 {
		return s.nothing("nobody was refused")
	}
	table := s.table(term.Column{Title: "LAST"}, term.Column{Title: "TIMES", Right: true}, term.Column{Title: "NODE"},
		term.Column{Title: "FROM"}, term.Column{Title: "PRESENTED"}, term.Column{Title: "CAUSE"}, term.Column{Title: "REASON"})
	for _, object := range answer.Refusals {
		var r view.Refusal
		if err := json.Unmarshal(object, &r); err != nil {
			return s.strange(fmt.Errorf("refusal: %w", err))
		}
		err := table.Row(term.Cell{Text: s.age(r.Last)}, term.Cell{Text: grouped(r.Count)}, term.Cell{Text: r.Node},
			term.Cell{Text: r.Host}, term.Cell{Text: r.Credential}, term.Cell{Text: r.Cause, Style: term.Yellow}, term.Cell{Text: r.Reason})
		if err != nil {
			return err
		}
	}
	return table.Flush()
}
