// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

const (
	ourLicence = "Apache-2.0"
	bpfLicence = "GPL-2.0-only OR BSD-2-Clause"
)

// code are the endings and names of files that hold code.
var code = map[string]bool{
	".go": true, ".c": true, ".h": true, ".proto": true, ".sh": true, ".sql": true,
	".ts": true, ".tsx": true, ".js": true, ".css": true,
	"Makefile": true, "Vagrantfile": true, "Dockerfile": true,
}

// source reports whether the file is code, scripts without an ending included.
func source(f *File) bool {
	return code[path.Ext(f.Path)] || code[path.Base(f.Path)] || bytes.HasPrefix(f.Data, []byte("#!"))
}

// licences checks that every source file names its licence in its first two
// lines: the kernel's for what is loaded into it, ours for the rest.
func licences(t *Tree) []string {
	var found []string
	for _, f := range t.Files {
		if !source(f) || f.Generated {
			continue
		}
		want := ourLicence
		if ext := path.Ext(f.Path); within(f.Path, "bpf/...") && (ext == ".c" || ext == ".h") {
			want = bpfLicence
		}
		if licence(f.Data) != want {
			found = append(found, fmt.Sprintf("%s: the first two lines lack 'SPDX-License-Identifier: %s'", f.Path, want))
		}
	}
	return found
}

// licence is what the first two lines of a file name as its licence.
func licence(data []byte) string {
	for i, line := range strings.SplitN(string(data), "\n", 3) {
		if _, id, ok := strings.Cut(line, "SPDX-License-Identifier: "); ok && i < 2 {
			return strings.TrimSpace(strings.TrimSuffix(id, "*/"))
		}
	}
	return ""
}

// ownPaths checks that no file, compiled objects included, knows where on
// somebody's machine it was made.
func ownPaths(t *Tree) []string {
	home, err := os.UserHomeDir()
	if err != nil || t.Root == "" {
		return nil
	}
	return naming(t, t.Root+"/", filepath.Dir(t.Root)+"/", filepath.Join(home, "go")+"/")
}

// naming finds the files that hold one of the folders, other than folders that
// every machine has.
func naming(t *Tree, folders ...string) []string {
	var found []string
	for _, f := range t.Files {
		for _, folder := range folders {
			if strings.Count(folder, "/") < 2 || everywhere[folder] {
				continue
			}
			if names(f.Data, folder) {
				found = append(found, fmt.Sprintf("%s: names %s, a folder of this machine", f.Path, folder))
				break
			}
		}
	}
	return found
}

// names reports whether data holds the path of a folder, from the root on.
func names(data []byte, folder string) bool {
	for {
		i := bytes.Index(data, []byte(folder))
		if i < 0 {
			return false
		}
		if i == 0 || !pathByte(data[i-1]) {
			return true
		}
		data = data[i+len(folder):]
	}
}

// pathByte reports whether a byte before a slash makes it the middle of a path.
func pathByte(b byte) bool {
	return b == '.' || b == '-' || b == '_' || b == '}' || b == ')' || b == '%' ||
		'0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
}

// everywhere are folders that say nothing about a machine.
var everywhere = map[string]bool{
	"/home/": true, "/root/": true, "/tmp/": true, "/usr/src/": true, "/srv/": true, "/var/tmp/": true, "/opt/": true,
	"/mnt/": true, "/go/src/": true, "//": true,
}

// target is the first line of a rule of the Makefile for a target to call.
var target = regexp.MustCompile(`^([a-z][a-z-]*):([^=].*)?$`)

// makeHelp checks that every target of the Makefile says what it does, and is
// declared to be no file.
func makeHelp(t *Tree) []string {
	var found []string
	for _, f := range t.Files {
		if f.Path != "Makefile" {
			continue
		}
		phony := make(map[string]bool)
		for line := range strings.Lines(string(f.Data)) {
			if names, ok := strings.CutPrefix(line, ".PHONY:"); ok {
				for _, name := range strings.Fields(names) {
					phony[name] = true
				}
			}
		}
		for line := range strings.Lines(string(f.Data)) {
			m := target.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
			if m == nil {
				continue
			}
			if !strings.Contains(m[2], "## ") {
				found = append(found, fmt.Sprintf("Makefile: target %s has no '## ' line", m[1]))
			}
			if !phony[m[1]] {
				found = append(found, fmt.Sprintf("Makefile: target %s is not in .PHONY", m[1]))
			}
		}
	}
	return found
}

// link is a Markdown link to a file of the tree.
var link = regexp.MustCompile(`\]\(([^)#:\s]+)(#[^)]*)?\)`)

// links checks that what the documentation points to is there.
func links(t *Tree) []string {
	known := make(map[string]bool)
	for _, f := range t.Files {
		for p := f.Path; p != "."; p = path.Dir(p) {
			known[p] = true
		}
	}
	var found []string
	for _, f := range t.Files {
		if path.Ext(f.Path) != ".md" {
			continue
		}
		for _, m := range link.FindAllStringSubmatch(string(f.Data), -1) {
			if p := path.Join(f.Dir(), m[1]); !known[p] {
				found = append(found, fmt.Sprintf("%s: links to %s, which is not there", f.Path, m[1]))
			}
		}
	}
	return found
}
