// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFindCommand checks that commands are found as the kernel will, in a root with links, scripts and traps.
func TestFindCommand(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(root+name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(root+name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	link := func(name, target string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(root+name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, root+name); err != nil {
			t.Fatal(err)
		}
	}
	write("/usr/bin/dash", "\x7fELF", 0o755)
	write("/usr/bin/pg_isready", "\x7fELF", 0o755)
	write("/usr/local/bin/plain", "\x7fELF", 0o644)
	write("/usr/bin/plain", "\x7fELF", 0o755)
	write("/ready.sh", "#! /bin/sh -e \nexit 0\n", 0o755)
	write("/outer", "#!/ready.sh\n", 0o755)
	write("/self", "#!/self\n", 0o755)
	link("/bin", "usr/bin")
	link("/usr/bin/sh", "dash")
	link("/etc/alternatives/check", "/usr/bin/pg_isready")
	link("/usr/bin/check", "/etc/alternatives/check")
	link("/usr/bin/up", "../../../../../../../usr/bin/dash")
	link("/usr/bin/round", "around")
	link("/usr/bin/around", "round")
	for text, want := range map[string]string{
		"/bin/sh -c true": "/usr/bin/dash [/bin/sh -c true]",
		"sh -c true":      "/usr/bin/dash [sh -c true]",
		"check -U app":    "/usr/bin/pg_isready [check -U app]",
		"/bin/up":         "/usr/bin/dash [/bin/up]",
		// Above what a link leads to there is no such file.
		"/bin/../ready.sh": "",
		"/ready.sh now":    "/usr/bin/dash [/bin/sh -e /ready.sh now]",
		"/outer x":         "/usr/bin/dash [/bin/sh -e /ready.sh /outer x]",
		"plain":            "/usr/bin/plain [plain]",
		"/self":            "", "round": "", "/bin/round": "", "missing": "", "./ready.sh": "", "/usr": "", "": "",
	} {
		found, err := findCommand(root, defaultPath, strings.Fields(text))
		if got := fmt.Sprintf("%s %s", found.exe, found.argv); err != nil && want != "" || err == nil && got != want {
			t.Errorf("%q: %s, %v; expected %q", text, got, err, want)
		}
	}
}
