// SPDX-License-Identifier: Apache-2.0

package export_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/holdfast-project/holdfast/rules/export"
	"github.com/holdfast-project/holdfast/rules/profile"
)

var update = flag.Bool("update", false, "write what is compared")

// profiles are those of a file of testdata.
func profiles(t *testing.T, name string) []*profile.Profile {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	documents, err := profile.Decode(name, text)
	if err != nil {
		t.Fatal(err)
	}
	var list []*profile.Profile
	for _, d := range documents {
		list = append(list, d.Profile)
	}
	return list
}

// cluster is what testdata's objects tell.
func cluster(t *testing.T) *export.Cluster {
	t.Helper()
	text, err := os.ReadFile("testdata/objects.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var c export.Cluster
	if err := c.Read("objects.yaml", text); err != nil {
		t.Fatal(err)
	}
	return &c
}

// own is a cluster of which nothing is known but one workload.
func own(namespace, kind, name string) *export.Cluster {
	var c export.Cluster
	labels := map[string]string{"app": name}
	c.AddWorkload(namespace, kind, name, export.Workload{Selector: labels, Labels: labels})
	return &c
}

// compare compares text with a file of testdata.
func compare(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s is not what is written now; run the test with -update and look at the difference", path)
	}
}

func TestGolden(t *testing.T) {
	web, idle := profiles(t, "web.yaml"), profiles(t, "idle.yaml")
	whole, lone := cluster(t), own("shop", "Deployment", "web")
	for _, c := range []struct {
		name     string
		write    func([]*profile.Profile, export.Options) (export.Output, error)
		profiles []*profile.Profile
		options  export.Options
	}{
		{"web.networkpolicy.yaml", export.NetworkPolicy, web, export.Options{Cluster: whole}},
		{"web-strict.networkpolicy.yaml", export.NetworkPolicy, web, export.Options{Cluster: whole, Strict: true}},
		{"web-alone.networkpolicy.yaml", export.NetworkPolicy, web, export.Options{Cluster: lone}},
		{"idle.networkpolicy.yaml", export.NetworkPolicy, idle, export.Options{Cluster: whole}},
		{"web.cilium.yaml", export.Cilium, web, export.Options{Cluster: whole}},
		{"web-strict.cilium.yaml", export.Cilium, web, export.Options{Cluster: lone, Strict: true}},
		{"web-alone.cilium.yaml", export.Cilium, web, export.Options{Cluster: lone}},
		{"idle.cilium.yaml", export.Cilium, idle, export.Options{Cluster: whole}},
		{"web.seccomp.json", export.Seccomp, web[:1], export.Options{Cluster: whole}},
		{"idle.seccomp.json", export.Seccomp, idle, export.Options{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := c.write(c.profiles, c.options)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, c.name, out.Text)
			turned := slices.Clone(c.profiles)
			slices.Reverse(turned)
			again, err := c.write(turned, c.options)
			if err != nil || again.Text != out.Text {
				t.Errorf("in another order it is another text, %v", err)
			}
			for _, note := range out.Notes {
				if !strings.Contains(out.Text, strings.ReplaceAll(note.String(), `\`, `\\`)) && !strings.Contains(out.Text, note.String()) {
					t.Errorf("the comment lacks %q", note)
				}
			}
		})
	}
}

// strict decodes what is YAML into a type: a field that the type does not have is an error.
func strict(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

// TestStrict decodes all golden files into the types that read them.
func TestStrict(t *testing.T) {
	for pattern, check := range map[string]func(string){
		"*.networkpolicy.yaml": func(name string) {
			var p networkingv1.NetworkPolicy
			strict(t, name, &p)
			if p.Kind != "NetworkPolicy" || len(p.Spec.PodSelector.MatchLabels) == 0 || len(p.Spec.PolicyTypes) != 2 {
				t.Errorf("%s: %+v", name, p)
			}
		},
		"*.cilium.yaml": func(name string) {
			var p export.CiliumPolicy
			strict(t, name, &p)
			if p.Kind != "CiliumNetworkPolicy" || len(p.Spec.Ingress) == 0 || len(p.Spec.Egress) == 0 {
				t.Errorf("%s: %+v", name, p)
			}
		},
		"*.seccomp.json": func(name string) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var p struct {
				Comment []string `json:"comment"`
				specs.LinuxSeccomp
				Syscalls []struct {
					Comment string `json:"comment"`
					specs.LinuxSyscall
				} `json:"syscalls"`
			}
			decoder := json.NewDecoder(bytes.NewReader(text))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&p); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			var plain specs.LinuxSeccomp // As container runtimes read it.
			if err := json.Unmarshal(text, &plain); err != nil || len(plain.Syscalls) != len(p.Syscalls) || len(plain.Syscalls) < 10 {
				t.Errorf("%s: %d rules, %v", name, len(plain.Syscalls), err)
			}
		},
	} {
		files, err := filepath.Glob(filepath.Join("testdata", pattern))
		if err != nil || len(files) < 2 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, file := range files {
			check(file)
		}
	}
}

// TestRefused asks for what cannot be written.
func TestRefused(t *testing.T) {
	web, whole := profiles(t, "web.yaml"), cluster(t)
	idle := profiles(t, "idle.yaml")
	host := idle[0].Clone()
	host.Key.Namespace = ""
	job := idle[0].Clone()
	job.Key = profile.Key{Namespace: "shop", Kind: "Job", Name: "import", Container: "import"}
	strange := idle[0].Clone()
	strange.Key.Name = "a b"
	for _, c := range []struct {
		name     string
		write    func([]*profile.Profile, export.Options) (export.Output, error)
		profiles []*profile.Profile
		cluster  *export.Cluster
		want     string
	}{
		{"nothing", export.NetworkPolicy, nil, whole, "no profile"},
		{"labels", export.NetworkPolicy, idle, nil, export.ErrLabels.Error()},
		{"labels for Cilium", export.Cilium, idle, &export.Cluster{}, export.ErrLabels.Error()},
		{"no namespace", export.NetworkPolicy, []*profile.Profile{host}, whole, "has no namespace"},
		{"two workloads", export.Cilium, append(slices.Clone(web), idle...), whole, "one workload is expected"},
		{"twice", export.NetworkPolicy, append(slices.Clone(web), web[0]), whole, "stands twice"},
		{"a name", export.NetworkPolicy, []*profile.Profile{strange}, own("shop", "StatefulSet", "a b"), "no name of a Kubernetes object"},
		{"two containers", export.Seccomp, web, whole, "of one container"},
		{"privileged", export.Seccomp, []*profile.Profile{job}, whole, "is privileged"},
	} {
		if out, err := c.write(c.profiles, export.Options{Cluster: c.cluster}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q, %v; want %q", c.name, out.Text, err, c.want)
		}
	}
	if _, err := export.NetworkPolicy(idle, export.Options{}); !errors.Is(err, export.ErrLabels) {
		t.Errorf("error is %v", err)
	}
}

// TestHostileNames has objects whose names would end the comment.
func TestHostileNames(t *testing.T) {
	c := own("shop", "StatefulSet", "db")
	labels := map[string]string{"app": "db"}
	c.AddWorkload("shop", "Pod", "x\nspec: {podSelector: {}}\u2028\u202e", export.Workload{Selector: labels, Labels: labels})
	for _, write := range []func([]*profile.Profile, export.Options) (export.Output, error){export.NetworkPolicy, export.Cilium} {
		out, err := write(profiles(t, "idle.yaml"), export.Options{Cluster: c})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.Text, `shop/Pod/x\x{a}spec: {podSelector: {}}\x{2028}\x{202e}`) || strings.Contains(out.Text, "\nspec: {") {
			t.Errorf("the policy is %s", out.Text)
		}
	}
}

// TestRead reads objects that are wrong, and none.
func TestRead(t *testing.T) {
	for text, want := range map[string]string{
		"kind: [":                         "objects: document 1: ",
		"a: b\n---\nmetadata: {name: []}": "objects: document 2: ",
		"kind: Service\nmetadata: {name: x, namespace: y}\nspec: {selector: [a]}":           "service y/x: selector: ",
		"kind: Service\nmetadata: {name: x}\nspec: {ports: [{port: 1, targetPort: 70000}]}": "service default/x: port 1: target port",
		"kind: Service\nmetadata: {name: x}\nspec: {ports: [{port: 70000}]}":                "document 1: ",
	} {
		var c export.Cluster
		if err := c.Read("objects", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
	var c export.Cluster
	if err := c.Read("objects", []byte("kind: ConfigMap\nmetadata: {name: x}\n---\n# none\n")); err != nil || c.Len() != 0 {
		t.Errorf("%d objects, %v", c.Len(), err)
	}
	if got := cluster(t).Len(); got != 11 {
		t.Errorf("%d objects are known", got)
	}
}
