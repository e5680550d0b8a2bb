// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// bin has the programs of this machine's architecture, top is the source tree; missing says why nothing can be tested.
var (
	bin, top string
	missing  error
)

func TestMain(m *testing.M) {
	lab.RunHolder()
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getuid() != 0 {
		missing = lab.ErrNotRoot
		return m.Run()
	}
	ctx := context.Background()
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err == nil {
		top = strings.TrimSpace(string(root))
		bin, err = rig.BuildTemp(ctx)
		defer os.RemoveAll(bin)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// makeFrom runs a program of deploy/ over the programs and returns the folder that it has filled.
func makeFrom(t *testing.T, program string, args ...string) string {
	t.Helper()
	if missing != nil {
		t.Skip(missing)
	}
	out := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"run", program, "--out", out}, append(args, bin)...)...)
	cmd.Dir = top
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, text)
	}
	return out
}

// one is the file of a folder that a pattern finds.
func one(t *testing.T, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s in %s: %q (%v), want one", pattern, dir, found, err)
	}
	return found[0]
}

// await waits until a condition holds, three minutes at most; what says what is waited for when it does not come.
func await(t *testing.T, what string, condition func() (bool, string)) {
	t.Helper()
	wait.Until(t, 3*time.Minute, func() error {
		if holds, state := condition(); !holds {
			return fmt.Errorf("%s does not come: %s", what, state)
		}
		return nil
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
