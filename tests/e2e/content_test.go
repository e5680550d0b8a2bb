// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// postProgram is a program for Python that makes so many numbers that pass the check of payment cards, posts them to an
// address, whoever answers there, and prints them: nothing but what is sent has them.
const postProgram = `import ssl, sys, urllib.request
def card(n):
    digits = "453212%09d" % (700100 + 37 * n)
    total = 0
    for i, d in enumerate(reversed(digits)):
        d = int(d) * (2 if i % 2 == 0 else 1)
        total += d - 9 if d > 9 else d
    return digits + str((10 - total % 10) % 10)
cards = [card(n) for n in range(int(sys.argv[2]))]
body = "".join("card %s\n" % c for c in cards).encode()
context = ssl._create_unverified_context()
answer = urllib.request.urlopen(urllib.request.Request(sys.argv[1], data=body), context=context).read().decode()
print(answer, *cards)`

// sendCards has a container send card numbers until there is an alert that was found in that source, and gives it with the
// numbers.
func sendCards(t *testing.T, r *rig.Rig, c *lab.Container, url, source string) (told *view.Alert, numbers []string) {
	t.Helper()
	err := wait.For(t.Context(), time.Minute, func() error {
		// Programs have their probes soon after they begin; the first may be quicker.
		got, err := c.Exec(t.Context(), "python3", "-c", postProgram, url, "12")
		words := strings.Fields(got.Stdout)
		if err != nil || len(words) != 13 || words[0] != "taken" {
			t.Fatalf("%v: %+v", err, got)
		}
		numbers = words[1:]
		alerts, err := r.Alerts(t.Context(), "--rule", "Sensitive data sent")
		if err != nil {
			return err
		}
		at := slices.IndexFunc(alerts, func(a view.Alert) bool { return a.Finding != nil && a.Finding.Source == source })
		if at < 0 {
			return fmt.Errorf("none of %d alerts is of %s", len(alerts), source)
		}
		told = &alerts[at]
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return told, numbers
}

// holdsNone checks that no file below a directory holds one of the words.
func holdsNone(t *testing.T, dir string, words []string) {
	t.Helper()
	for _, word := range words {
		for _, path := range holders(t, dir, word) {
			t.Errorf("%s holds %s", path, word)
		}
	}
}

// holders are the files below a directory that hold a word.
func holders(t *testing.T, dir, word string) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte(word)) {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}
