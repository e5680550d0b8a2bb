// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"fmt"
	"go/ast"
	"path"
	"regexp"
	"slices"
)

const dependencyTable = "docs/dependencies.md"

var (
	// required is a line of go.mod: a module and its version.
	required = regexp.MustCompile(`(?m)^\t?(?:require )?([a-z0-9.]+\.[a-z]+/\S+) (v\S+)`)
	// row is the beginning of a row of the table.
	row = regexp.MustCompile("(?m)^\\| `([a-z0-9.]+\\.[a-z]+/[^`]+)` \\| (v\\S+) \\|")
)

// modules checks that docs/dependencies.md accounts for every module that the
// code imports, and that its versions are the ones that go.mod names. Folders
// with a go.mod of their own are other modules.
func modules(t *Tree) []string {
	versions := pairs(t, "go.mod", required)
	rows := pairs(t, dependencyTable, row)
	used := make(map[string]bool)
	others := otherModules(t)
	for _, f := range t.Files {
		if f.AST == nil || within(f.Path, others...) {
			continue
		}
		f.imports(func(_ *ast.ImportSpec, importPath string) {
			if m := moduleOf(importPath, versions); m != "" {
				used[m] = true
			}
		})
	}
	var found []string
	for m := range used {
		if rows[m] == "" {
			found = append(found, fmt.Sprintf("%s: no row for %s %s", dependencyTable, m, versions[m]))
		}
	}
	for m, v := range rows {
		if v != versions[m] {
			found = append(found, fmt.Sprintf("%s: %s %s: go.mod has %q", dependencyTable, m, v, versions[m]))
		}
	}
	slices.Sort(found)
	return found
}

// otherModules are the patterns of the folders that have a go.mod of their own.
func otherModules(t *Tree) []string {
	var patterns []string
	for _, f := range t.Files {
		if path.Base(f.Path) == "go.mod" && f.Dir() != "." {
			patterns = append(patterns, f.Dir()+"/...")
		}
	}
	return patterns
}

// pairs are the first two groups of every match in a file of the tree.
func pairs(t *Tree, name string, re *regexp.Regexp) map[string]string {
	found := make(map[string]string)
	for _, f := range t.Files {
		if f.Path != name {
			continue
		}
		for _, m := range re.FindAllStringSubmatch(string(f.Data), -1) {
			found[m[1]] = m[2]
		}
	}
	return found
}

// moduleOf is the module that a package belongs to: the longest that is a
// prefix of its path, or "".
func moduleOf(importPath string, versions map[string]string) string {
	longest := ""
	for m := range versions {
		if within(importPath, m+"/...") && len(m) > len(longest) {
			longest = m
		}
	}
	return longest
}
