// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/collector/term"
	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/rules/profile"
)

const workloadsHelp = `Show the workloads that run: a line for each container of each, over all nodes that run it.

  PROCESS, FILE, EGRESS, PROTECT   what is done about deeds that the profile does not list: off, learn, monitor, enforce. A
                                   plus says that some node is stricter: a canary, a brake, or a node that is away
  LEARNING                         how far learning is, of the signal and the node that are least far
  COVERAGE                         the part of all deeds, since the agents started, that the profile listed already. When it
                                   stays at 100% and LEARNING is stable, monitor and then enforce will be quiet
  WOULD BLOCK, BLOCKED             deeds that enforce would have stopped, and that were stopped, since the agents started
  LAST BLOCK                       how long ago something was stopped; 'holdfast alerts -w WORKLOAD' says what

'holdfast mode show WORKLOAD' has the same node by node, with what decided each mode. 'holdfast profile show WORKLOAD' has what
is allowed.`

const workloadsExamples = `  holdfast workloads
  holdfast workloads 'shop/*' --node worker-1
  holdfast workloads -o wide                              # with nodes and all counts
  holdfast workloads -o json | jq -r 'select(.blocked > 0) | .workload.name'`

func newWorkloads(a *app) *cobra.Command {
	var filter workloadFilter
	cmd := &cobra.Command{
		Use:               "workloads [WORKLOAD]",
		Aliases:           []string{"workload"},
		Short:             "Show the workloads: modes, learning, coverage, what was blocked",
		Long:              workloadsHelp,
		Example:           workloadsExamples,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeWorkload,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				filter.workload = args[0]
			}
			return a.listWorkloads(cmd.Context(), filter)
		},
	}
	filter.registerNode(a, cmd)
	return cmd
}

func (a *app) listWorkloads(ctx context.Context, filter workloadFilter) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	var answer struct {
		Workloads []view.WorkloadState `json:"workloads"`
	}
	if err := s.get(ctx, workloadsPath, filter.query(), &answer); err != nil {
		return err
	}
	list := view.Summarise(answer.Workloads)
	if s.format == formatJSON {
		for _, w := range list {
			text, err := json.Marshal(w)
			if err != nil {
				return err
			}
			if err := s.writeJSON(text); err != nil {
				return err
			}
		}
		return nil
	}
	if len(list) == 0 {
		return s.nothing("no node runs a workload that matches; 'holdfast nodes' shows which nodes are connected")
	}
	columns := []term.Column{{Title: "WORKLOAD", Max: 60}, {Title: "KIND"}, {Title: "CONTAINERS", Right: true}, {Title: "NODES", Right: true}}
	for _, signal := range signalNames() {
		columns = append(columns, term.Column{Title: strings.ToUpper(signal)})
	}
	columns = append(columns, term.Column{Title: "LEARNING"}, term.Column{Title: "COVERAGE", Right: true},
		term.Column{Title: "WOULD BLOCK", Right: true}, term.Column{Title: "BLOCKED", Right: true}, term.Column{Title: "LAST BLOCK"})
	if s.format == formatWide {
		columns = append(columns, term.Column{Title: "KNOWN", Right: true}, term.Column{Title: "LEARNED", Right: true},
			term.Column{Title: "ON", Max: 60})
	}
	table := s.table(columns...)
	for _, w := range list {
		if err := table.Row(s.workloadRow(w)...); err != nil {
			return err
		}
	}
	return table.Flush()
}

func (s *session) workloadRow(w view.WorkloadSummary) []term.Cell {
	nodes := term.Cell{Text: fmt.Sprint(len(w.Nodes))}
	if len(w.Away) > 0 {
		nodes = term.Cell{Text: fmt.Sprintf("%d (%d away)", len(w.Nodes), len(w.Away)), Style: term.Red}
	}
	row := []term.Cell{{Text: w.Workload.String()}, {Text: w.Workload.Kind}, {Text: grouped(w.Containers)}, nodes}
	for _, name := range signalNames() {
		row = append(row, summaryCell(w.Signals, name))
	}
	blocked := term.Cell{Text: grouped(w.Blocked)}
	if w.Blocked > 0 {
		blocked.Style = term.BoldRed
	}
	would := term.Cell{Text: grouped(w.WouldBlock)}
	if w.WouldBlock > 0 {
		would.Style = term.Yellow
	}
	row = append(row, leastLearned(w.Signals), term.Cell{Text: share100(w.Coverage)}, would, blocked, term.Cell{Text: s.age(w.LastBlock)})
	if s.format == formatWide {
		row = append(row, term.Cell{Text: grouped(w.Known)}, term.Cell{Text: grouped(w.Learned)}, term.Cell{Text: strings.Join(w.Nodes, ", ")})
	}
	return row
}

// summaryCell is the mode of one signal.
func summaryCell(signals []view.SignalSummary, name string) term.Cell {
	i := slices.IndexFunc(signals, func(s view.SignalSummary) bool { return s.Signal == name })
	if i < 0 {
		return term.Cell{Text: "-"}
	}
	cell := modeCell(signals[i].Mode)
	if signals[i].Mixed {
		cell.Text += "+"
	}
	return cell
}

// leastLearned is the state of the signal that is least far. To protect needs no learning.
func leastLearned(signals []view.SignalSummary) term.Cell {
	least := ""
	order := []string{string(profile.StatePartial), string(profile.StateLearning), string(profile.StateStabilising), string(profile.StateStable)}
	for _, s := range signals {
		at, known := slices.Index(order, s.State), slices.Index(order, least)
		if at >= 0 && (known < 0 || at < known) {
			least = s.State
		}
	}
	return stateCell(least)
}

// share100 is a part of one as percent. Less than all is never 100%.
func share100(part *float64) string {
	switch {
	case part == nil:
		return "-"
	case *part < 1 && *part >= 0.9995:
		return ">99.9%"
	default:
		return fmt.Sprintf("%.1f%%", *part*100)
	}
}
