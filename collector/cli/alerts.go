// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/collector/term"
	"github.com/holdfast-project/holdfast/collector/view"
)

const (
	alertsPath = "/api/v1/alerts"
	// lastAlerts is how many alerts are shown where nothing says how many, and lastFollowed how many before a stream.
	lastAlerts   = 100
	lastFollowed = 10
	// reconnectMin and reconnectMax bound the pause before a broken stream is asked for again.
	reconnectMin = time.Second
	reconnectMax = 15 * time.Second
)

const alertsHelp = `Show alerts, the newest last: the last 100, or all in the time that --since and --until name.

Patterns are those of a shell: * matches any text but /, ? one character, [ab] one of these. A workload pattern matches
namespace/workload/container, and the parts that it leaves out at the end match everything: 'shop' is all of shop. What
runs on a node itself, and not in a container, is '/NODE'.

-o wide adds node, pod, rule and the ID that 'alerts show' takes. JSON has Falco's keys (time rule priority
source tags hostname output output_fields) and Holdfast's own beside them.`

const alertsExamples = `  holdfast alerts --since 1h --priority warning    # warnings and worse of the last hour
  holdfast alerts --follow                         # the last 10, then each as it is stored; Ctrl-C ends it
  holdfast alerts --workload 'shop/web'            # every container of one workload
  holdfast alerts --rule '*shell*' -o wide         # more columns, lines of any length
  holdfast alerts --since 2026-11-20T08:00:00Z --until 2026-11-20T09:00:00Z -o json > hour.ndjson
  holdfast alerts show ID                          # process tree, container, what was done`

// alertsFlags are the flags of holdfast alerts.
type alertsFlags struct {
	since, until, workload, rule, priority, text, node string
	limit                                              int
	follow                                             bool
}

func newAlerts(a *app) *cobra.Command {
	var f alertsFlags
	cmd := &cobra.Command{
		Use:     "alerts",
		Aliases: []string{"alert"},
		Short:   "Show what was detected, and what was done about it",
		Long:    alertsHelp,
		Example: alertsExamples,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runAlerts(cmd, a, f)
		},
	}
	set := cmd.Flags()
	set.BoolVarP(&f.follow, "follow", "f", false, "go on with each alert as it is stored, until Ctrl-C")
	set.StringVar(&f.since, "since", "", "only from this `TIME` on: an age such as 90s, 15m, 1h, 7d, or RFC 3339")
	set.StringVar(&f.until, "until", "", "only before this `TIME`")
	set.StringVarP(&f.workload, "workload", "w", "", "only of workloads that match this `PATTERN` over namespace/workload/container")
	set.StringVarP(&f.rule, "rule", "r", "", "only of rules whose name matches this `PATTERN`; * matches any text")
	set.StringVarP(&f.priority, "priority", "p", "", "only of this `PRIORITY` and above: "+strings.ToLower(strings.Join(view.PriorityNames(), ", ")))
	set.StringVar(&f.text, "text", "", "only with this `TEXT` in output, process, arguments, paths, addresses or names, in any case")
	set.StringVarP(&f.node, "node", "n", "", "only of this `NODE`")
	set.IntVar(&f.limit, "limit", 0, "at most the newest `N`; 0 means no limit (default 100 without --since, 10 with --follow)")
	// The only error of these two is a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc("priority", completePriority)
	_ = cmd.RegisterFlagCompletionFunc("node", a.completeNode)
	cmd.AddCommand(newAlertShow(a))
	return cmd
}

func completePriority(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, name := range view.PriorityNames() {
		names = append(names, strings.ToLower(name))
	}
	return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// query returns the parameters that the flags ask for; the collector checks them.
func (f alertsFlags) query() url.Values {
	query := url.Values{}
	for name, value := range map[string]string{
		"since": f.since, "until": f.until, "workload": f.workload, "rule": f.rule, "priority": f.priority, "text": f.text, "node": f.node,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query
}

func runAlerts(cmd *cobra.Command, a *app, f alertsFlags) error {
	if f.limit < 0 {
		return usageError(cmd, fmt.Errorf("--limit %d is negative", f.limit))
	}
	if f.follow && f.until != "" {
		return usageError(cmd, errors.New("--follow and --until exclude each other: a stream has no end"))
	}
	if !cmd.Flags().Changed("limit") && f.since == "" {
		f.limit = lastAlerts
		if f.follow {
			f.limit = lastFollowed
		}
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	out := s.alertWriter()
	if f.follow {
		query := f.query()
		query.Set("follow", "true")
		if f.limit > 0 {
			query.Set("last", fmt.Sprint(f.limit))
		}
		return s.follow(cmd.Context(), alertsPath, query, out)
	}
	shown := 0
	err = s.listed(cmd.Context(), alertsPath, f.query(), f.limit, func(object json.RawMessage) error {
		shown++
		return out.write(object)
	})
	if err != nil {
		return err
	}
	if shown == 0 {
		return s.nothing("no alerts match")
	}
	return out.flush()
}

// listed calls each for the records of a list, the newest last: all of them, or the newest limit.
func (s *session) listed(ctx context.Context, path string, query url.Values, limit int, each func(json.RawMessage) error) error {
	if limit == 0 {
		query.Set("order", "oldest")
		return s.list(ctx, path, query, 0, each)
	}
	query.Set("order", "newest")
	var newest []json.RawMessage
	err := s.list(ctx, path, query, limit, func(object json.RawMessage) error {
		newest = append(newest, object)
		return nil
	})
	if err != nil {
		return err
	}
	for _, object := range slices.Backward(newest) {
		if err := each(object); err != nil {
			return err
		}
	}
	return nil
}

// writer writes records, as a table or as JSON. flush writes what it has held back to align it. shed, where it is set,
// is told how many records a stream left out.
type writer struct {
	write func(json.RawMessage) error
	flush func() error
	shed  func(uint64)
}

func (s *session) jsonWriter() writer {
	return writer{write: s.writeJSON, flush: func() error { return nil }}
}

func (s *session) alertWriter() writer {
	if s.format == formatJSON {
		return s.jsonWriter()
	}
	columns := []term.Column{
		{Title: "TIME"}, {Title: "PRIORITY"}, {Title: "WORKLOAD", Max: 40}, {Title: "ACTION"}, {Title: "OUTPUT"},
	}
	if s.format == formatWide {
		columns = []term.Column{
			{Title: "TIME"}, {Title: "PRIORITY"}, {Title: "ID"}, {Title: "NODE"}, {Title: "WORKLOAD"}, {Title: "POD"},
			{Title: "RULE"}, {Title: "ACTION"}, {Title: "COUNT", Right: true}, {Title: "OUTPUT"},
		}
	}
	table := s.table(columns...)
	return writer{
		write: func(object json.RawMessage) error {
			var alert view.Alert
			if err := json.Unmarshal(object, &alert); err != nil {
				return s.strange(fmt.Errorf("alert: %w", err))
			}
			return table.Row(s.alertRow(alert)...)
		},
		flush: table.Flush,
	}
}

func (s *session) alertRow(a view.Alert) []term.Cell {
	priority := term.Cell{Text: a.Priority, Style: priorityStyle(a.Priority)}
	action := term.Cell{Text: strings.ReplaceAll(a.Action, "_", " ")}
	if a.Action == "blocked" || a.Action == "killed" {
		action.Style = term.Green
	}
	id := term.Cell{Text: a.ID, Style: term.Dim}
	output := a.Output
	if output == "" {
		output = a.Rule
	}
	if s.format == formatWide {
		var pod string
		if a.Container != nil {
			pod = a.Container.Pod
		}
		return []term.Cell{
			{Text: s.time(a.Time)}, priority, id, {Text: a.Node}, {Text: a.Workload.String()}, {Text: pod}, {Text: a.Rule},
			action, {Text: fmt.Sprint(a.Count)}, {Text: output},
		}
	}
	if a.Count > 1 {
		output = fmt.Sprintf("%s (%d times)", output, a.Count)
	}
	return []term.Cell{{Text: s.time(a.Time)}, priority, {Text: a.Workload.String()}, action, {Text: output}}
}

// follow streams records and asks again, from where it stood, when the stream breaks off; it ends with ctx, and with
// errors that asking again cannot heal.
func (s *session) follow(ctx context.Context, path string, query url.Values, out writer) error {
	pause := reconnectMin
	started := false
	for {
		err := s.stream(ctx, path, query, func(l line) error {
			if !started {
				started = true
				if err := out.flush(); err != nil { // The titles, though nothing may come for long.
					return err
				}
			}
			pause = reconnectMin
			if l.Cursor != "" {
				query.Set("cursor", l.Cursor)
				query.Del("last")
			}
			return s.take(l, out)
		})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			err = fmt.Errorf("%w: %s ended it", errStream, s.address)
		case !started || !passing(err):
			return err
		}
		s.note("%v; trying again in %s", err, pause)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, reconnectMax)
	}
}

// passing says whether asking again may help.
func passing(err error) bool {
	return errors.Is(err, errStream) || errors.Is(err, errLater) || exitCode(err) == ExitUnreachable
}

// take shows one line of a stream.
func (s *session) take(l line, out writer) error {
	if l.Shed > 0 && out.shed != nil {
		out.shed(l.Shed)
		s.note("%s events were shed: more matched than could be sent", grouped(l.Shed))
	}
	object := l.Alert
	if object == nil {
		object = l.Event
	}
	if object == nil {
		return nil
	}
	if err := out.write(object); err != nil {
		return err
	}
	return out.flush()
}
