// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const definitions = "../../../deploy/helm/holdfast/crds"

// TestGenerated generates the definitions and the deep copies anew and compares them with those of the tree.
func TestGenerated(t *testing.T) {
	crds, code := t.TempDir(), t.TempDir()
	command := exec.Command("go", "tool", "-modfile=../../../.ci/crd.mod", "controller-gen", "object:headerFile=header.txt",
		"crd:maxDescLen=2000", "paths=.", "output:crd:dir="+crds, "output:object:dir="+code)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", command, err, out)
	}
	if text, err := os.ReadFile("doc.go"); err != nil || !strings.Contains(string(text), "object:headerFile=header.txt crd:maxDescLen=2000 paths=.") {
		t.Errorf("go generate does it otherwise than this test: %v", err)
	}
	for made, kept := range map[string]string{crds: definitions, code: "."} {
		files, err := os.ReadDir(made)
		if err != nil || len(files) == 0 {
			t.Fatalf("nothing was generated in %s: %v", made, err)
		}
		for _, f := range files {
			want, err := os.ReadFile(filepath.Join(made, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(filepath.Join(kept, f.Name())); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: go generate ./collector/kube/... makes something else (%v)", filepath.Join(kept, f.Name()), err)
			}
		}
	}
	files, err := os.ReadDir(definitions)
	if err != nil || len(files) != 2 {
		t.Errorf("%s holds %d files, expected the definitions of two kinds: %v", definitions, len(files), err)
	}
}
