// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/collector/term"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// defaultEditor is what is started where neither VISUAL nor EDITOR says anything.
const defaultEditor = "vi"

// overlayEdit is the body of a change of an overlay.
type overlayEdit struct {
	Text   string `json:"text"`
	Reason string `json:"reason"`
}

func newProfileEdit(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "edit WORKLOAD",
		Short: "Edit the overlay of a profile in your editor",
		Long: "Open the overlay of a profile, what people have written over what was learned, in $VISUAL or $EDITOR. What you write is\n" +
			"checked here before it is sent; where it has errors you are told the lines, and the text is kept. If somebody else\n" +
			"changed the overlay meanwhile, nothing is overwritten. An emptied file takes the overlay away.",
		Example:           "  holdfast profile edit shop/web --reason \"backups go to the archive\"",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeWorkload,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.about(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.edit(cmd.Context(), reason)
		},
	}
	reasonFlag(cmd, &reason)
	requireFlags(cmd, "reason")
	return cmd
}

// edit lets a person edit the overlay, and sends it. The file stays where the text could not be taken.
func (c *profileCall) edit(ctx context.Context, reason string) error {
	overlay, _, err := c.text(ctx, layerFlags{layer: layerOverlay})
	var advised *advisedError
	if err != nil && !(errors.As(err, &advised) && advised.code == ExitNotFound) {
		return err
	}
	before := []byte(overlay.Text)
	if len(before) == 0 {
		before = profile.Encode(&profile.Profile{Key: c.key})
	}
	path, err := writeTemporary(append(c.editHelp(), before...))
	if err != nil {
		return err
	}
	after, err := c.edited(ctx, path)
	if err != nil {
		return err
	}
	if after == string(before) {
		c.note("nothing was changed")
		return os.Remove(path)
	}
	header := http.Header{"If-Match": {fmt.Sprintf("%q", fmt.Sprint(overlay.LayerVersion))}}
	body := overlayEdit{Text: after, Reason: reason}
	if err := c.change(ctx, http.MethodPut, c.path+"/overlay", url.Values{}, header, body); err != nil {
		return kept(err, path)
	}
	return os.Remove(path)
}

// kept says where the text of an edit is that came to nothing.
func kept(err error, path string) error {
	advice := fmt.Sprintf("Your text is kept in %s: correct it there, and then\n\n  holdfast profile import %s --reason ...",
		term.Escape(path), term.Escape(shellWord(path)))
	var advised *advisedError
	if errors.As(err, &advised) {
		return advise(advised.code, err, "%s\n%s", advised.advice, advice)
	}
	return advise(ExitFailure, err, "%s", advice)
}

// editHelp is what stands above the text in the editor. It is taken off again.
func (c *profileCall) editHelp() []byte {
	return fmt.Appendf(nil, "%s The overlay of %s. These lines are left out. An emptied file takes it away.\n"+
		"%s What was learned: holdfast profile show %s --layer merged -o yaml\n", helpMark, c.key, helpMark, shellWord(c.key.String()))
}

// helpMark begins the lines that are put above a text that is edited.
const helpMark = "#:"

// withoutHelp takes the lines of editHelp off. Lines elsewhere keep their numbers, for errors.
func withoutHelp(text []byte) []byte {
	var kept []byte
	for line := range bytes.Lines(text) {
		if !bytes.HasPrefix(line, []byte(helpMark)) {
			kept = append(kept, line...)
		}
	}
	return kept
}

func writeTemporary(text []byte) (path string, err error) {
	file, err := os.CreateTemp("", "holdfast-*.yaml")
	if err != nil {
		return "", fmt.Errorf("file for the editor: %w", err)
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("file for the editor: %w", err), os.Remove(file.Name()))
	}
	return file.Name(), nil
}

// edited runs the editor on a file until its text is a profile, or the person gives up.
func (c *profileCall) edited(ctx context.Context, path string) (string, error) {
	for {
		if err := c.runEditor(ctx, path); err != nil {
			return "", kept(err, path)
		}
		text, err := readFile(path, profile.MaxFile)
		if err != nil {
			return "", err
		}
		after, err := c.checkEdited(path, text)
		if err == nil {
			return after, nil
		}
		if !c.env.Interactive {
			return "", kept(invalidFile(err), path)
		}
		for line := range strings.Lines(err.Error()) {
			c.note("%s", strings.TrimSuffix(line, "\n"))
		}
		again, askErr := c.ask("Edit it again?")
		if askErr != nil || !again {
			return "", kept(invalidFile(err), path)
		}
	}
}

// checkEdited returns the overlay that a text stands for, empty for none, or what is wrong with it, by the lines of the
// file.
func (c *profileCall) checkEdited(path string, text []byte) (string, error) {
	after := withoutHelp(text)
	if len(bytes.TrimSpace(after)) == 0 {
		return "", nil
	}
	decoded, err := profile.DecodeOne(path, text)
	switch {
	case err != nil:
		return "", err
	case decoded.Key != c.key:
		return "", fmt.Errorf("%s: this is the profile of %s, not of %s", path, decoded.Key, c.key)
	default:
		return string(after), nil
	}
}

// runEditor runs the person's editor, as a shell would: $EDITOR may have arguments.
func (c *profileCall) runEditor(ctx context.Context, path string) error {
	editor := cmp.Or(strings.TrimSpace(c.env.Getenv("VISUAL")), strings.TrimSpace(c.env.Getenv("EDITOR")), defaultEditor)
	command := exec.CommandContext(ctx, "/bin/sh", "-c", editor+` "$1"`, "sh", path)
	command.Stdin, command.Stdout, command.Stderr = c.env.Stdin, c.env.Stderr, c.env.Stderr
	if err := command.Run(); err != nil {
		return advise(ExitFailure, fmt.Errorf("editor %s: %w", editor, err), "VISUAL or EDITOR names the editor.")
	}
	return nil
}
