// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/collector/term"
	"github.com/holdfast-project/holdfast/collector/view"
)

const nodesPath = "/api/v1/nodes"

func newNodes(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "nodes",
		Aliases: []string{"node"},
		Short:   "Show the nodes: what they see, block and have lost",
		Long: "Show the nodes: whether their agents are connected, how many signals they see and can block, how many events\n" +
			"they took from the kernel, and how many they lost. 'nodes show' says which, by what means, and why not.",
		Example: "  holdfast nodes\n  holdfast nodes -o wide\n  holdfast nodes show worker-1\n" +
			"  holdfast nodes -o json | jq 'select(.connected | not) | .node'",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.open()
			if err != nil {
				return err
			}
			return s.listNodes(cmd.Context())
		},
	}
	cmd.AddCommand(newRefusals(a), &cobra.Command{
		Use:   "show NODE",
		Short: "Show one node: each signal, its events, its losses by cause, its spools",
		Long: "Show one node. Each signal says whether the agent sees it and could block it, by what mechanism, and why not;\n" +
			"losses are listed by cause, so that a silent node can be told from one that is blind.",
		Example:           "  holdfast nodes show worker-1",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeNode,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.open()
			if err != nil {
				return err
			}
			return s.showNode(cmd.Context(), args[0])
		},
	})
	return cmd
}

// nodes asks for all nodes, and how often others were refused in the last day.
func (s *session) nodes(ctx context.Context) (nodes []json.RawMessage, refused uint64, err error) {
	var answer struct {
		Nodes   []json.RawMessage `json:"nodes"`
		Refused uint64            `json:"refused_last_day"`
	}
	err = s.get(ctx, nodesPath, url.Values{}, &answer)
	return answer.Nodes, answer.Refused, err
}

// completeNode completes the name of a node by asking the collector; it stays silent where that fails.
func (a *app) completeNode(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	s, err := a.open()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	objects, _, err := s.nodes(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, object := range objects {
		var node view.Node
		if json.Unmarshal(object, &node) == nil {
			names = append(names, node.Node)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (s *session) listNodes(ctx context.Context) error {
	objects, refused, err := s.nodes(ctx)
	if err != nil {
		return err
	}
	if s.format == formatJSON {
		for _, object := range objects {
			if err := s.writeJSON(object); err != nil {
				return err
			}
		}
		return nil
	}
	if refused > 0 {
		s.note("nodes were refused %s times in the last day; 'holdfast nodes refused' says which and why", grouped(refused))
	}
	if len(objects) == 0 {
		return s.nothing("no node has enrolled yet; start an agent with a token of 'holdfast-collector token create --data-dir DIR'")
	}
	columns := []term.Column{
		{Title: "NODE"}, {Title: "STATUS"}, {Title: "LAST SEEN"}, {Title: "KERNEL"}, {Title: "SEES"}, {Title: "BLOCKS"},
		{Title: "CONTAINERS", Right: true}, {Title: "EVENTS", Right: true}, {Title: "LOST", Right: true},
		{Title: "LAG P99", Right: true},
	}
	if s.format == formatWide {
		columns = append(columns, term.Column{Title: "PENDING", Right: true}, term.Column{Title: "RSS", Right: true},
			term.Column{Title: "PROCESSES", Right: true}, term.Column{Title: "UP", Right: true},
			term.Column{Title: "MACHINE"}, term.Column{Title: "AGENT"})
	}
	table := s.table(columns...)
	for _, object := range objects {
		var node view.Node
		if err := json.Unmarshal(object, &node); err != nil {
			return s.strange(fmt.Errorf("node: %w", err))
		}
		if err := table.Row(s.nodeRow(node)...); err != nil {
			return err
		}
	}
	return table.Flush()
}

func (s *session) nodeRow(n view.Node) []term.Cell {
	status := term.Cell{Text: "connected", Style: term.Green}
	if !n.Connected {
		status = term.Cell{Text: "away", Style: term.Red}
	}
	row := []term.Cell{{Text: n.Node}, status, {Text: s.age(n.LastSeen)}, {Text: n.Kernel}}
	row = append(row, share(n.Capabilities, func(c view.Capability) string { return c.See }),
		share(n.Capabilities, func(c view.Capability) string { return c.Block }))
	h := n.Health
	if h == nil {
		return row
	}
	row = append(row, term.Cell{Text: grouped(uint64(h.Containers))}, term.Cell{Text: grouped(h.Seen())}, lossCell(n.Lost),
		term.Cell{Text: lag(h.Lag.P99Nanoseconds)})
	if s.format == formatWide {
		var pending uint64
		for _, spool := range h.Spools {
			pending += spool.Pending()
		}
		row = append(row, term.Cell{Text: grouped(pending)}, term.Cell{Text: byteSize(h.RSSBytes)},
			term.Cell{Text: grouped(uint64(h.Processes))}, term.Cell{Text: shortDuration(max(h.Time.Sub(h.Started), 0))},
			term.Cell{Text: n.Machine}, term.Cell{Text: n.AgentVersion})
	}
	return row
}

// share says for how many of the signals the answer is yes.
func share(capabilities []view.Capability, answer func(view.Capability) string) term.Cell {
	if len(capabilities) == 0 {
		return term.Cell{Text: "-"}
	}
	yes := 0
	for _, c := range capabilities {
		if answer(c) == view.SupportYes {
			yes++
		}
	}
	cell := term.Cell{Text: fmt.Sprintf("%d/%d", yes, len(capabilities))}
	if yes < len(capabilities) {
		cell.Style = term.Yellow
	}
	return cell
}

func lossCell(lost uint64) term.Cell {
	cell := term.Cell{Text: grouped(lost)}
	if lost > 0 {
		cell.Style = term.BoldRed
	}
	return cell
}

func lag(nanoseconds uint64) string {
	return time.Duration(min(nanoseconds, 1<<62)).Round(10 * time.Microsecond).String()
}

func (s *session) showNode(ctx context.Context, name string) error {
	path, err := below(nodesPath, name)
	if err != nil {
		return err
	}
	var object json.RawMessage
	if err := s.get(ctx, path, url.Values{}, &object); err != nil {
		return err
	}
	if s.format == formatJSON {
		return s.writeJSON(object)
	}
	var n view.Node
	if err := json.Unmarshal(object, &n); err != nil {
		return s.strange(fmt.Errorf("node: %w", err))
	}
	p := s.paper()
	if n.Connected {
		p.line(term.Bold, "%s: connected", n.Node)
	} else {
		p.line(term.BoldRed, "%s: away since %s; what it sees now is kept in its spool", n.Node, s.time(n.LastSeen))
	}
	p.section("Node")
	p.field("last seen", "%s", s.age(n.LastSeen))
	p.field("address", "%s", n.Address)
	if !n.Revoked.IsZero() {
		p.field("revoked", "certificates up to %s are void", s.time(n.Revoked))
	}
	if !n.Allowed.IsZero() {
		p.field("allowed", "since %s it may enrol again with a ServiceAccount token", s.time(n.Allowed))
	}
	p.field("agent", "%s", n.AgentVersion)
	p.field("kernel", "%s", strings.TrimSpace(n.Kernel+" "+n.Machine))
	p.field("boot", "%s", n.BootID)
	if n.Health == nil {
		p.section("Health")
		p.line(term.Plain, "  The agent has not reported its health yet.")
	} else {
		s.writeHealth(p, n.Health)
	}
	if undelivered := nonZero(n.Undelivered); len(undelivered) > 0 {
		p.counts("Never arrived at the collector, by lane and cause", "", undelivered, term.BoldRed)
	}
	p.section("Signals")
	if p.err != nil {
		return p.err
	}
	return s.writeCapabilities(n.Capabilities)
}

func (s *session) writeHealth(p *paper, h *view.Health) {
	p.field("reported", "%s, up %s", s.age(h.Time), shortDuration(max(h.Time.Sub(h.Started), 0)))
	p.field("knows", "%s containers, %s processes", grouped(uint64(h.Containers)), grouped(uint64(h.Processes)))
	p.field("memory", "%s", byteSize(h.RSSBytes))
	p.field("lag", "%s median, %s p99", lag(h.Lag.P50Nanoseconds), lag(h.Lag.P99Nanoseconds))
	for _, spool := range h.Spools {
		p.field("spool", "%s: %s records in %s, %s not yet acknowledged", spool.Lane, grouped(spool.Records),
			byteSize(spool.Bytes), grouped(spool.Pending()))
	}
	p.counts("Events since the agent started, by class", "none", h.Events, term.Plain)
	if len(h.Counted) > 0 {
		p.counts("Counted in the kernel only, by class", "none", h.Counted, term.Plain)
	}
	if len(h.Opaque) > 0 {
		p.section("TLS that is not seen, by process")
		for _, o := range h.Opaque {
			p.line(term.Plain, "  %-10d %s in %s: %s", o.PID, o.Executable, o.Container, o.Reason)
		}
	}
	if missed := nonZero(h.Uninspected); len(missed) > 0 {
		p.counts("Not looked through of what containers send and get, by cause", "", missed, term.Yellow)
	}
	p.counts("Lost, or not found out, since the agent started, by cause", "nothing", nonZero(h.Losses), term.BoldRed)
}

func nonZero(counts map[string]uint64) map[string]uint64 {
	counts = maps.Clone(counts)
	maps.DeleteFunc(counts, func(_ string, n uint64) bool { return n == 0 })
	return counts
}

func (p *paper) counts(title, none string, counts map[string]uint64, style term.Style) {
	p.section(title)
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		p.line(style, "  %-26s %15s", name, grouped(counts[name]))
	}
	if len(counts) == 0 {
		p.line(term.Plain, "  %s", none)
	}
}

func (s *session) writeCapabilities(capabilities []view.Capability) error {
	table := s.table(term.Column{Title: "  SIGNAL"}, term.Column{Title: "SEE"}, term.Column{Title: "BLOCK"},
		term.Column{Title: "MECHANISM"}, term.Column{Title: "WHY NOT"})
	for _, c := range capabilities {
		err := table.Row(term.Cell{Text: "  " + c.Signal}, supportCell(c.See), supportCell(c.Block), term.Cell{Text: c.Mechanism},
			term.Cell{Text: c.Reason})
		if err != nil {
			return err
		}
	}
	return table.Flush()
}

func supportCell(support string) term.Cell {
	switch support {
	case view.SupportYes:
		return term.Cell{Text: support, Style: term.Green}
	case view.SupportNo:
		return term.Cell{Text: support, Style: term.Red}
	default:
		return term.Cell{Text: support, Style: term.Yellow}
	}
}
