// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/collector/term"
	"github.com/holdfast-project/holdfast/collector/view"
)

const eventsPath = "/api/v1/events"

const eventsHelp = `Show events: what a node sees right now, or what was recorded.

Without --since and --until, events come live from the agent of one node, which filters them itself; nothing is stored.
More of them than can be sent are shed, and said so on stderr.

With --since or --until, events are read from the collector's store: those classes of those workloads that 'holdfast
record' or the agent's --record asks for. --follow goes on with what is stored from now on.`

const eventsExamples = `  holdfast events --node worker-1                            # live: everything that worker-1 reports
  holdfast events --node worker-1 -t exec,connect -w 'shop/*'
  holdfast events --node worker-1 --pid 4242 -o json
  holdfast events --since 10m                                # recorded, on all nodes
  holdfast events --since 1d -t exec --text curl -o wide
  holdfast events --since 1h -o json > events.ndjson`

type eventsFlags struct {
	since, until, workload, text, node string
	types                              []string
	pids                               []uint
	limit                              int
	follow                             bool
}

func newEvents(a *app) *cobra.Command {
	var f eventsFlags
	cmd := &cobra.Command{
		Use:     "events",
		Aliases: []string{"event"},
		Short:   "Show events, live from a node or recorded",
		Long:    eventsHelp,
		Example: eventsExamples,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runEvents(cmd, a, f)
		},
	}
	set := cmd.Flags()
	set.StringVarP(&f.node, "node", "n", "", "only of this `NODE`; for live events it may be left out where one node is connected")
	set.StringSliceVarP(&f.types, "type", "t", nil, "only of these `TYPES`: exec, open, connect, …")
	set.StringVarP(&f.workload, "workload", "w", "", "only of workloads that match this `PATTERN` over namespace/workload/container")
	set.UintSliceVar(&f.pids, "pid", nil, "live: only of these process `IDS`, as the node sees them")
	set.StringVar(&f.since, "since", "", "recorded: from this `TIME` on: an age such as 90s, 15m, 1h, 7d, or RFC 3339")
	set.StringVar(&f.until, "until", "", "recorded: before this `TIME`")
	set.StringVar(&f.text, "text", "", "recorded: only with this `TEXT` in process, arguments, paths, addresses or names")
	set.BoolVarP(&f.follow, "follow", "f", false, "recorded: go on with each event as it is stored, until Ctrl-C")
	set.IntVar(&f.limit, "limit", 0, "live: end after `N` events; recorded: at most the newest N; 0 means no limit")
	// The only error is a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc("node", a.completeNode)
	return cmd
}

func runEvents(cmd *cobra.Command, a *app, f eventsFlags) error {
	recorded := f.since != "" || f.until != ""
	switch {
	case f.limit < 0:
		return usageError(cmd, fmt.Errorf("--limit %d is negative", f.limit))
	case recorded && len(f.pids) > 0:
		return usageError(cmd, errors.New("--pid is for live events; for recorded ones filter with -o json | jq 'select(.process.pid == N)'"))
	case !recorded && (f.text != "" || f.follow):
		return usageError(cmd, errors.New("--text and --follow are for recorded events: say since when, with --since"))
	case f.follow && f.until != "":
		return usageError(cmd, errors.New("--follow and --until exclude each other: a stream has no end"))
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	if recorded {
		return s.recordedEvents(cmd.Context(), f)
	}
	return s.liveEvents(cmd.Context(), f)
}

func (s *session) recordedEvents(ctx context.Context, f eventsFlags) error {
	query := url.Values{}
	for name, value := range map[string]string{
		"since": f.since, "until": f.until, "workload": f.workload, "text": f.text, "node": f.node,
		"type": strings.Join(f.types, ","),
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	out := s.eventWriter()
	if f.follow {
		query.Set("follow", "true")
		if f.limit > 0 {
			query.Set("last", fmt.Sprint(f.limit))
		}
		return s.follow(ctx, eventsPath, query, out)
	}
	shown := 0
	err := s.listed(ctx, eventsPath, query, f.limit, func(object json.RawMessage) error {
		shown++
		return out.write(object)
	})
	if err != nil {
		return err
	}
	if shown == 0 {
		return s.nothing("no recorded events match; 'holdfast record list' shows what is recorded")
	}
	return out.flush()
}

// errEnough ends a stream from which enough was read.
var errEnough = errors.New("enough")

func (s *session) liveEvents(ctx context.Context, f eventsFlags) error {
	node, err := s.onlyNode(ctx, f.node)
	if err != nil {
		return err
	}
	path, err := below(nodesPath, node)
	if err != nil {
		return err
	}
	query := url.Values{}
	if len(f.types) > 0 {
		query.Set("type", strings.Join(f.types, ","))
	}
	if f.workload != "" {
		query.Set("workload", f.workload)
	}
	for _, pid := range f.pids {
		query.Add("pid", fmt.Sprint(pid))
	}
	out := s.eventWriter()
	shown, shed := 0, uint64(0)
	counted := writer{flush: out.flush, write: func(object json.RawMessage) error {
		if err := out.write(object); err != nil {
			return err
		}
		if shown++; f.limit == 0 || shown < f.limit {
			return nil
		}
		if err := out.flush(); err != nil {
			return err
		}
		return errEnough
	}, shed: func(n uint64) { shed += n }}
	err = s.follow(ctx, path+"/events", query, counted)
	if shed > 0 {
		s.note("%s events shown, %s shed in all", grouped(uint64(shown)), grouped(shed))
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// onlyNode returns the node that is named, or the one that is connected where there is just one.
func (s *session) onlyNode(ctx context.Context, named string) (string, error) {
	if named != "" {
		return named, nil
	}
	objects, _, err := s.nodes(ctx)
	if err != nil {
		return "", err
	}
	var connected []string
	for _, object := range objects {
		var node view.Node
		if err := json.Unmarshal(object, &node); err != nil {
			return "", s.strange(fmt.Errorf("node: %w", err))
		}
		if node.Connected {
			connected = append(connected, node.Node)
		}
	}
	switch len(connected) {
	case 0:
		return "", advise(ExitNotFound, errors.New("no node is connected"), "%s",
			"'holdfast nodes' says when each was last seen. What was recorded can be read with --since.")
	case 1:
		return connected[0], nil
	default:
		return "", advise(ExitUsage, fmt.Errorf("%d nodes are connected: say which with --node", len(connected)), "%s",
			"Live events come from one node. Connected are "+quote(strings.Join(connected, ", "))+".\n"+
				"What was recorded on all of them can be read with --since.")
	}
}

func (s *session) eventWriter() writer {
	if s.format == formatJSON {
		return s.jsonWriter()
	}
	columns := []term.Column{
		{Title: "TIME"}, {Title: "TYPE"}, {Title: "WORKLOAD", Max: 40}, {Title: "PID", Right: true},
		{Title: "PROCESS", Max: 16}, {Title: "WHAT"},
	}
	if s.format == formatWide {
		columns = []term.Column{
			{Title: "TIME"}, {Title: "NODE"}, {Title: "TYPE"}, {Title: "WORKLOAD"}, {Title: "POD"}, {Title: "IMAGE"},
			{Title: "UID", Right: true}, {Title: "PID", Right: true}, {Title: "EXE"}, {Title: "WHAT"},
		}
	}
	table := s.table(columns...)
	return writer{
		write: func(object json.RawMessage) error {
			var event view.Event
			if err := json.Unmarshal(object, &event); err != nil {
				return s.strange(fmt.Errorf("event: %w", err))
			}
			return table.Row(s.eventRow(event)...)
		},
		flush: table.Flush,
	}
}

func (s *session) eventRow(e view.Event) []term.Cell {
	var process view.Process
	if e.Process != nil {
		process = *e.Process
	}
	var container view.Container
	if e.Container != nil {
		container = *e.Container
	}
	what := term.Cell{Text: e.Summary()}
	if e.Error != "" {
		what.Style = term.Yellow
	}
	if s.format == formatWide {
		return []term.Cell{
			{Text: s.time(e.Time)}, {Text: e.Node}, {Text: e.Type, Style: term.Cyan}, {Text: e.Workload.String()},
			{Text: container.Pod}, {Text: container.Image}, {Text: fmt.Sprint(process.UID)}, {Text: fmt.Sprint(process.PID)},
			{Text: process.Exe}, what,
		}
	}
	return []term.Cell{
		{Text: s.time(e.Time)}, {Text: e.Type, Style: term.Cyan}, {Text: e.Workload.String()}, {Text: fmt.Sprint(process.PID)},
		{Text: process.Name}, what,
	}
}
