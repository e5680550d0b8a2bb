// SPDX-License-Identifier: Apache-2.0

// Package chart renders the Helm chart of deploy/helm/holdfast with Helm's own library, and decodes what comes out strictly
// into the types of Kubernetes: an unknown or doubled field is an error. Its tests hold the chart to its schema, to golden
// files and to what a pod of Holdfast may never have; cmd/manifests writes the plain manifests of deploy/manifests.
//
// It is a module of its own, so that Helm and its dependencies stay out of the product's.
package chart

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	v2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	release "helm.sh/helm/v4/pkg/release/v1"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

// Release and Namespace are what the chart is rendered as.
const (
	Release   = "holdfast"
	Namespace = "holdfast-system"
)

// Chart is the chart, loaded.
type Chart struct {
	dir     string
	chart   *v2.Chart
	decoder runtime.Decoder
}

// Rendered is what one set of values gives.
type Rendered struct {
	// Objects are in the order of installation, Hooks in that of their events.
	Objects, Hooks []Object
	// Notes is what is printed after the installation.
	Notes string
}

// Object is one rendered object.
type Object struct {
	// Template is the file below templates/ that it came from.
	Template string
	// Text is its YAML.
	Text string
	// Typed is a pointer to its Kubernetes type.
	Typed runtime.Object
}

// Root finds the root of the source tree, above the working directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "deploy", "helm")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("no folder above holds deploy/helm: run it in the source tree")
}

// Load reads the chart of a source tree.
func Load(root string) (*Chart, error) {
	dir := filepath.Join(root, "deploy", "helm", "holdfast")
	c, err := loader.LoadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("load the chart: %w", err)
	}
	known := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, apiextensionsv1.AddToScheme, monitoringv1.AddToScheme} {
		if err := add(known); err != nil {
			return nil, fmt.Errorf("register the types of Kubernetes: %w", err)
		}
	}
	decoder := serializer.NewCodecFactory(known, serializer.EnableStrict).UniversalDeserializer()
	return &Chart{dir: dir, chart: c, decoder: decoder}, nil
}

// Dir is where the chart lies.
func (c *Chart) Dir() string { return c.dir }

// Render gives what the chart makes of values, in place of its defaults where they are given.
func (c *Chart) Render(values map[string]any) (*Rendered, error) {
	as := common.ReleaseOptions{Name: Release, Namespace: Namespace, Revision: 1, IsInstall: true}
	full, err := util.ToRenderValues(c.chart, values, as, common.DefaultCapabilities)
	if err != nil {
		return nil, fmt.Errorf("check the values: %w", err)
	}
	files, err := engine.Render(c.chart, full)
	if err != nil {
		return nil, fmt.Errorf("render the chart: %w", err)
	}
	r := &Rendered{}
	for name, text := range files {
		switch {
		case path.Base(name) == "NOTES.txt":
			r.Notes = text
			delete(files, name)
		case strings.HasPrefix(path.Base(name), "_"):
			delete(files, name)
		}
	}
	hooks, manifests, err := releaseutil.SortManifests(files, nil, releaseutil.InstallOrder)
	if err != nil {
		return nil, fmt.Errorf("sort the objects: %w", err)
	}
	for _, m := range manifests {
		if err := c.add(&r.Objects, m.Name, m.Content); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(hooks, func(a, b *release.Hook) int { return a.Weight - b.Weight })
	for _, h := range hooks {
		if err := c.add(&r.Hooks, h.Path, h.Manifest); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (c *Chart) add(to *[]Object, template, text string) error {
	o, err := c.Decode(template, text)
	if err != nil {
		return err
	}
	*to = append(*to, o)
	return nil
}

// Decode decodes the YAML of one object strictly.
func (c *Chart) Decode(from, text string) (Object, error) {
	typed, _, err := c.decoder.Decode([]byte(text), nil, nil)
	if err != nil {
		return Object{}, fmt.Errorf("%s: decode an object: %w\n%s", from, err, text)
	}
	_, below, _ := strings.Cut(from, "/templates/")
	return Object{Template: below, Text: strings.TrimSpace(text) + "\n", Typed: typed}, nil
}

// CRDs are the CustomResourceDefinitions in the chart's folder crds.
func (c *Chart) CRDs() ([]Object, error) {
	var objects []Object
	for _, crd := range c.chart.CRDObjects() {
		documents := yaml.NewYAMLReader(newReader(crd.File.Data))
		for {
			text, err := documents.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", crd.Filename, err)
			}
			if len(bytes.TrimSpace(text)) == 0 {
				continue
			}
			if err := c.add(&objects, crd.Filename, string(text)); err != nil {
				return nil, err
			}
		}
	}
	return objects, nil
}

// Join writes objects as one file.
func Join(objects []Object) string {
	var b strings.Builder
	for _, o := range objects {
		fmt.Fprintf(&b, "---\n# %s\n%s", o.Template, o.Text)
	}
	return b.String()
}
