// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"go/ast"
	"strings"
)

// exits ends the process or unwinds it: for main alone, since a library that
// does so takes the decision from its caller.
func exits(t *Tree) []string {
	var found []string
	for _, f := range t.Files {
		if !f.Product() || f.Main() {
			continue
		}
		f.calls("log", func(n ast.Node, name string) {
			if strings.HasPrefix(name, "Fatal") || strings.HasPrefix(name, "Panic") {
				found = append(found, f.at(n, "log.%s outside main: return an error", name))
			}
		})
		f.calls("os", func(n ast.Node, name string) {
			if name == "Exit" {
				found = append(found, f.at(n, "os.Exit outside main: return an error"))
			}
		})
		ast.Inspect(f.AST, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if id, ok := call.Fun.(*ast.Ident); ok && id.Name == "panic" {
				found = append(found, f.at(call, "panic outside main: return an error"))
			}
			return true
		})
	}
	return found
}

// contexts checks that contexts come from main, so that everything stops when
// main says so.
func contexts(t *Tree) []string {
	var found []string
	for _, f := range t.Files {
		if !f.Product() || f.Main() {
			continue
		}
		f.calls("context", func(n ast.Node, name string) {
			switch name {
			case "Background", "TO" + "DO":
				found = append(found, f.at(n, "context.%s outside main: take a context from the caller", name))
			}
		})
	}
	return found
}

// sleeps checks that product code waits for conditions, not for time.
func sleeps(t *Tree) []string {
	var found []string
	for _, f := range t.Files {
		if !f.Product() {
			continue
		}
		f.calls("time", func(n ast.Node, name string) {
			if name == "Sleep" {
				found = append(found, f.at(n, "time.Sleep in product code: wait with a timer and the context"))
			}
		})
	}
	return found
}

// inits checks that nothing happens because a package was imported.
func inits(t *Tree) []string {
	var found []string
	for _, f := range t.Files {
		if !f.Product() {
			continue
		}
		for _, d := range f.AST.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				found = append(found, f.at(fn, "func init: let the composition root call it"))
			}
		}
	}
	return found
}
