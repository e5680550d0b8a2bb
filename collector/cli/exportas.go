// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/collector/kube/v1alpha1"
	"github.com/holdfast-project/holdfast/collector/term"
	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/rules/export"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// formProfile is the form that profiles have themselves.
const formProfile = "profile"

// exportForm is a form, other than their own, that profiles are exported in.
type exportForm struct {
	word, about string
	// suffix ends the names of its files. Files of .json cannot stand one after another, as YAML can.
	suffix string
	// together says that all profiles of a workload make one file; otherwise each makes its own.
	together bool
	// layers says that layers which are not effective can be written in it, too.
	layers bool
	// render writes profiles: those of one workload, or one.
	render func([]*profile.Profile, export.Options) (export.Output, error)
}

// exportForms are the forms.
func exportForms() []exportForm {
	return []exportForm{
		{
			word: "networkpolicy", about: "a Kubernetes NetworkPolicy for each workload", suffix: ".networkpolicy.yaml", together: true,
			render: export.NetworkPolicy,
		},
		{
			word: "cilium", about: "a CiliumNetworkPolicy for each workload, which knows names", suffix: ".cilium.yaml", together: true,
			render: export.Cilium,
		},
		{
			word: "seccomp", about: "a seccomp profile for each container, for localhostProfile", suffix: ".seccomp.json",
			render: export.Seccomp,
		},
		{
			word: "crd", about: "a HoldfastProfile object for each container, for Git; of any --layer", suffix: ".holdfastprofile.yaml",
			layers: true, render: exportObject,
		},
	}
}

// exportObject writes a profile as an object of Kubernetes, which says all that the profile says.
func exportObject(profiles []*profile.Profile, _ export.Options) (export.Output, error) {
	text, err := v1alpha1.Manifest(profiles[0])
	return export.Output{Text: text}, err
}

// formWords are the words of all forms, that of the profiles themselves first.
func formWords() []string {
	list := []string{formProfile}
	for _, form := range exportForms() {
		list = append(list, form.word)
	}
	return list
}

// formHelp lists the forms for people.
func formHelp() string {
	var text strings.Builder
	for _, form := range exportForms() {
		fmt.Fprintf(&text, "  %-14s %s\n", form.word, form.about)
	}
	return text.String()
}

// form is the form that is asked for; false for the profiles themselves.
func (f *exportFlags) form() (exportForm, bool, error) {
	if f.as == formProfile {
		if len(f.objects) > 0 || f.strict {
			return exportForm{}, false, errors.New("--objects and --strict are for other forms: say which with --as")
		}
		return exportForm{}, false, nil
	}
	forms := exportForms()
	i := slices.IndexFunc(forms, func(form exportForm) bool { return form.word == f.as })
	if i < 0 {
		return exportForm{}, false, fmt.Errorf("--as %q: %s is expected", f.as, strings.Join(formWords(), ", "))
	}
	if f.layer != layerEffective && !forms[i].layers {
		return exportForm{}, false, fmt.Errorf("--as %s is of what is in force: --layer %s cannot be had so", f.as, f.layer)
	}
	return forms[i], true, nil
}

// rendered is what a form made of profiles, as a line of JSON.
type rendered struct {
	Workload view.Workload `json:"workload"`
	As       string        `json:"as"`
	Text     string        `json:"text"`
	Notes    []export.Note `json:"notes"`
}

// exportAs writes profiles in another form. What one workload lacks does not keep the others from being written.
func (s *session) exportAs(ctx context.Context, form exportForm, f exportFlags, stdin io.Reader) error {
	var cluster export.Cluster
	if err := readObjects(&cluster, f.objects); err != nil {
		return err
	}
	profiles, err := s.gather(ctx, f, stdin)
	if err != nil {
		return err
	}
	if len(profiles) == 0 {
		return s.nothing("no profile matches")
	}
	groups := form.groups(profiles)
	if f.dir == "" && s.format != formatJSON && strings.HasSuffix(form.suffix, ".json") && len(groups) > 1 {
		return advise(ExitUsage, fmt.Errorf("%d files would be written one after another", len(groups)),
			"Say --dir FOLDER, or which container with --workload.")
	}
	var failed []error
	written := 0
	for _, group := range groups {
		out, err := form.render(group, export.Options{Cluster: &cluster, Strict: f.strict})
		if err != nil {
			failed = append(failed, err)
			continue
		}
		if err := s.writeRendered(form, f, group[0].Key, out, written > 0); err != nil {
			return err
		}
		written++
	}
	if f.dir != "" {
		s.note("%d %s written below %s", written, plural(written, "file", "files"), f.dir)
	}
	return s.exportFailure(failed)
}

// exportFailure is what the workloads lack that were not written.
func (s *session) exportFailure(failed []error) error {
	if len(failed) == 0 {
		return nil
	}
	err := failed[0]
	if len(failed) > 1 {
		for _, each := range failed {
			s.note("%v", each)
		}
		err = fmt.Errorf("%d of them were not written", len(failed))
	}
	if errors.Is(errors.Join(failed...), export.ErrLabels) {
		return advise(ExitFailure, err, "Policies select pods by labels. Say which with --objects, a file or folder of manifests or of\n"+
			"'kubectl get deploy,sts,ds,job,cronjob,pod,svc,endpointslices -A -o yaml'.")
	}
	return err
}

// groups are the profiles that make a file together.
func (form exportForm) groups(profiles []*profile.Profile) [][]*profile.Profile {
	slices.SortFunc(profiles, func(a, b *profile.Profile) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	var groups [][]*profile.Profile
	for _, p := range profiles {
		last := len(groups) - 1
		if form.together && last >= 0 && sameWorkload(groups[last][0].Key, p.Key) {
			groups[last] = append(groups[last], p)
			continue
		}
		groups = append(groups, []*profile.Profile{p})
	}
	return groups
}

func sameWorkload(a, b profile.Key) bool {
	a.Container, b.Container = "", ""
	return a == b
}

func (s *session) writeRendered(form exportForm, f exportFlags, key profile.Key, out export.Output, again bool) error {
	if form.together {
		key.Container = ""
	}
	switch {
	case f.dir != "":
		parts := []string{key.Namespace, key.Kind, key.Name, key.Container}
		if form.together {
			parts = parts[:3]
		}
		return writeExport(f.dir, parts, form.suffix, out.Text)
	case s.format == formatJSON:
		if out.Notes == nil {
			out.Notes = []export.Note{}
		}
		return s.writeValue(rendered{Workload: workloadOf(key), As: form.word, Text: out.Text, Notes: out.Notes})
	case again:
		return s.writeText("---\n" + out.Text)
	default:
		return s.writeText(out.Text)
	}
}

// gather are the profiles to export: those of files, or those that the collector has.
func (s *session) gather(ctx context.Context, f exportFlags, stdin io.Reader) ([]*profile.Profile, error) {
	var profiles []*profile.Profile
	if len(f.files) > 0 {
		documents, err := readProfiles(stdin, f.files)
		if err != nil {
			return nil, err
		}
		for _, d := range documents {
			profiles = append(profiles, d.Profile)
		}
		return profiles, nil
	}
	err := s.exported(ctx, f.query(), func(_ json.RawMessage, e view.ProfileExport) error {
		p, err := profile.DecodeOne("answer", []byte(e.Text))
		if err != nil {
			return s.strange(fmt.Errorf("export: %w", err))
		}
		profiles = append(profiles, p)
		return nil
	})
	return profiles, err
}

// readObjects reads what files say of the cluster, of folders every one below them.
func readObjects(cluster *export.Cluster, names []string) error {
	const advice = "--objects is a file or folder of Kubernetes manifests, such as 'kubectl get deploy,sts,ds,svc -A -o yaml' writes."
	for _, name := range names {
		files, err := profileFiles(name)
		if err != nil {
			return advise(ExitUsage, fmt.Errorf("objects: %w", err), advice)
		}
		for _, file := range files {
			text, err := readFile(filepath.Clean(file), profile.MaxFile)
			if err == nil {
				err = cluster.Read(file, text)
			}
			if err != nil {
				return advise(ExitUsage, errors.New(term.Escape(fmt.Sprintf("objects: %v", err))), advice)
			}
		}
	}
	if len(names) > 0 && cluster.Len() == 0 {
		return advise(ExitUsage, fmt.Errorf("objects: no workload and no service in %s", cmp.Or(strings.Join(names, ", "), "-")), advice)
	}
	return nil
}
