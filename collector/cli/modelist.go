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
	"github.com/holdfast-project/holdfast/rules/profile"
)

// modeSettings asks for the settings that hold, or for those of them that are about one workload's container, or for all that
// ever were.
func (s *session) modeSettings(ctx context.Context, workload string, history bool) ([]json.RawMessage, error) {
	var answer struct {
		Settings []json.RawMessage `json:"settings"`
		History  []json.RawMessage `json:"history"`
	}
	path, query := modesPath, url.Values{}
	if history {
		path += "/history"
	}
	if workload != "" {
		query.Set("workload", workload)
	}
	err := s.get(ctx, path, query, &answer)
	return append(answer.Settings, answer.History...), err
}

// objects shows a list: each object on a line of its own as JSON, or what row makes of it in a table.
func objects[T any](s *session, list []json.RawMessage, what string, columns []term.Column, row func(T) []term.Cell) error {
	if s.format == formatJSON {
		for _, object := range list {
			if err := s.writeJSON(object); err != nil {
				return err
			}
		}
		return nil
	}
	table := s.table(columns...)
	for _, object := range list {
		var record T
		if err := json.Unmarshal(object, &record); err != nil {
			return s.strange(fmt.Errorf("%s: %w", what, err))
		}
		if err := table.Row(row(record)...); err != nil {
			return err
		}
	}
	return table.Flush()
}

func (a *app) listModes(ctx context.Context, workload string, history bool) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	list, err := s.modeSettings(ctx, workload, history)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return s.nothing("no mode is set; annotations and the agents' own configuration decide: 'holdfast mode show' says what holds where")
	}
	columns := []term.Column{
		{Title: "ID", Right: true}, {Title: "WORKLOAD"}, {Title: "SIGNALS"}, {Title: "MODE"}, {Title: "SET"}, {Title: "UNTIL"},
	}
	if history {
		columns = append(columns, term.Column{Title: "ENDED"})
	}
	columns = append(columns, term.Column{Title: "AUTHOR"}, term.Column{Title: "REASON"})
	return objects(s, list, "mode", columns, func(m view.ModeSetting) []term.Cell {
		row := []term.Cell{
			{Text: fmt.Sprint(m.ID)}, {Text: pattern(m.Workload)}, {Text: signals(m)}, modeCell(m.Mode), {Text: s.time(m.Set)},
			{Text: s.time(m.Until)},
		}
		if !history {
			return append(row, term.Cell{Text: m.Author}, term.Cell{Text: m.Reason})
		}
		reason := m.Reason
		if m.EndReason != "" || m.EndedBy != "" {
			reason = fmt.Sprintf("%s; ended by %s: %s", m.Reason, dash(m.EndedBy), dash(m.EndReason))
		}
		return append(row, term.Cell{Text: s.time(m.Ended)}, term.Cell{Text: m.Author}, term.Cell{Text: reason})
	})
}

func modeCell(mode string) term.Cell {
	cell := term.Cell{Text: mode}
	switch profile.Mode(mode) {
	case profile.ModeEnforce:
		cell.Style = term.Green
	case profile.ModeMonitor:
		cell.Style = term.Yellow
	case profile.ModeOff:
		cell.Style = term.Dim
	}
	return cell
}

// workloadFilter are the flags of what is shown by workload and node.
type workloadFilter struct {
	workload, node string
}

func (f *workloadFilter) register(a *app, cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.workload, "workload", "w", "", "only of workloads that match this `PATTERN` over namespace/workload/container")
	f.registerNode(a, cmd)
}

func (f *workloadFilter) registerNode(a *app, cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.node, "node", "n", "", "only of this `NODE`")
	// The only error is a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc("node", a.completeNode)
}

func (f *workloadFilter) query() url.Values {
	query := url.Values{}
	if f.workload != "" {
		query.Set("workload", f.workload)
	}
	if f.node != "" {
		query.Set("node", f.node)
	}
	return query
}

func newModeShow(a *app) *cobra.Command {
	var filter workloadFilter
	cmd := &cobra.Command{
		Use:   "show [WORKLOAD]",
		Short: "Show which mode holds on each node, and what decided it",
		Long: "Show for each node and workload which mode each signal has, and what decided it: a setting of the collector, an\n" +
			"annotation, the agent's configuration or default, a brake, or a promotion. -o wide adds what was done since the agent\n" +
			"started: deeds that the profile lists, that were learned, that would have been blocked, that were.",
		Example:           "  holdfast mode show shop/web\n  holdfast mode show 'shop/*' --node worker-1 -o wide",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeWorkload,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				filter.workload = args[0]
			}
			return a.showModes(cmd.Context(), filter)
		},
	}
	filter.registerNode(a, cmd)
	return cmd
}

func (a *app) showModes(ctx context.Context, filter workloadFilter) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	var answer struct {
		Workloads []json.RawMessage `json:"workloads"`
		Conflicts []view.Conflict   `json:"conflicts"`
	}
	if err := s.get(ctx, workloadsPath, filter.query(), &answer); err != nil {
		return err
	}
	if s.format == formatJSON {
		return objects(s, answer.Workloads, "workload", nil, func(json.RawMessage) []term.Cell { return nil })
	}
	if len(answer.Workloads) == 0 {
		return s.nothing("no node runs a workload that matches")
	}
	columns := []term.Column{
		{Title: "WORKLOAD", Max: 60}, {Title: "NODE"}, {Title: "SIGNAL"}, {Title: "MODE"}, {Title: "LEARNING"},
	}
	if s.format == formatWide {
		columns = append(columns, term.Column{Title: "PROFILE", Right: true}, term.Column{Title: "CONTAINERS", Right: true},
			term.Column{Title: "KNOWN", Right: true}, term.Column{Title: "LEARNED", Right: true},
			term.Column{Title: "WOULD BLOCK", Right: true}, term.Column{Title: "BLOCKED", Right: true})
	}
	table := s.table(append(columns, term.Column{Title: "DECIDED BY"})...)
	for _, object := range answer.Workloads {
		var w view.WorkloadState
		if err := json.Unmarshal(object, &w); err != nil {
			return s.strange(fmt.Errorf("workload: %w", err))
		}
		for i, signal := range w.Signals {
			if err := table.Row(s.modeRow(w, signal, i == 0)...); err != nil {
				return err
			}
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return s.writeConflicts(answer.Conflicts)
}

// writeConflicts says below a table what Kubernetes objects say and what is not in force.
func (s *session) writeConflicts(all []view.Conflict) error {
	if len(all) == 0 {
		return nil
	}
	p := s.paper()
	p.section("Not in force")
	for _, c := range all {
		p.field("conflict", "%s: %s", c.Object, c.Message)
	}
	return p.err
}

// modeRow is the row of one signal; only the first one of a workload says whose it is.
func (s *session) modeRow(w view.WorkloadState, signal view.SignalState, first bool) []term.Cell {
	var workload, node term.Cell
	if first {
		workload, node = term.Cell{Text: w.Workload.String()}, term.Cell{Text: w.Node}
		if !w.Connected {
			node = term.Cell{Text: w.Node + " (away)", Style: term.Red}
		}
	}
	row := []term.Cell{workload, node, {Text: signal.Signal}, modeCell(signal.Mode), stateCell(signal.State)}
	if s.format == formatWide {
		counts := make([]term.Cell, 6)
		if first {
			counts = []term.Cell{
				{Text: fmt.Sprint(w.ProfileVersion)}, {Text: grouped(uint64(w.Containers))}, {Text: grouped(w.Known)},
				{Text: grouped(w.Learned)}, {Text: grouped(w.WouldBlock)}, {Text: grouped(w.Blocked)},
			}
		}
		row = append(row, counts...)
	}
	return append(row, term.Cell{Text: signal.Source})
}

// stateCell shows how far learning is.
func stateCell(state string) term.Cell {
	cell := term.Cell{Text: dash(state)}
	switch profile.State(state) {
	case profile.StateStable:
		cell.Style = term.Green
	case profile.StatePartial:
		cell.Style = term.Red
	case profile.StateStabilising:
		cell.Style = term.Yellow
	}
	return cell
}

func newModeSwitches(a *app) *cobra.Command {
	var filter workloadFilter
	cmd := &cobra.Command{
		Use:   "switches",
		Short: "Show when modes really switched on nodes: by people, brakes and promotions",
		Long: "Show each change of a mode on a node, the newest first, whoever made it: a setting, an annotation, a brake that fell\n" +
			"back to monitor, a promotion to enforce.",
		Example: "  holdfast mode switches --workload shop/web\n  holdfast mode switches --node worker-1 -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.open()
			if err != nil {
				return err
			}
			var answer struct {
				Switches []json.RawMessage `json:"switches"`
			}
			if err := s.get(cmd.Context(), modesPath+"/switches", filter.query(), &answer); err != nil {
				return err
			}
			if len(answer.Switches) == 0 {
				return s.nothing("no switch of a mode is known")
			}
			columns := []term.Column{
				{Title: "TIME"}, {Title: "NODE"}, {Title: "WORKLOAD", Max: 60}, {Title: "SIGNAL"}, {Title: "FROM"}, {Title: "TO"},
				{Title: "AUTHOR"}, {Title: "REASON"},
			}
			return objects(s, answer.Switches, "switch", columns, func(w view.ModeSwitch) []term.Cell {
				return []term.Cell{
					{Text: s.time(w.Time)}, {Text: w.Node}, {Text: w.Workload.String()}, {Text: w.Signal}, modeCell(w.From),
					modeCell(w.To), {Text: w.Author}, {Text: w.Reason},
				}
			})
		},
	}
	filter.register(a, cmd)
	return cmd
}
