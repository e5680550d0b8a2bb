// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/holdfast-project/holdfast/rules/profile"
)

// Limits of a HoldfastProfile that are narrower than those of rules/profile: the API server checks every entry, and what a
// check may cost is bounded.
const (
	MaxProcesses = 512
	MaxFiles     = 512
	MaxListed    = 256
	MaxListen    = 128
	MaxSmall     = 64
	// MaxBytes is how large the JSON of a spec may be: etcd takes no more than 1.5 MiB for a whole object.
	MaxBytes = 1 << 20
)

// document is a profile in the file format, as JSON, which is YAML. The keys below the metadata are those of ProfileSpec.
type document struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Metadata   metadata  `json:"metadata"`
	Images     []Image   `json:"images,omitempty"`
	Signals    *Signals  `json:"signals,omitempty"`
	Processes  []Process `json:"processes,omitempty"`
}

type metadata struct {
	Namespace string `json:"namespace,omitempty"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Container string `json:"container"`
}

// Key is whose overlay the object is.
func (p *HoldfastProfile) Key() profile.Key {
	w := p.Spec.Workload
	return profile.Key{Namespace: p.Namespace, Kind: w.Kind, Name: w.Name, Container: w.Container}
}

// Profile is the object as a profile, valid and in canonical order, without its modes. The error says what is wrong with up
// to profile.MaxProblems entries.
func (p *HoldfastProfile) Profile() (*profile.Profile, error) {
	key := p.Key()
	text, err := json.Marshal(document{
		APIVersion: profile.APIVersion, Kind: profile.DocumentKind, Images: p.Spec.Images, Signals: p.Spec.Signals, Processes: p.Spec.Processes,
		Metadata: metadata{Namespace: key.Namespace, Kind: key.Kind, Name: key.Name, Container: key.Container},
	})
	if err != nil {
		return nil, fmt.Errorf("spec: %w", err)
	}
	decoded, err := profile.DecodeOne("spec", text)
	var invalid *profile.InvalidError
	if errors.As(err, &invalid) {
		return nil, inObject(invalid)
	}
	return decoded, err
}

// inObject is what is wrong with an object: the lines of its JSON would say nothing to anybody.
func inObject(invalid *profile.InvalidError) error {
	reasons := make([]string, 0, len(invalid.Problems)+1)
	for _, p := range invalid.Problems {
		reasons = append(reasons, p.Reason)
	}
	if invalid.More > 0 {
		reasons = append(reasons, fmt.Sprintf("and %d more problems", invalid.More))
	}
	return errors.New(strings.Join(reasons, "; "))
}

// SpecOf is a profile as the spec of an object, which has the namespace of the profile's key. Profile gives the same profile
// again. The error says that the profile does not fit into an object, or that it is not valid.
func SpecOf(p *profile.Profile) (ProfileSpec, error) {
	return specOf(p, profile.Encode(p))
}

// BareSpecOf is SpecOf without what changes with every observation, such as times and counts: what is fit for Git.
func BareSpecOf(p *profile.Profile) (ProfileSpec, error) {
	return specOf(p, profile.EncodeBare(p))
}

func specOf(p *profile.Profile, text []byte) (ProfileSpec, error) {
	if err := fits(p); err != nil {
		return ProfileSpec{}, fmt.Errorf("%s as an object: %w", p.Key, err)
	}
	var tree any
	err := yaml.Unmarshal(text, &tree)
	var encoded []byte
	if err == nil {
		encoded, err = json.Marshal(tree)
	}
	var d document
	if err == nil {
		strict := json.NewDecoder(bytes.NewReader(encoded))
		strict.DisallowUnknownFields()
		err = strict.Decode(&d)
	}
	if err != nil {
		return ProfileSpec{}, fmt.Errorf("%s as an object: %w", p.Key, err)
	}
	if len(encoded) > MaxBytes {
		return ProfileSpec{}, fmt.Errorf("%s as an object: %d bytes of JSON, at most %d", p.Key, len(encoded), MaxBytes)
	}
	return ProfileSpec{
		Workload: Workload{Kind: p.Key.Kind, Name: p.Key.Name, Container: p.Key.Container},
		Images:   d.Images, Signals: d.Signals, Processes: d.Processes,
	}, nil
}

// fits returns an error for a profile that has more of something than an object may.
func fits(p *profile.Profile) error {
	var errs []error
	check := func(what string, n, most int) {
		if n > most {
			errs = append(errs, fmt.Errorf("%d %s, at most %d", n, what, most))
		}
	}
	check("processes", len(p.Processes), MaxProcesses)
	for i := range p.Processes {
		q := &p.Processes[i]
		of := " of " + profile.ExactTemplate([]byte(q.Path))
		check("parents"+of, len(q.Parents), MaxListed)
		check("arguments"+of, len(q.Arguments), MaxListed)
		check("libraries"+of, len(q.Libraries), MaxListed)
		check("files"+of, len(q.Files), MaxFiles)
		check("egress entries"+of, len(q.Egress), MaxListed)
		check("ports to listen on"+of, len(q.Listen), MaxListen)
		check("sockets"+of, len(q.Sockets), MaxSmall)
		check("capabilities"+of, len(q.Capabilities), MaxSmall)
	}
	return errors.Join(errs...)
}

// Set are the modes that are set, by signal.
func (m Modes) Set() profile.Modes {
	modes := profile.Modes{}
	for signal, mode := range map[profile.Signal]Mode{
		profile.SignalProcess: m.Process, profile.SignalFile: m.File, profile.SignalEgress: m.Egress, profile.SignalProtect: m.Protect,
		profile.SignalDLP: Mode(m.DLP), profile.SignalWAF: Mode(m.WAF),
	} {
		if mode != "" {
			modes[signal] = profile.Mode(mode)
		}
	}
	return modes
}
