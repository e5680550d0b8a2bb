// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-project/holdfast/collector/term"
	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// exportFlags are the flags of holdfast profile export.
type exportFlags struct {
	workload, layer, dir, as string
	files, objects           []string
	strict                   bool
}

// query asks the collector for the profiles.
func (f *exportFlags) query() url.Values {
	query := url.Values{"layer": {f.layer}}
	if f.workload != "" {
		query.Set("workload", f.workload)
	}
	return query
}

const exportHelp = `Write profiles as YAML. Equal profiles give equal bytes, so that Git shows what really changed. With --dir each goes to
a file of its own, DIR/NAMESPACE/KIND/NAME/CONTAINER.yaml; without it, all go to stdout one after another.

--layer overlay exports what people have written, which is what 'import' takes back; effective and merged have what was
learned in them, too.

--as writes what the effective profiles allow for others to enforce, or profiles as objects of Kubernetes:
`

const exportAsHelp = `
Others, crd aside, cannot say all that a profile says. Each file begins with a comment that lists every entry which it widens, because it
cannot be written as narrow as it is, or leaves out, because it cannot be written at all. --strict leaves out what would have
to be widened: the file then denies more than the profile rather than less. Policies select pods by labels, which --objects
tells: manifests, or what 'kubectl get' says of workloads and services. It makes services exact, too, and without it they are
widened to their namespace.`

func newProfileExport(a *app) *cobra.Command {
	var f exportFlags
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write profiles as YAML that is fit for Git, or as policies for others to enforce",
		Long:  exportHelp + formHelp() + exportAsHelp,
		Example: "  holdfast profile export --layer overlay --dir profiles/\n" +
			"  holdfast profile export --workload shop/web > web.yaml\n" +
			"  kubectl get deploy,sts,ds,job,cronjob,pod,svc,endpointslices -A -o yaml > cluster.yaml\n" +
			"  holdfast profile export --as networkpolicy --objects cluster.yaml --workload 'shop/*' --dir policies/\n" +
			"  holdfast profile export --as seccomp --workload shop/web/nginx > web-nginx.json\n" +
			"  holdfast profile export --as cilium --objects manifests/ --file web.yaml      # of a file; asks nobody",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			form, other, err := f.form()
			switch {
			case err != nil:
				return usageError(cmd, err)
			case len(f.files) > 0 && !other:
				return usageError(cmd, errors.New("--file is for other forms: say which with --as"))
			case len(f.files) > 0 && (f.workload != "" || cmd.Flags().Changed("layer")):
				return usageError(cmd, errors.New("--workload and --layer are of the collector's profiles, --file of none of them"))
			}
			open := a.open
			if len(f.files) > 0 {
				open = a.local
			}
			s, err := open(formatYAML)
			switch {
			case err != nil:
				return err
			case other:
				return s.exportAs(cmd.Context(), form, f, a.env.Stdin)
			default:
				return s.export(cmd.Context(), f)
			}
		},
	}
	cmd.Flags().StringVarP(&f.workload, "workload", "w", "", "only of workloads that match this `PATTERN` over namespace/workload/container")
	cmd.Flags().StringVar(&f.layer, "layer", layerEffective, "write this `LAYER`: effective, merged or overlay")
	cmd.Flags().StringVar(&f.dir, "dir", "", "write a file for each profile below this `FOLDER`")
	cmd.Flags().StringVar(&f.as, "as", formProfile, "write this `FORM`: "+strings.Join(formWords(), ", "))
	cmd.Flags().StringArrayVar(&f.files, "file", nil, "write the profiles of this `FILE`, - for stdin, without asking a collector; may be repeated")
	cmd.Flags().StringArrayVar(&f.objects, "objects", nil, "`FILE` or folder of Kubernetes objects that tells labels and services; may be repeated")
	cmd.Flags().BoolVar(&f.strict, "strict", false, "leave out what would have to be widened")
	// The only error of these two is a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc("layer", completeWords([]string{layerEffective, layerMerged, layerOverlay}))
	_ = cmd.RegisterFlagCompletionFunc("as", completeWords(formWords()))
	return cmd
}

func (s *session) export(ctx context.Context, f exportFlags) error {
	written := 0
	err := s.exported(ctx, f.query(), func(object json.RawMessage, e view.ProfileExport) error {
		written++
		switch {
		case f.dir != "":
			return writeExport(f.dir, []string{e.Workload.Namespace, e.Workload.Kind, e.Workload.Name, e.Workload.Container}, ".yaml", e.Text)
		case s.format == formatJSON:
			return s.writeJSON(object)
		case written > 1:
			return s.writeText("---\n" + e.Text)
		default:
			return s.writeText(e.Text)
		}
	})
	switch {
	case err != nil:
		return err
	case written == 0:
		return s.nothing("no profile matches")
	case f.dir != "":
		s.note("%d profiles written below %s", written, f.dir)
	}
	return nil
}

// exported calls each for every profile of an export. One that is not whole is an error.
func (s *session) exported(ctx context.Context, query url.Values, each func(json.RawMessage, view.ProfileExport) error) error {
	response, err := s.do(ctx, http.MethodGet, profilesPath+"/export", query, nil, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(make([]byte, 64<<10), 2*profile.MaxFile)
	for lines.Scan() {
		var e view.ProfileExport
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return s.strange(fmt.Errorf("export: %w", err))
		}
		if e.End {
			return nil
		}
		if err := each(lines.Bytes(), e); err != nil {
			return err
		}
	}
	return errors.Join(errors.New("the export broke off: not every profile came"), lines.Err())
}

// writeExport writes a file named after the parts of a key, whole or not at all.
func writeExport(dir string, parts []string, suffix, text string) error {
	path := dir
	for _, part := range parts {
		path = filepath.Join(path, fileName(part))
	}
	path += suffix
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".holdfast-*")
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	_, err = file.WriteString(text)
	err = errors.Join(err, file.Chmod(0o644), file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("export %s: %w", path, err), os.Remove(file.Name()))
	}
	return nil
}

// fileName is a part of a key as the name of a file: it leads nowhere else and is not hidden.
func fileName(part string) string {
	if part == "" {
		return noPart
	}
	name := url.PathEscape(part)
	if strings.HasPrefix(name, ".") {
		name = "%2E" + name[1:]
	}
	return name
}

// writeText writes a profile as it is, or on a terminal so that every line shows what it is.
func (s *session) writeText(text string) error {
	if s.env.Terminal {
		var safe strings.Builder
		for line := range strings.Lines(text) {
			safe.WriteString(term.Escape(strings.TrimSuffix(line, "\n")) + "\n")
		}
		text = safe.String()
	}
	if _, err := io.WriteString(s.env.Stdout, text); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

func newProfileImport(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "import FILE...",
		Short: "Make files the overlays of the profiles that they name",
		Long: "Make each profile in the files the overlay of the workload that it names, in place of the one it had. - stands for stdin,\n" +
			"a folder for every .yaml and .yml file below it; a file may hold several profiles, separated by lines of ---.\n\n" +
			"All files are checked first. If anything is wrong with any of them, each error is told with its file and line, and\n" +
			"nothing is changed.",
		Example: "  holdfast profile import profiles/ --reason \"release 2.4\"\n" +
			"  holdfast profile import web.yaml db.yaml --reason \"reviewed in Git\"\n" +
			"  git show HEAD~1:web.yaml | holdfast profile import - --reason \"back to the one before\"",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.open()
			if err != nil {
				return err
			}
			documents, err := readProfiles(a.env.Stdin, args)
			if err != nil {
				return err
			}
			return s.importProfiles(cmd.Context(), documents, reason)
		},
	}
	reasonFlag(cmd, &reason)
	requireFlags(cmd, "reason")
	return cmd
}

func (s *session) importProfiles(ctx context.Context, documents []document, reason string) error {
	var body struct {
		Profiles []string `json:"profiles"`
		Reason   string   `json:"reason"`
	}
	body.Reason = reason
	for _, d := range documents {
		if len(d.Modes) > 0 {
			return advise(ExitUsage, fmt.Errorf("%s: modes are not imported", d.place()), "Nothing was changed. Take the modes "+
				"out of the file; 'holdfast mode set' sets them.")
		}
		body.Profiles = append(body.Profiles, string(profile.Encode(d.Profile)))
	}
	var answer struct {
		Profiles []json.RawMessage `json:"profiles"`
	}
	if err := s.call(ctx, http.MethodPost, profilesPath+"/import", url.Values{}, body, &answer); err != nil {
		return err
	}
	for _, object := range answer.Profiles {
		if err := s.writeChanged(object); err != nil {
			return err
		}
	}
	return nil
}
