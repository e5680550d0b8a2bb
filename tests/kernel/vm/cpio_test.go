// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestCopyRefuses checks that what a machine cannot be given is an error.
func TestCopyRefuses(t *testing.T) {
	for _, from := range []string{"/dev/null", filepath.Join(t.TempDir(), "none")} {
		if err := newArchive(&bytes.Buffer{}).copy(from, "/x"); err == nil {
			t.Errorf("%s: no error", from)
		}
	}
}

// TestArchive writes an archive with everything that one may hold and lets the
// kernel of a machine unpack it.
func TestArchive(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := writeFile(filepath.Join(folder, "tree/a/b"), []byte("four"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a/b", filepath.Join(folder, "tree/link")); err != nil {
		t.Fatal(err)
	}
	machine := shell(t, `cd /placed; stat -c '%n %a %u %s' a a/b; readlink link; cat link; echo; cat "/a file"; echo "$TEXT"`, 2*time.Minute)
	machine.Payload.Files = []File{{From: filepath.Join(folder, "tree"), To: "/placed"}, {From: filepath.Join(folder, "tree/link"), To: "/a file"}}
	machine.Payload.Env = []string{"TEXT=it's $HOME"}
	var printed bytes.Buffer
	machine.Output = &printed
	if _, err := Boot(t.Context(), machine); err != nil {
		t.Fatal(err)
	}
	want := "a 755 0 60\na/b 640 0 4\na/b\nfour\nfourit's $HOME\n"
	if !strings.Contains(printed.String(), want) {
		t.Errorf("printed %q, want %q in it", printed.String(), want)
	}
}

// TestQuote checks the words of the machine's script with a shell.
func TestQuote(t *testing.T) {
	for _, text := range []string{"", "a b", "it's", "$HOME `id` \\ \"x\"", "two\nlines", "''"} {
		got, err := exec.Command("sh", "-c", "printf %s "+quote(text)).Output()
		if err != nil || string(got) != text {
			t.Errorf("%q: %q, error %v", text, got, err)
		}
	}
}
