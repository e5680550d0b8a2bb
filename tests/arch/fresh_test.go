// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"bytes"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"testing"
)

// generated reports whether `make generate` makes the file.
func generated(f *File) bool {
	return f.Generated || path.Ext(f.Path) == ".o"
}

// TestGeneratedCodeIsFresh generates everything anew in a copy of the tree that
// holds nothing generated, and compares byte by byte. So it finds what is
// stale, what nothing generates any more, and what was never committed.
func TestGeneratedCodeIsFresh(t *testing.T) {
	from := root(t)
	if out, err := exec.Command("make", "-s", "-C", from, "toolchain").CombinedOutput(); err != nil {
		t.Skipf("generated code not compared: %s", bytes.TrimSpace(out))
	}
	tree, err := Load(from)
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	committed := make(map[string][]byte)
	for _, f := range tree.Files {
		if generated(f) {
			committed[f.Path] = f.Data
		} else {
			copyFile(t, from, to, f)
		}
	}
	if len(committed) == 0 {
		t.Fatal("no generated file found")
	}
	if out, err := exec.Command("make", "-C", to, "generate").CombinedOutput(); err != nil {
		t.Fatalf("make generate: %v\n%s", err, out)
	}
	again, err := Load(to)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range again.Files {
		if !generated(f) {
			continue
		}
		switch data, ok := committed[f.Path]; {
		case !ok:
			t.Errorf("%s: make generate writes it, but it is not in the tree", f.Path)
		case !bytes.Equal(data, f.Data):
			t.Errorf("%s: make generate writes something else", f.Path)
		}
		delete(committed, f.Path)
	}
	for name := range committed {
		t.Errorf("%s: nothing generates it", name)
	}
}

// copyFile copies a file of the tree with its mode.
func copyFile(t *testing.T, from, to string, f *File) {
	t.Helper()
	info, err := os.Stat(filepath.Join(from, f.Path))
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(to, f.Path)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, f.Data, info.Mode()); err != nil {
		t.Fatal(err)
	}
}
