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
	"github.com/holdfast-project/holdfast/rules/profile"
)

const (
	modesPath     = "/api/v1/modes"
	workloadsPath = "/api/v1/workloads"
)

const modeHelp = `Show and change what is done about deeds that a workload's profile does not list:

  learn     they are added to the profile
  monitor   they are reported, with the words "would block"
  enforce   they are stopped, and reported
  off       nobody looks

A mode is set for the workloads that match a pattern over namespace/workload/container, and for signals: process, file,
egress, and protect, the rules that need no learning; and, where they are named, dlp and waf, which read what is sent and
received. Of the settings that match the most specific counts: one that names the container before one that names the
workload, and that before a pattern; and of those that are alike the newest. A setting with an end lies over all others, the
newest first, and gives way when its time has come. The annotation holdfast.dev/mode goes before patterns. Where nothing is
set, the agent's own configuration and its default decide; 'mode show' says which did, and 'mode list --workload' what there
is to decide. Every change is kept with who made it, why and when. Changing modes needs a token of the role admin.`

const modeExamples = `  holdfast mode                                                  # the settings that hold
  holdfast mode show shop/web                                    # what holds on each node, and what decided it
  holdfast mode set shop/web enforce --reason "stable since May"
  holdfast mode set 'shop/*' enforce --signal process,egress --reason "egress first"
  holdfast mode set shop/web learn --for 2h --reason "release 2.4 goes out"
  holdfast mode clear shop/web --reason "back to the default"
  holdfast mode break-glass --for 30m --reason "INC-17: payments are down"
  holdfast mode switches --workload shop/web                     # brakes and promotions too`

func newMode(a *app) *cobra.Command {
	var workload string
	list := func(cmd *cobra.Command, _ []string) error { return a.listModes(cmd.Context(), workload, false) }
	listed := &cobra.Command{
		Use:   "list",
		Short: "Show the settings that hold, the newest first",
		Long: "Show the settings that hold, the newest first, or those about one workload's container, the one that counts first. Where\n" +
			"they say nothing of a signal, or the first of them is a pattern, see 'mode show'.",
		Example: "  holdfast mode list\n  holdfast mode list --workload shop/web/nginx\n  holdfast mode list -o json | jq 'select(.until)'",
		Args:    cobra.NoArgs,
		RunE:    list,
	}
	listed.Flags().StringVarP(&workload, "workload", "w", "", "only those about this `NAMESPACE/WORKLOAD/CONTAINER`")
	cmd := &cobra.Command{
		Use:     "mode",
		Aliases: []string{"modes"},
		Short:   "Show and change what is done about what a profile does not list",
		Long:    modeHelp,
		Example: modeExamples,
		Args:    cobra.NoArgs,
		RunE:    list,
	}
	cmd.AddCommand(
		listed,
		&cobra.Command{
			Use:     "history",
			Short:   "Show every setting that ever was, and how it ended",
			Example: "  holdfast mode history\n  holdfast mode history -o json | jq 'select(.author == \"ann\")'",
			Args:    cobra.NoArgs,
			RunE:    func(cmd *cobra.Command, _ []string) error { return a.listModes(cmd.Context(), "", true) },
		},
		newModeSet(a), newModeClear(a), newModeBreakGlass(a), newModeShow(a), newModeSwitches(a),
	)
	return cmd
}

// modeNames are the modes, and signalNames the signals, as people write them.
func modeNames() []string {
	return []string{string(profile.ModeLearn), string(profile.ModeMonitor), string(profile.ModeEnforce), string(profile.ModeOff)}
}

func signalNames() []string {
	var names []string
	for _, signal := range profile.Signals() {
		names = append(names, string(signal))
	}
	return names
}

// completeWords completes the words of a flag or argument.
func completeWords(words []string) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

// reasonFlag is what every change wants to know.
func reasonFlag(cmd *cobra.Command, reason *string) {
	cmd.Flags().StringVar(reason, "reason", "", "`WHY`, for those who ask later (required)")
}

func newModeSet(a *app) *cobra.Command {
	var request view.ModeRequest
	cmd := &cobra.Command{
		Use:   "set WORKLOAD learn|monitor|enforce|off",
		Short: "Set the mode of the workloads that match a pattern",
		Long: "Set the mode of the workloads that match a pattern over namespace/workload/container; '' stands for every one.\n" +
			"Agents that are connected switch at once, others when they are again.",
		Example: "  holdfast mode set shop/web enforce --reason \"stable since May\"\n" +
			"  holdfast mode set shop/web monitor --signal file --reason \"logs moved\"\n" +
			"  holdfast mode set shop/web learn --for 2h --reason \"release 2.4 goes out\"",
		Args: cobra.ExactArgs(2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return completeWords(modeNames())(cmd, args, word)
			}
			return a.completeWorkload(cmd, args, word)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			request.Workload, request.Mode = args[0], args[1]
			if err := knownWords(cmd, "mode", []string{request.Mode}, modeNames()); err != nil {
				return err
			}
			if err := knownWords(cmd, "signal", request.Signals, signalNames()); err != nil {
				return err
			}
			return a.setMode(cmd.Context(), request)
		},
	}
	set := cmd.Flags()
	set.StringSliceVarP(&request.Signals, "signal", "s", nil, "only these `SIGNALS`: process, file, egress, protect, dlp, waf; without it all but dlp and waf")
	set.StringVar(&request.For, "for", "", "end it by itself after this `TIME`, such as 30m, 2h, 7d; what held before holds again")
	reasonFlag(cmd, &request.Reason)
	// The only error is a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc("signal", completeWords(signalNames()))
	requireFlags(cmd, "reason")
	return cmd
}

// knownWords returns a usage error for a word that is none of the known ones.
func knownWords(cmd *cobra.Command, what string, words, known []string) error {
	for _, word := range words {
		if err := oneOf(what, word, known...); err != nil {
			return usageError(cmd, err)
		}
	}
	return nil
}

func newModeBreakGlass(a *app) *cobra.Command {
	request := view.ModeRequest{Mode: string(profile.ModeMonitor)}
	cmd := &cobra.Command{
		Use:   "break-glass [WORKLOAD]",
		Short: "Stop blocking anything, for a time",
		Long: "Set everything, or the workloads that match a pattern, to monitor for a time: nothing is blocked, everything is still\n" +
			"reported. When the time has come, what held before holds again by itself.",
		Example: "  holdfast mode break-glass --for 30m --reason \"INC-17: payments are down\"\n" +
			"  holdfast mode break-glass shop/web --for 30m --reason \"INC-17: payments are down\"",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeWorkload,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				request.Workload = args[0]
			}
			return a.setMode(cmd.Context(), request)
		},
	}
	cmd.Flags().StringVar(&request.For, "for", "", "for this `TIME`, such as 30m or 2h (required)")
	reasonFlag(cmd, &request.Reason)
	requireFlags(cmd, "for", "reason")
	return cmd
}

// setMode sets a mode and says what holds then.
func (a *app) setMode(ctx context.Context, request view.ModeRequest) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	var object json.RawMessage
	if err := s.call(ctx, "POST", modesPath, url.Values{}, request, &object); err != nil {
		return err
	}
	if s.format == formatJSON {
		return s.writeJSON(object)
	}
	var change view.ModeChange
	if err := json.Unmarshal(object, &change); err != nil {
		return s.strange(fmt.Errorf("mode: %w", err))
	}
	p := s.paper()
	p.line(term.Plain, "%s of %s: %s", signals(change.Setting), pattern(change.Setting.Workload), change.Setting.Mode)
	if !change.Setting.Until.IsZero() {
		p.line(term.Plain, "until %s; then what held before holds again", change.Setting.Until.In(s.env.Location).Format(timeLayoutWide))
	}
	for _, old := range change.Replaced {
		p.line(term.Plain, "in place of %s of %s: %s, set by %s", signals(old), pattern(old.Workload), old.Mode, old.Author)
	}
	show := "holdfast mode show"
	if change.Setting.Workload != "" {
		show += " " + shellWord(change.Setting.Workload)
	}
	p.line(term.Dim, "")
	p.line(term.Dim, "%s    # where it holds by now", show)
	return p.err
}

// signals says of which signals a setting is, pattern of which workloads.
func signals(setting view.ModeSetting) string {
	if len(setting.Signals) == 0 {
		return "all deeds"
	}
	return strings.Join(setting.Signals, ", ")
}

func pattern(workload string) string {
	if workload == "" {
		return "(everything)"
	}
	return workload
}

// shellWord quotes a text so that a shell takes it as one word and as it is.
func shellWord(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-:@=+,", r)
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

func newModeClear(a *app) *cobra.Command {
	var reason string
	var id uint64
	cmd := &cobra.Command{
		Use:   "clear [WORKLOAD]",
		Short: "Take settings away: those of one pattern, or one by its number",
		Long: "Take every setting away that 'mode list' shows for exactly this pattern, or the one with a number. What the rest of the\n" +
			"settings, annotations and the agents' own configuration say then holds.",
		Example: "  holdfast mode clear shop/web --reason \"back to the default\"\n" +
			"  holdfast mode clear --id 12 --reason \"the incident is over\"",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeWorkload,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == cmd.Flags().Changed("id") {
				return usageError(cmd, errors.New("say either WORKLOAD or --id N"))
			}
			s, err := a.open()
			if err != nil {
				return err
			}
			ids := []uint64{id}
			if len(args) == 1 {
				if ids, err = s.settingsOf(cmd.Context(), args[0]); err != nil {
					return err
				}
			}
			return s.clearModes(cmd.Context(), ids, reason)
		},
	}
	cmd.Flags().Uint64Var(&id, "id", 0, "only the setting with this number, the ID of 'mode list'")
	reasonFlag(cmd, &reason)
	requireFlags(cmd, "reason")
	return cmd
}

// settingsOf returns the ids of the settings for exactly a pattern.
func (s *session) settingsOf(ctx context.Context, workload string) ([]uint64, error) {
	objects, err := s.modeSettings(ctx, "", false)
	if err != nil {
		return nil, err
	}
	var ids []uint64
	for _, object := range objects {
		var setting view.ModeSetting
		if err := json.Unmarshal(object, &setting); err != nil {
			return nil, s.strange(fmt.Errorf("mode: %w", err))
		}
		if setting.Workload == workload {
			ids = append(ids, setting.ID)
		}
	}
	if len(ids) == 0 {
		return nil, advise(ExitNotFound, fmt.Errorf("no mode is set for %q", workload), "%s",
			"'holdfast mode list' shows the settings with their patterns, and 'holdfast mode show' what decides where nothing is set.")
	}
	return ids, nil
}

func (s *session) clearModes(ctx context.Context, ids []uint64, reason string) error {
	p := s.paper()
	for _, id := range ids {
		var object json.RawMessage
		query := url.Values{"reason": {reason}}
		if err := s.call(ctx, "DELETE", fmt.Sprintf("%s/%d", modesPath, id), query, nil, &object); err != nil {
			return err
		}
		if s.format == formatJSON {
			if err := s.writeJSON(object); err != nil {
				return err
			}
			continue
		}
		var change view.ModeChange
		if err := json.Unmarshal(object, &change); err != nil {
			return s.strange(fmt.Errorf("mode: %w", err))
		}
		old := change.Setting
		p.line(term.Plain, "taken away: %s of %s: %s, set by %s", signals(old), pattern(old.Workload), old.Mode, old.Author)
	}
	return p.err
}
