// SPDX-License-Identifier: Apache-2.0

package build_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/tests/cluster/build"
)

// TestVersions compares the constants with what the modules ask for.
func TestVersions(t *testing.T) {
	for file, want := range map[string]string{
		"kubernetes/go.mod": "k8s.io/kubernetes " + build.KubernetesVersion,
		"coredns/go.mod":    "github.com/coredns/coredns " + build.DNSVersion,
		"helm/go.mod":       "helm.sh/helm/v4 " + build.HelmVersion,
	} {
		text, err := os.ReadFile(filepath.FromSlash(file))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), want+"\n") && !strings.Contains(string(text), want+" // indirect\n") {
			t.Errorf("%s does not require %s", file, want)
		}
	}
}

// TestPath looks for a program in an empty cache, in one that has it, and where
// the environment says.
func TestPath(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv(build.Variable(build.APIServer), "")
	if _, err := build.Path(build.APIServer); !errors.Is(err, build.ErrNotBuilt) {
		t.Fatalf("in an empty cache: %v", err)
	}
	want := filepath.Join(cache, "holdfast", "kubernetes", build.KubernetesVersion, "kube-apiserver")
	if err := os.MkdirAll(filepath.Dir(want), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(want, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := build.Path(build.APIServer); err != nil || got != want {
		t.Errorf("in the cache: %s, %v; want %s", got, err, want)
	}
	if got := build.Variable(build.APIServer); got != "HOLDFAST_KUBE_APISERVER" {
		t.Errorf("variable %s", got)
	}
	t.Setenv(build.Variable(build.APIServer), "/elsewhere/kube-apiserver")
	if got, err := build.Path(build.APIServer); err != nil || got != "/elsewhere/kube-apiserver" {
		t.Errorf("from the environment: %s, %v", got, err)
	}
}
