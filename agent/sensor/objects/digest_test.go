// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestDigestHasEveryObject compares the list with the folder.
func TestDigestHasEveryObject(t *testing.T) {
	files, err := filepath.Glob("*_bpfel.o")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(all()) {
		t.Errorf("the folder has %d objects, the digest %d", len(files), len(all()))
	}
	for _, file := range files {
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, object := range all() {
			found = found || bytes.Equal(object, want)
		}
		if !found {
			t.Errorf("%s is not in the digest: name it in all", file)
		}
	}
}
