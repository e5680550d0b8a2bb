// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"slices"
	"strings"
)

// packageDocs checks that every package opens with what it is.
func packageDocs(t *Tree) []string {
	documented := make(map[string]bool)
	for _, f := range t.Files {
		if f.AST == nil || f.Test() {
			continue
		}
		documented[f.Dir()] = documented[f.Dir()] || f.AST.Doc != nil
	}
	var found []string
	for dir, ok := range documented {
		if !ok {
			found = append(found, fmt.Sprintf("%s: package without a doc comment", dir))
		}
	}
	slices.Sort(found)
	return found
}

// architecture is the page that says what every package is for.
const architecture = "docs/architecture.md"

// listedPackages checks that the page has every package of agent and collector by its name, and those of rules by their paths.
// What is below a package belongs to it.
func listedPackages(t *Tree) []string {
	var page string
	missing := map[string]string{}
	for _, f := range t.Files {
		if f.Path == architecture {
			page = string(f.Data)
		}
		side, rest, _ := strings.Cut(f.Dir(), "/")
		name, _, _ := strings.Cut(rest, "/")
		switch {
		case f.AST == nil || f.Test() || name == "" || name == "cmd":
		case side == "agent" || side == "collector":
			missing[side+"/"+name] = "`" + name + "`"
		case side == "rules":
			missing[side+"/"+name] = "`" + side + "/" + name + "`"
		}
	}
	maps.DeleteFunc(missing, func(_, quoted string) bool { return strings.Contains(page, quoted) })
	var found []string
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		found = append(found, fmt.Sprintf("%s: %s has no %s", name, architecture, missing[name]))
	}
	return found
}

// exportedDocs checks that every exported name says what it is. A comment over
// a group of constants or variables speaks for all of the group.
func exportedDocs(t *Tree) []string {
	var found []string
	for _, f := range t.Files {
		if f.AST == nil || f.Test() || f.Generated || f.Main() {
			continue
		}
		for _, d := range f.AST.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if exportedFunc(d) && d.Doc == nil {
					found = append(found, f.at(d, "%s is exported and not documented", d.Name.Name))
				}
			case *ast.GenDecl:
				for _, id := range undocumented(d) {
					found = append(found, f.at(id, "%s is exported and not documented", id.Name))
				}
			}
		}
	}
	return found
}

// exportedFunc reports whether others can name the function, or the method
// through its receiver.
func exportedFunc(d *ast.FuncDecl) bool {
	if !d.Name.IsExported() {
		return false
	}
	if d.Recv == nil {
		return true
	}
	receiver := d.Recv.List[0].Type
	for {
		switch x := receiver.(type) {
		case *ast.StarExpr:
			receiver = x.X
		case *ast.IndexExpr:
			receiver = x.X
		case *ast.IndexListExpr:
			receiver = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}

// undocumented are the exported names of a declaration that no comment covers.
func undocumented(d *ast.GenDecl) []*ast.Ident {
	if d.Tok == token.IMPORT || d.Doc != nil {
		return nil
	}
	var names []*ast.Ident
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			if s.Doc == nil && s.Comment == nil && s.Name.IsExported() {
				names = append(names, s.Name)
			}
		case *ast.ValueSpec:
			for _, id := range s.Names {
				if s.Doc == nil && s.Comment == nil && id.IsExported() {
					names = append(names, id)
				}
			}
		}
	}
	return names
}

// marks are the words of unfinished work. They are put together here so that
// this file does not find itself.
var marks = []string{"TO" + "DO", "FIX" + "ME", "XX" + "X:", "HA" + "CK:"}

// unfinished checks that no comment puts work off: an issue is the place.
func unfinished(t *Tree) []string {
	var found []string
	for _, f := range t.Files {
		if !source(f) || f.Generated {
			continue
		}
		n := 0
		for line := range strings.Lines(string(f.Data)) {
			n++
			for _, m := range marks {
				if i := strings.Index(line, m); i >= 0 && comment(line[:i]) {
					found = append(found, fmt.Sprintf("%s:%d: %s in the source: file an issue", f.Path, n, m))
				}
			}
		}
	}
	return found
}

// comment reports whether a comment has begun in the text before a mark.
func comment(before string) bool {
	return strings.Contains(before, "//") || strings.Contains(before, "#") || strings.Contains(before, "*") ||
		strings.Contains(before, "--")
}
