// SPDX-License-Identifier: Apache-2.0

package replace_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-project/holdfast/agent/replace"
)

// TestFile replaces a file over what a crash has left aside, and keeps it where the new one cannot be written.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path+".new", []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"first", "second"} {
		if err := replace.File(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("read %q, %v", got, err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	// A folder that is not empty cannot give way.
	if err := os.MkdirAll(path+".new/x", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := replace.File(path, []byte("third")); err == nil {
		t.Error("no error")
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "second" {
		t.Errorf("after the failure: %q, %v", got, err)
	}
}
