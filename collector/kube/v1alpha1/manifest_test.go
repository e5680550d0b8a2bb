// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/holdfast-project/holdfast/collector/kube/v1alpha1"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// read makes an object of a manifest.
func read(t *testing.T, text string) *v1alpha1.HoldfastProfile {
	t.Helper()
	var tree any
	if err := yaml.Unmarshal([]byte(text), &tree); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	encoded, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	strict := json.NewDecoder(strings.NewReader(string(encoded)))
	strict.DisallowUnknownFields()
	var o v1alpha1.HoldfastProfile
	if err := strict.Decode(&o); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return &o
}

// TestManifest checks that what is written for Git is read as the same profile, less what changes by itself.
func TestManifest(t *testing.T) {
	p := everything()
	text, err := v1alpha1.Manifest(p)
	if err != nil {
		t.Fatal(err)
	}
	o := read(t, text)
	if o.Name != "deployment.web.no" || o.Namespace != "shop" || o.Kind != v1alpha1.ProfileKind || o.Key() != p.Key {
		t.Errorf("%s/%s of %s", o.Namespace, o.Name, o.Key())
	}
	again, err := o.Profile()
	if err != nil {
		t.Fatal(err)
	}
	p.Images, p.Signals = nil, nil
	if got, want := string(profile.Encode(again)), string(profile.EncodeBare(p)); got != want {
		t.Errorf("got\n%s\nexpected\n%s", got, want)
	}
	if _, err := v1alpha1.Manifest(&profile.Profile{Key: profile.Key{Kind: "Container", Name: "a", Container: "a"}}); err == nil {
		t.Error("an object of no namespace")
	}
}

func TestManifestText(t *testing.T) {
	files, err := filepath.Glob("../../cli/testdata/profiles/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no profile: %v", err)
	}
	var documents []profile.Document
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		more, err := profile.Decode(file, text)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, more...)
	}
	for _, d := range documents {
		manifest, err := v1alpha1.Manifest(d.Profile)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(manifest, "first:") || strings.Contains(manifest, "count:") || strings.Contains(manifest, "signals:") {
			t.Errorf("something in it changes by itself:\n%s", manifest)
		}
		if got := read(t, manifest).Key(); got != d.Profile.Key {
			t.Errorf("it is of %s", got)
		}
	}
}

func TestObjectName(t *testing.T) {
	seen := map[string]profile.Key{}
	for _, test := range []struct {
		key  profile.Key
		want string
	}{
		{profile.Key{Kind: "Deployment", Name: "web", Container: "side-car"}, "deployment.web.side-car"},
		{profile.Key{Kind: "StatefulSet", Name: "a.b-c", Container: "d"}, "statefulset.a.b-c.d"},
		{profile.Key{Kind: "Deployment", Name: "a", Container: "b-c"}, "deployment.a.b-c"},
		{profile.Key{Kind: "Deployment", Name: "a-b", Container: "c"}, "deployment.a-b.c"},
		{profile.Key{Kind: "Deployment", Name: "A b", Container: "c"}, ""},
		{profile.Key{Kind: "Deployment", Name: "a/b", Container: "c"}, ""},
		{profile.Key{Kind: "Deployment", Name: strings.Repeat("a", 253), Container: strings.Repeat("b", 63)}, ""},
		{profile.Key{Kind: "Deployment", Name: strings.Repeat("a", 253), Container: strings.Repeat("c", 63)}, ""},
	} {
		got := v1alpha1.ObjectName(test.key)
		if errs := validation.IsDNS1123Subdomain(got); len(errs) > 0 || test.want != "" && got != test.want {
			t.Errorf("%s is called %q: %v", test.key, got, errs)
		}
		if other, taken := seen[got]; taken {
			t.Errorf("%s and %s are both called %s", test.key, other, got)
		}
		seen[got] = test.key
	}
}
