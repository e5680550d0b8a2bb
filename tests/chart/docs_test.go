// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
)

// value is a key of values.yaml that a comment describes.
type value struct {
	path, fallback, description string
}

// described are the keys of values.yaml with their comments, in its order. A mapping without a comment is described by its keys.
func described(t *testing.T, text string) []value {
	t.Helper()
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		t.Fatal(err)
	}
	var all []value
	var walk func(path string, n *yaml.Node)
	walk = func(path string, n *yaml.Node) {
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, v := n.Content[i], n.Content[i+1]
			at := strings.TrimPrefix(path+"."+key.Value, ".")
			comment := strings.TrimSpace(strings.ReplaceAll(strings.ReplaceAll(key.HeadComment, "# ", ""), "\n", " "))
			switch {
			case comment != "" && !strings.Contains(comment, "SPDX"):
				all = append(all, value{at, flow(t, v), comment})
			case v.Kind == yaml.MappingNode:
				walk(at, v)
			default:
				t.Errorf("values.yaml: %s has no comment", at)
			}
		}
	}
	walk("", document.Content[0])
	return all
}

// flow writes a value in one line.
func flow(t *testing.T, n *yaml.Node) string {
	t.Helper()
	one := *n
	if one.Kind != yaml.ScalarNode {
		one.Style = yaml.FlowStyle
	}
	for _, c := range one.Content {
		c.HeadComment = ""
	}
	text, err := yaml.Marshal(&one)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// valuesTable is the table of docs/install.md.
func valuesTable(all []value) string {
	var b strings.Builder
	b.WriteString("| value | default | |\n|---|---|---|\n")
	for _, v := range all {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", v.path, v.fallback, v.description)
	}
	return b.String()
}

const tableBegins, tableEnds = "<!-- values -->\n", "<!-- end of values -->\n"

func TestValuesAreInTheDocs(t *testing.T) {
	all := described(t, read(t, filepath.Join(load(t).Dir(), "values.yaml")))
	if len(all) < 50 {
		t.Fatalf("%d values", len(all))
	}
	page := filepath.Join("..", "..", "docs", "install.md")
	before, rest, ok := strings.Cut(read(t, page), tableBegins)
	_, after, ends := strings.Cut(rest, tableEnds)
	if !ok || !ends {
		t.Fatalf("%s has no place for the table of values", page)
	}
	compare(t, page, before+tableBegins+valuesTable(all)+tableEnds+after)
}

// TestSchemaSaysWhatTheValuesSay compares descriptions, both ways.
func TestSchemaSaysWhatTheValuesSay(t *testing.T) {
	described := described(t, read(t, filepath.Join(load(t).Dir(), "values.yaml")))
	s := valuesSchema(t)
	for _, v := range described {
		at := s
		for part := range strings.SplitSeq(v.path, ".") {
			at = at.Properties[part]
		}
		if at.Description != v.description {
			t.Errorf("%s: values.yaml says %q, the schema %q", v.path, v.description, at.Description)
		}
	}
	s.each("", func(path string, leaf schema) {
		known := slices.ContainsFunc(described, func(v value) bool {
			return v.path == path || strings.HasPrefix(v.path, path+".") || strings.HasPrefix(path, v.path+".") || strings.HasPrefix(path, v.path+"[")
		})
		if path != "" && path != "global" && !known {
			t.Errorf("%s is in the schema and not in values.yaml", path)
		}
	})
}

// TestCapabilitiesAreExplained checks that each capability that an agent can have has its row.
func TestCapabilitiesAreExplained(t *testing.T) {
	page := read(t, filepath.Join("..", "..", "docs", "install.md"))
	explained := func(name string) bool { return strings.Contains(page, "\n| `"+name+"` | ") }
	var add schema
	valuesSchema(t).each("", func(path string, s schema) {
		if path == "agent.capabilities.add" {
			add = s
		}
	})
	if add.Items == nil || len(add.Items.Enum) == 0 {
		t.Fatal("the schema lists no capabilities")
	}
	for _, name := range add.Items.Enum {
		if !explained(name.(string)) {
			t.Errorf("docs/install.md does not explain %v", name)
		}
	}
	eachSet(t, func(t *testing.T, r *Rendered) {
		for _, w := range workloads(t, r) {
			for _, c := range w.containers() {
				for _, name := range c.SecurityContext.Capabilities.Add {
					if !explained(string(name)) {
						t.Errorf("%s has %s, which docs/install.md does not explain", w.name, name)
					}
				}
			}
		}
	})
}

// TestProbesAsk checks that each probe goes to a port of its container, and that the agent's goes where the agent listens.
func TestProbesAsk(t *testing.T) {
	eachSet(t, func(t *testing.T, r *Rendered) {
		for _, o := range r.Objects {
			set, ok := o.Typed.(*appsv1.DaemonSet)
			if !ok {
				continue
			}
			c := set.Spec.Template.Spec.Containers[0]
			at := slices.IndexFunc(c.Args, func(a string) bool { return strings.HasPrefix(a, "--metrics-listen=") })
			host, _, _ := strings.Cut(strings.TrimPrefix(c.Args[at], "--metrics-listen="), ":")
			for name, path := range map[string]string{"startup": c.StartupProbe.HTTPGet.Path, "readiness": c.ReadinessProbe.HTTPGet.Path} {
				if path != "/readyz" {
					t.Errorf("the %s probe asks %s", name, path)
				}
			}
			for _, p := range []string{c.StartupProbe.HTTPGet.Host, c.LivenessProbe.HTTPGet.Host, c.ReadinessProbe.HTTPGet.Host} {
				if p != host {
					t.Errorf("a probe asks %q, the agent listens on %q", p, host)
				}
			}
			if c.LivenessProbe.HTTPGet.Path != "/healthz" || c.LivenessProbe.HTTPGet.Port.String() != c.Ports[0].Name {
				t.Errorf("the liveness probe is %+v", c.LivenessProbe.HTTPGet)
			}
		}
	})
}
