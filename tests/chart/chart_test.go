// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"k8s.io/apimachinery/pkg/util/yaml"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files and the generated parts of docs anew")

// fewestSets is how many sets of values there are at least.
const fewestSets = 12

func load(t *testing.T) *Chart {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	c, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sets are the sets of values by name.
func sets(t *testing.T) map[string]map[string]any {
	t.Helper()
	names, err := filepath.Glob("values/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < fewestSets {
		t.Fatalf("%d sets of values, want at least %d", len(names), fewestSets)
	}
	all := make(map[string]map[string]any)
	for _, name := range names {
		all[strings.TrimSuffix(filepath.Base(name), ".yaml")] = values(t, read(t, name))
	}
	return all
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func values(t *testing.T, text string) map[string]any {
	t.Helper()
	v := make(map[string]any)
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// eachSet runs a test on what every set of values gives.
func eachSet(t *testing.T, f func(t *testing.T, r *Rendered)) {
	t.Helper()
	c, all := load(t), sets(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		t.Run(name, func(t *testing.T) {
			r, err := c.Render(all[name])
			if err != nil {
				t.Fatal(err)
			}
			f(t, r)
		})
	}
}

func TestLint(t *testing.T) {
	c := load(t)
	for name, v := range sets(t) {
		t.Run(name, func(t *testing.T) {
			for _, m := range lint.RunAll(c.Dir(), v, Namespace).Messages {
				switch {
				case m.Severity > support.InfoSev:
					t.Errorf("%s", m)
				default:
					t.Logf("%s", m)
				}
			}
		})
	}
}

// TestGolden renders every set, which decodes every object strictly, and compares.
func TestGolden(t *testing.T) {
	eachSet(t, func(t *testing.T, r *Rendered) {
		if len(r.Objects) == 0 || r.Notes == "" {
			t.Fatalf("%d objects and %d bytes of notes", len(r.Objects), len(r.Notes))
		}
		text := Join(r.Objects) + Join(r.Hooks) + "---\n# NOTES.txt\n" + comment(r.Notes)
		compare(t, filepath.Join("testdata", "golden", filepath.Base(t.Name())+".yaml"), text)
	})
}

// comment makes comment lines of a text.
func comment(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimRight("# "+line, " \n") + "\n")
	}
	return b.String()
}

// compare compares a text with a file, or writes the file.
func compare(t *testing.T, name, text string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want := read(t, name); want != text {
		t.Errorf("%s is not what the chart gives (go -C tests/chart test . -rewrite, then look at the difference): %s", name, firstDifference(want, text))
	}
}

func firstDifference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return "first at line " + strings.Join([]string{strconv.Itoa(i + 1), "want " + a[i], "got " + b[i]}, "; ")
		}
	}
	return "one is the beginning of the other"
}

func TestGoldenFilesAreAllOfSets(t *testing.T) {
	all := sets(t)
	names, err := filepath.Glob("testdata/golden/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if all[strings.TrimSuffix(filepath.Base(name), ".yaml")] == nil {
			t.Errorf("%s: no set of values has that name", name)
		}
	}
}

func TestPlainManifestsAreTheChart(t *testing.T) {
	files, err := Manifests(load(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if have := read(t, filepath.Join("..", "..", "deploy", "manifests", name)); have != text {
			t.Errorf("deploy/manifests/%s is not what the chart gives (make manifests): %s", name, firstDifference(have, text))
		}
	}
}

func TestCRDsDecode(t *testing.T) {
	objects, err := load(t).CRDs()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d CustomResourceDefinitions", len(objects))
}

// TestDecodeIsStrict makes sure that the other tests would find a mistake.
func TestDecodeIsStrict(t *testing.T) {
	c := load(t)
	const good = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  hostPID: true\n"
	if _, err := c.Decode("x", good); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []struct{ name, text, want string }{
		{"unknown field", good + "  hostPid: true\n", `unknown field "spec.hostPid"`},
		{"twice", good + "  hostPID: true\n", `already set`},
		{"wrong type", good + "  priority: high\n", "cannot unmarshal"},
		{"unknown kind", "apiVersion: v1\nkind: Pot\n", `no kind "Pot"`},
	} {
		if _, err := c.Decode("x", bad.text); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: error %v, want %q", bad.name, err, bad.want)
		}
	}
}
