// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
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

func newExplain(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "explain ALERT",
		Short: "Say why a deed was not allowed, and what would allow it",
		Long: "Say of an alert who did what, why the workload's profile does not allow it, which entry comes nearest, what was done\n" +
			"about it, and exactly what would have to stand in the profile. 'holdfast allow ALERT' writes just that.",
		Example: "  holdfast alerts --since 1h -o wide          # the ids\n  holdfast explain node-1:e90c:7\n" +
			"  holdfast explain node-1:e90c:7 -o json | jq -r .missing",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.open()
			if err != nil {
				return err
			}
			why, object, err := s.explanation(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if s.format == formatJSON {
				return s.writeJSON(object)
			}
			return s.writeExplanation(cmd.Context(), args[0], why)
		},
	}
}

// explanation asks why the deed of an alert was not allowed, and returns the answer as the API sent it, too.
func (s *session) explanation(ctx context.Context, id string) (view.Explanation, json.RawMessage, error) {
	path, err := below(alertsPath, id)
	if err != nil {
		return view.Explanation{}, nil, err
	}
	var object json.RawMessage
	if err := s.get(ctx, path+"/explain", url.Values{}, &object); err != nil {
		return view.Explanation{}, nil, err
	}
	var why view.Explanation
	if err := json.Unmarshal(object, &why); err != nil {
		return view.Explanation{}, nil, s.strange(fmt.Errorf("explanation: %w", err))
	}
	return why, object, nil
}

func (s *session) writeExplanation(ctx context.Context, id string, why view.Explanation) error {
	path, err := below(alertsPath, id)
	if err != nil {
		return err
	}
	var alert view.Alert
	if err := s.get(ctx, path, url.Values{}, &alert); err != nil {
		return err
	}
	p := s.paper()
	p.line(priorityStyle(alert.Priority), "%s: %s", alert.Priority, cmp.Or(alert.Output, alert.Rule))
	p.section("Who")
	p.workload(alert.Workload)
	p.field("node", "%s", alert.Node)
	p.field("time", "%s (%s)", s.time(alert.Time), s.age(alert.Time))
	if alert.Process != nil {
		p.ancestry(alert.Process)
	}
	p.section("What")
	p.occurrence(view.Event{Occurrence: alert.Event, Process: alert.Process})
	p.field("done", "%s", deed(alert.Action))
	if why.Signal != "" { // Else a rule raised the alert.
		p.why(why)
	}
	p.remedy(why)
	return p.err
}

// why says what a deed goes against.
func (p *paper) why(why view.Explanation) {
	p.section("Why")
	p.field("why", "%s", why.Why)
	p.field("signal", "%s", strings.Trim(why.Signal+", "+why.Reason, ", "))
	p.field("mode", "%s", strings.TrimSpace(why.Mode+bracketed(why.ModeSource)))
	switch {
	case why.ProfileVersion != why.Version && why.Version > 0:
		p.field("profile", "version %d then, version %d now", why.ProfileVersion, why.Version)
	case why.ProfileVersion > 0:
		p.field("profile", "version %d", why.ProfileVersion)
	}
	if near := why.Nearest; near != nil {
		p.field("nearest", "%s: %s %s (%s)", processTitle(near.Process), near.Kind, near.Entry, near.Origin)
	}
}

func bracketed(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

// remedy says what would allow a deed, and how to do it.
func (p *paper) remedy(why view.Explanation) {
	p.section("What would allow it")
	switch {
	case why.Allowed:
		p.line(term.Plain, "  The profile as it is now allows it.")
	case !why.CanAllow:
		p.line(term.Plain, "  Nothing that 'holdfast allow' could write: %s.", strings.TrimSuffix(cmp.Or(why.Cannot, "it is in no profile"), "."))
	default:
		p.indented(why.Missing)
		p.line(term.Plain, "")
		p.line(term.Plain, "  holdfast allow %s --reason ...", shellWord(why.Alert))
	}
}

// indented writes a text of several lines.
func (p *paper) indented(text string) {
	for line := range strings.Lines(text) {
		p.line(term.Plain, "  %s", strings.TrimSuffix(line, "\n"))
	}
}

func newAllow(a *app) *cobra.Command {
	var reason string
	var yes bool
	cmd := &cobra.Command{
		Use:   "allow ALERT",
		Short: "Write into the profile exactly what would have allowed a deed",
		Long: "Write into the overlay of the workload's profile the one entry that would have allowed the deed of an alert. It is shown\n" +
			"first, and at a terminal you are asked; elsewhere --yes says that you have looked. Agents get it within seconds.\n" +
			"'holdfast profile edit' takes it back.",
		Example: "  holdfast explain node-1:e90c:7\n" +
			"  holdfast allow node-1:e90c:7 --reason \"the nightly backup\"\n" +
			"  holdfast allow node-1:e90c:7 --reason \"the nightly backup\" --yes",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes && !a.env.Interactive {
				return usageError(cmd, errors.New("nobody can be asked here: look at 'holdfast explain', then say --yes"))
			}
			s, err := a.open()
			if err != nil {
				return err
			}
			return s.allow(cmd.Context(), args[0], cmp.Or(reason, "allow alert "+args[0]), yes)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`WHY`, for those who ask later (default the alert)")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func (s *session) allow(ctx context.Context, id, reason string, yes bool) error {
	why, _, err := s.explanation(ctx, id)
	switch {
	case err != nil:
		return err
	case !why.Allowed && !why.CanAllow:
		return advise(ExitFailure, fmt.Errorf("alert %s: %s", id, cmp.Or(why.Cannot, "no profile entry would allow this")), "%s",
			"Nothing was changed. 'holdfast explain' tells the whole story.")
	}
	if !why.Allowed && s.format != formatJSON {
		p := s.paper()
		p.line(term.Bold, "%s", keyOf(why.Workload))
		p.indented(why.Missing)
		if p.err != nil {
			return p.err
		}
	}
	if !why.Allowed && !yes {
		if agreed, err := s.ask("Allow this from now on?"); err != nil || !agreed {
			s.note("nothing was changed")
			return err
		}
	}
	path, err := below(alertsPath, id)
	if err != nil {
		return err
	}
	var object json.RawMessage
	body := struct {
		Reason string `json:"reason"`
	}{reason}
	if err := s.call(ctx, http.MethodPost, path+"/allow", url.Values{}, body, &object); err != nil {
		return err
	}
	var change view.ProfileChange
	if err := json.Unmarshal(object, &change); err != nil {
		return s.strange(fmt.Errorf("allow: %w", err))
	}
	if change.Already {
		s.note("the profile allows this by now; nothing was changed")
		if s.format != formatJSON {
			return nil
		}
	}
	return s.writeChanged(object)
}
