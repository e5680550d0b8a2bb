// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/collector/term"
	"github.com/holdfast-project/holdfast/collector/view"
)

func newProfileCandidates(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "candidates WORKLOAD",
		Short: "Show what a person has to approve or reject",
		Long: "Show what was seen but is not allowed until a person approves it, since an attacker could have made it: what was done in\n" +
			"an exec session, by a file that is not the image's, or during an incident.",
		Example: "  holdfast profile candidates shop/web\n" +
			"  holdfast profile approve shop/web 00c0ffee00c0ffee --reason \"the nightly backup\"",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeWorkload,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.about(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			list, err := c.candidates(cmd.Context())
			if err != nil {
				return err
			}
			if len(list) == 0 {
				return c.nothing("no candidates: nothing waits for approval")
			}
			columns := []term.Column{
				{Title: "ID"}, {Title: "PROCESS", Max: 48}, {Title: "KIND"}, {Title: "SUSPECT"}, {Title: "COUNT", Right: true},
				{Title: "REPLICAS", Right: true}, {Title: "LAST SEEN"}, {Title: "ENTRY"},
			}
			return objects(c.session, list, "candidate", columns, func(e view.ProfileEntry) []term.Cell {
				return []term.Cell{
					{Text: e.ID}, {Text: e.Process}, {Text: e.Kind}, {Text: e.Suspect, Style: term.Yellow}, {Text: grouped(e.Count)},
					{Text: grouped(e.Replicas)}, {Text: c.age(e.Last)}, {Text: e.Entry},
				}
			})
		},
	}
}

func (c *profileCall) candidates(ctx context.Context) ([]json.RawMessage, error) {
	var answer struct {
		Candidates []json.RawMessage `json:"candidates"`
	}
	err := c.get(ctx, c.path+"/candidates", url.Values{}, &answer)
	return answer.Candidates, err
}

// judgement is the body of an approve or reject.
type judgement struct {
	Entries []string `json:"entries,omitempty"`
	All     bool     `json:"all,omitempty"`
	Reason  string   `json:"reason"`
}

// newProfileJudge makes approve or reject.
func newProfileJudge(a *app, verdict string) *cobra.Command {
	var j judgement
	what := map[string]string{
		"approve": "Allow candidates: they become entries of the overlay, with your name and reason",
		"reject":  "Refuse candidates: they are no longer proposed, and the reason is kept",
	}
	cmd := &cobra.Command{
		Use:   verdict + " WORKLOAD ID... | WORKLOAD --all",
		Short: what[verdict],
		Example: fmt.Sprintf("  holdfast profile candidates shop/web\n"+
			"  holdfast profile %[1]s shop/web 00c0ffee00c0ffee --reason \"the nightly backup\"\n"+
			"  holdfast profile %[1]s shop/web --all --reason \"all from the release test\"", verdict),
		Args: cobra.MinimumNArgs(1),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return a.completeWorkload(cmd, args, word)
			}
			return a.completeCandidate(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if j.Entries = args[1:]; j.All == (len(j.Entries) > 0) {
				return usageError(cmd, errors.New("say either the IDs that 'holdfast profile candidates' shows, or --all"))
			}
			c, err := a.about(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.change(cmd.Context(), http.MethodPost, c.path+"/"+verdict, url.Values{}, nil, j)
		},
	}
	cmd.Flags().BoolVar(&j.All, "all", false, "every candidate there is")
	reasonFlag(cmd, &j.Reason)
	requireFlags(cmd, "reason")
	return cmd
}

// completeCandidate completes the ids of the candidates of the profile that the first argument names.
func (a *app) completeCandidate(cmd *cobra.Command, args []string) ([]string, cobra.ShellCompDirective) {
	c, err := a.about(cmd.Context(), args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, err := c.candidates(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ids []string
	for _, object := range list {
		var entry view.ProfileEntry
		if json.Unmarshal(object, &entry) == nil {
			ids = append(ids, entry.ID+"\t"+term.Escape(entry.Entry))
		}
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

func newProfileRemove(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "remove WORKLOAD",
		Short: "Forget what was learned of a workload that is gone, and its overlay",
		Long: "Forget what every node has observed of a workload, and its overlay; the history of the overlay stays. Nodes drop what they\n" +
			"learned, those that are away when they come back, and learn anew when the workload runs again. A profile that a connected\n" +
			"node runs is not removed.",
		Example:           "  holdfast profile remove shop/Deployment/old-web/app --reason \"replaced by web\"",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeWorkload,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.about(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.change(cmd.Context(), http.MethodDelete, c.path, url.Values{"reason": {reason}}, nil, nil)
		},
	}
	reasonFlag(cmd, &reason)
	requireFlags(cmd, "reason")
	return cmd
}

// change changes a profile and says what that did.
func (s *session) change(ctx context.Context, method, path string, query url.Values, header http.Header, body any) error {
	var object json.RawMessage
	if err := s.callWith(ctx, method, path, query, header, body, &object); err != nil {
		return err
	}
	return s.writeChanged(object)
}

// writeChanged shows what a change of a profile did, as the API said it.
func (s *session) writeChanged(object json.RawMessage) error {
	if s.format == formatJSON {
		return s.writeJSON(object)
	}
	var change view.ProfileChange
	if err := json.Unmarshal(object, &change); err != nil {
		return s.strange(fmt.Errorf("profile: %w", err))
	}
	p := s.paper()
	p.line(term.Bold, "%s: overlay version %d, profile version %d", keyOf(change.Workload), change.OverlayVersion, change.Version)
	p.changes(change.Changes)
	if change.Object != "" {
		s.note("this overlay is what the HoldfastProfile %s says: the change holds, and the object is in conflict until it says the same; "+
			"'holdfast profile export --as crd --layer overlay --workload %s' writes it for Git", change.Object, shellWord(change.Workload.String()))
	}
	return p.err
}

// ask asks the person at the terminal whether to do something. A line that does not begin with y is a no, and so is
// the end of the input.
func (s *session) ask(question string) (bool, error) {
	fmt.Fprintf(s.env.Stderr, "%s [y/N] ", term.Escape(question))
	answer, err := readLine(s.env.Stdin)
	if err != nil {
		return false, fmt.Errorf("read the answer: %w", err)
	}
	return strings.HasPrefix(strings.ToLower(strings.TrimSpace(answer)), "y"), nil
}

// readLine reads no further than the end of a line: what comes after it may be for an editor.
func readLine(r io.Reader) (string, error) {
	var line []byte
	for one := make([]byte, 1); r != nil && len(line) < maxAnswer; {
		n, err := r.Read(one)
		switch {
		case n == 1 && one[0] == '\n', errors.Is(err, io.EOF):
			return string(line), nil
		case err != nil:
			return "", err
		case n == 1:
			line = append(line, one[0])
		}
	}
	return string(line), nil
}

// maxAnswer is the longest answer that is read, in bytes.
const maxAnswer = 1000
