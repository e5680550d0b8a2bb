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

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/collector/term"
	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/rules/profile"
)

const profileHelp = `Show and change the profiles of workloads: the programs that they run, the files that they change, whom they contact.

A profile has layers. Each node observes what its containers do; merged, that is what was learned. The overlay is what people
write over it. The effective profile is both together, and what the nodes keep to. What was learned under circumstances that
an attacker could have made (in an exec session, from a file that is not the image's, during an incident) is a candidate: it
is not allowed until a person approves it.

A workload is named by namespace/workload/container, where the parts at the end may be left out if only one profile matches,
or by all parts of its key, namespace/kind/name/container, where the namespace is empty outside Kubernetes.`

const profileExamples = `  holdfast profile list                                   # how far learning is, what waits for approval
  holdfast profile show shop/web                          # as a tree by process
  holdfast profile show shop/web -o yaml > web.yaml
  holdfast profile candidates shop/web                    # and then: holdfast profile approve shop/web ID --reason ...
  holdfast profile edit shop/web --reason "backups go to the archive"
  holdfast profile diff shop/web --from merged --to effective
  holdfast profile export --dir profiles/                 # a file each, for Git; 'import' takes them back
  holdfast profile test web.yaml --events events.ndjson   # what would be blocked? asks nobody`

func newProfile(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "profile",
		Aliases: []string{"profiles"},
		Short:   "Show and change what workloads may do",
		Long:    profileHelp,
		Example: profileExamples,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usageError(cmd, errors.New("say list, show, candidates, approve, reject, edit, diff, history, export, import, remove, check or test"))
		},
	}
	cmd.AddCommand(
		newProfileList(a), newProfileShow(a), newProfileHistory(a), newProfileDiff(a), newProfileCandidates(a),
		newProfileJudge(a, "approve"), newProfileJudge(a, "reject"), newProfileEdit(a), newProfileRemove(a),
		newProfileExport(a), newProfileImport(a), newProfileCheck(a), newProfileTest(a),
	)
	return cmd
}

func newProfileList(a *app) *cobra.Command {
	var workload string
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "Show all profiles: how far learning is, entries, candidates, versions",
		Long: "Show all profiles. PROCESS, FILE and EGRESS say how far the learning of each signal is: learning, stabilising, stable,\n" +
			"or partial where events were lost meanwhile; of all nodes the one that is least far counts. -o wide adds who wrote the\n" +
			"overlay, when and why.",
		Example: "  holdfast profile list --workload 'shop/*'\n  holdfast profile list -o json | jq 'select(.candidates > 0).workload'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.open()
			if err != nil {
				return err
			}
			return s.listProfiles(cmd.Context(), workload)
		},
	}
	cmd.Flags().StringVarP(&workload, "workload", "w", "", "only of workloads that match this `PATTERN` over namespace/workload/container")
	return cmd
}

func (s *session) listProfiles(ctx context.Context, workload string) error {
	list, err := s.profiles(ctx, workload)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return s.nothing("there is no profile yet; agents send what they learn about workloads that have a mode: see 'holdfast mode --help'")
	}
	columns := []term.Column{
		{Title: "WORKLOAD", Max: 60}, {Title: "KIND"}, {Title: "PROCESS"}, {Title: "FILE"}, {Title: "EGRESS"},
		{Title: "ENTRIES", Right: true}, {Title: "CANDIDATES", Right: true}, {Title: "NODES", Right: true},
		{Title: "VERSION", Right: true}, {Title: "OVERLAY", Right: true}, {Title: "UPDATED"},
	}
	if s.format == formatWide {
		columns = append(columns, term.Column{Title: "AUTHOR"}, term.Column{Title: "REASON"}, term.Column{Title: "TROUBLE"})
	}
	return objects(s, list, "profile", columns, s.profileRow)
}

func (s *session) profileRow(p view.Profile) []term.Cell {
	candidates := term.Cell{Text: fmt.Sprint(p.Candidates)}
	if p.Candidates > 0 {
		candidates.Style = term.Yellow
	}
	overlay := p.Overlay
	version := "-"
	if overlay != nil {
		version = fmt.Sprint(overlay.Version)
	} else {
		overlay = &view.Overlay{}
	}
	row := []term.Cell{
		{Text: p.Workload.String()}, {Text: p.Workload.Kind}, stateCell(p.States[string(profile.SignalProcess)]),
		stateCell(p.States[string(profile.SignalFile)]), stateCell(p.States[string(profile.SignalEgress)]),
		{Text: grouped(uint64(p.Entries))}, candidates, {Text: fmt.Sprint(len(p.Nodes))}, {Text: fmt.Sprint(p.Version)},
		{Text: version}, {Text: s.age(p.Updated)},
	}
	if s.format == formatWide {
		row = append(row, term.Cell{Text: overlay.Author}, term.Cell{Text: overlay.Reason}, term.Cell{Text: p.Trouble, Style: term.Red})
	}
	return row
}

// layerFlags say which layer of a profile is meant.
type layerFlags struct {
	layer, node string
	version     uint64
}

func (f *layerFlags) query() url.Values {
	query := url.Values{}
	if f.layer != "" {
		query.Set("layer", f.layer)
	}
	if f.node != "" {
		query.Set("node", f.node)
	}
	if f.version != 0 {
		query.Set("version", fmt.Sprint(f.version))
	}
	return query
}

// The layers of a profile.
const (
	layerEffective = "effective"
	layerMerged    = "merged"
	layerObserved  = "observed"
	layerOverlay   = "overlay"
)

func newProfileShow(a *app) *cobra.Command {
	var f layerFlags
	var file string
	cmd := &cobra.Command{
		Use:   "show WORKLOAD | show --file FILE",
		Short: "Show one profile as a tree by process",
		Long: "Show one profile: each executable, who may start it and how, what it may do, and where each entry comes from.\n" +
			"-o yaml is the file, -o json what the API says of it, with the file as its text; -o wide cuts nothing.",
		Example: "  holdfast profile show shop/web\n  holdfast profile show shop/web --layer overlay -o yaml\n" +
			"  holdfast profile show shop/web --node worker-1          # what one node has observed\n" +
			"  holdfast profile show shop/web --layer overlay --version 3\n" +
			"  holdfast profile show --file web.yaml                   # of a file; asks nobody",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeWorkload,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (file != "") == (len(args) == 1) {
				return usageError(cmd, errors.New("say either WORKLOAD or --file FILE"))
			}
			if file != "" {
				return a.showFile(cmd, file)
			}
			if f.node != "" && f.layer == "" {
				f.layer = layerObserved
			}
			if f.version != 0 && f.layer != layerOverlay {
				return usageError(cmd, errors.New("--version is of the overlay: say --layer overlay"))
			}
			if (f.node != "") != (f.layer == layerObserved) {
				return usageError(cmd, errors.New("--layer observed is of one node: say which with --node"))
			}
			c, err := a.about(cmd.Context(), args[0], formatYAML)
			if err != nil {
				return err
			}
			return c.show(cmd.Context(), f)
		},
	}
	cmd.Flags().StringVar(&f.layer, "layer", "", "show this `LAYER`: effective, merged, observed or overlay (default effective)")
	cmd.Flags().StringVarP(&f.node, "node", "n", "", "show what this `NODE` has observed")
	cmd.Flags().StringVar(&file, "file", "", "show the profiles of this `FILE`, - for stdin, without asking a collector")
	cmd.Flags().Uint64Var(&f.version, "version", 0, "show this `VERSION` of the overlay; 'profile history' lists them")
	// The only error of these two is a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc("layer", completeWords([]string{layerEffective, layerMerged, layerObserved, layerOverlay}))
	_ = cmd.RegisterFlagCompletionFunc("node", a.completeNode)
	return cmd
}

// showFile shows the profiles of a file, without asking a collector.
func (a *app) showFile(cmd *cobra.Command, file string) error {
	for _, name := range []string{"layer", "node", "version"} {
		if cmd.Flags().Changed(name) {
			return usageError(cmd, fmt.Errorf("--%s is of the collector's profiles, --file of none of them", name))
		}
	}
	s, err := a.local(formatYAML)
	if err != nil {
		return err
	}
	documents, err := readProfiles(a.env.Stdin, []string{file})
	if err != nil {
		return err
	}
	var all []profile.Document
	for _, d := range documents {
		all = append(all, d.Document)
	}
	if s.format == formatYAML {
		return s.writeText(string(profile.EncodeDocuments(all)))
	}
	for _, d := range all {
		if err := s.showDocument(d); err != nil {
			return err
		}
	}
	return nil
}

// showDocument shows a profile of a file.
func (s *session) showDocument(d profile.Document) error {
	shown := view.ProfileText{
		Profile: view.Profile{
			Workload: workloadOf(d.Profile.Key), Entries: d.Profile.Len(), States: map[string]string{}, Nodes: []view.ProfileNode{},
		},
		Text: string(profile.EncodeDocuments([]profile.Document{d})),
	}
	p := s.paper()
	if s.format != formatJSON {
		p.line(term.Bold, "%s", d.Profile.Key)
	}
	for _, e := range d.Profile.Entries() {
		if e.Seen.Origin == profile.Candidate {
			shown.Candidates++
			shown.Entries--
		}
	}
	for _, signal := range profile.Signals() {
		state := string(d.Profile.Signals[signal].State)
		if state == "" {
			continue
		}
		shown.States[string(signal)] = state
		if s.format != formatJSON {
			p.field(string(signal), "%s", s.learning(state, d.Profile.Signals[signal]))
		}
	}
	switch {
	case s.format == formatJSON:
		return s.writeValue(shown)
	case p.err != nil:
		return p.err
	default:
		return s.writeTree(d.Profile)
	}
}

// text asks for a layer of the profile, and returns it as the API sent it, too.
func (c *profileCall) text(ctx context.Context, f layerFlags) (view.ProfileText, json.RawMessage, error) {
	var object json.RawMessage
	if err := c.get(ctx, c.path, f.query(), &object); err != nil {
		return view.ProfileText{}, nil, err
	}
	var text view.ProfileText
	if err := json.Unmarshal(object, &text); err != nil {
		return view.ProfileText{}, nil, c.strange(fmt.Errorf("profile: %w", err))
	}
	return text, object, nil
}

func (c *profileCall) show(ctx context.Context, f layerFlags) error {
	text, object, err := c.text(ctx, f)
	switch {
	case err != nil:
		return err
	case c.format == formatJSON:
		return c.writeJSON(object)
	case text.Text == "":
		return c.nothing(fmt.Sprintf("the %s of this profile is empty", text.Layer))
	case c.format == formatYAML:
		return c.writeText(text.Text)
	}
	decoded, err := profile.DecodeOne("answer", []byte(text.Text))
	if err != nil {
		return c.strange(fmt.Errorf("profile: %w", err))
	}
	p := c.paper()
	p.line(term.Bold, "%s", c.key)
	if text.LayerVersion > 0 {
		p.field("shown", "%s, version %d, changed %s", text.Layer, text.LayerVersion, c.age(text.Updated))
	} else {
		p.field("shown", "%s", text.Layer)
	}
	p.field("trouble", "%s", text.Trouble)
	for _, conflict := range text.Conflicts {
		p.field("conflict", "%s: %s", conflict.Object, conflict.Message)
	}
	for _, signal := range profile.Signals() {
		p.field(string(signal), "%s", c.learning(text.States[string(signal)], decoded.Signals[signal]))
	}
	if o := text.Overlay; o != nil {
		p.field("overlay", "version %d by %s, %s: %s", o.Version, o.Author, c.age(o.Time), o.Reason)
	}
	for _, node := range text.Nodes {
		p.field("node", "%s", c.nodeLine(node))
	}
	if p.err != nil {
		return p.err
	}
	return c.writeTree(decoded)
}

// learning says how far the learning of a signal is, and on what that rests.
func (s *session) learning(state string, l profile.Learning) string {
	var parts []string
	if l.Observed > 0 {
		parts = append(parts, grouped(l.Observed)+" observed", grouped(l.Once)+" seen only once")
	}
	if l.Replicas > 0 {
		parts = append(parts, fmt.Sprintf("%d %s", l.Replicas, plural(int(l.Replicas), "replica", "replicas")))
	}
	if !l.New.IsZero() {
		parts = append(parts, "last new "+s.age(l.New))
	}
	if !l.Lost.IsZero() {
		parts = append(parts, "events lost "+s.age(l.Lost))
	}
	if state == "" || len(parts) == 0 {
		return state
	}
	return state + ": " + strings.Join(parts, ", ")
}

// nodeLine says what a node contributed.
func (s *session) nodeLine(n view.ProfileNode) string {
	line := fmt.Sprintf("%s: %s entries, %s", n.Node, grouped(uint64(n.Entries)), s.age(n.Received))
	if !n.Announced {
		line += ", runs it no more"
	}
	if n.Refused != "" {
		line += "; its last one was refused: " + n.Refused
	}
	return line
}

func newProfileHistory(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "history WORKLOAD",
		Short: "Show the versions of a profile's overlay: who changed it, when and why",
		Example: "  holdfast profile history shop/web\n" +
			"  holdfast profile diff shop/web --from 3 --to 4       # what version 4 changed",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeWorkload,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.about(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			var answer struct {
				History []json.RawMessage `json:"history"`
			}
			if err := c.get(cmd.Context(), c.path+"/history", url.Values{}, &answer); err != nil {
				return err
			}
			if len(answer.History) == 0 {
				return c.nothing("nobody has changed this profile")
			}
			columns := []term.Column{
				{Title: "VERSION", Right: true}, {Title: "TIME"}, {Title: "ACTION"}, {Title: "ENTRIES", Right: true}, {Title: "AUTHOR"},
				{Title: "REASON"},
			}
			return objects(c.session, answer.History, "history", columns, func(o view.Overlay) []term.Cell {
				return []term.Cell{
					{Text: fmt.Sprint(o.Version)}, {Text: c.time(o.Time)}, {Text: o.Action}, {Text: fmt.Sprint(o.Entries)},
					{Text: o.Author}, {Text: o.Reason},
				}
			})
		},
	}
}

func newProfileDiff(a *app) *cobra.Command {
	var from, to string
	cmd := &cobra.Command{
		Use:   "diff WORKLOAD",
		Short: "Show what differs between two versions or layers of a profile",
		Long: "Show what differs between two versions of the overlay, or between layers: each is a version number, overlay, effective\n" +
			"or merged. Without flags: what the last change of the overlay did.",
		Example: "  holdfast profile diff shop/web\n  holdfast profile diff shop/web --from 3 --to 5\n" +
			"  holdfast profile diff shop/web --from merged --to effective   # what people have changed of what was learned",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeWorkload,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.about(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			query := url.Values{}
			for name, value := range map[string]string{"from": from, "to": to} {
				if value != "" {
					query.Set(name, value)
				}
			}
			var object json.RawMessage
			if err := c.get(cmd.Context(), c.path+"/diff", query, &object); err != nil {
				return err
			}
			if c.format == formatJSON {
				return c.writeJSON(object)
			}
			var diff view.ProfileDiff
			if err := json.Unmarshal(object, &diff); err != nil {
				return c.strange(fmt.Errorf("diff: %w", err))
			}
			p := c.paper()
			p.line(term.Bold, "%s: from %s to %s", c.key, diff.From, diff.To)
			p.changes(diff.Changes)
			return p.err
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "what it was: a `VERSION` of the overlay, overlay, effective or merged (default the version before the newest)")
	cmd.Flags().StringVar(&to, "to", "", "what it became: a `VERSION` of the overlay, overlay, effective or merged (default overlay)")
	for _, name := range []string{"from", "to"} {
		// The only error is a flag that does not exist.
		_ = cmd.RegisterFlagCompletionFunc(name, completeWords([]string{layerOverlay, layerEffective, layerMerged}))
	}
	return cmd
}

// changes writes the differences between two profiles, by process.
func (p *paper) changes(changes []view.Change) {
	if len(changes) == 0 {
		p.line(term.Plain, "  nothing differs")
		return
	}
	changes = slices.Clone(changes)
	slices.SortStableFunc(changes, func(a, b view.Change) int { return compareProcess(a.Process, b.Process) })
	process := ""
	for i, c := range changes {
		if i == 0 || c.Process != process {
			process = c.Process
			p.line(term.Plain, "%s", processTitle(process))
		}
		switch c.Change {
		case view.ChangeAdded:
			p.line(term.Green, "  + %-10s  %s", c.Kind, c.Entry)
		case view.ChangeRemoved:
			p.line(term.Red, "  - %-10s  %s", c.Kind, c.Entry)
		default:
			p.line(term.Yellow, "  ~ %-10s  %s: %s, was %s", c.Kind, c.Entry, dash(c.After), dash(c.Before))
		}
	}
}
