// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// Tree is a source tree, parsed.
type Tree struct {
	// Root is the absolute path of the tree, or empty for one in memory.
	Root  string
	Files []*File

	fset *token.FileSet
}

// File is one file of a Tree.
type File struct {
	// Path is relative to the root, with forward slashes.
	Path string
	Data []byte
	// AST is nil unless the file is Go.
	AST *ast.File
	// Generated says that the file carries Go's mark of generated code.
	Generated bool

	fset *token.FileSet
}

// skipDirs are never part of the source: version control, build results,
// caches, and inputs of tests that may be anything.
var skipDirs = map[string]bool{
	".git": true, ".cache": true, "bin": true, "node_modules": true, "testdata": true,
}

// Load reads and parses the tree at root.
func Load(root string) (*Tree, error) {
	t := &Tree{Root: root, fset: token.NewFileSet()}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != root && skipDirs[d.Name()] {
			return filepath.SkipDir
		}
		if !d.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		return t.add(filepath.ToSlash(rel), data)
	})
	if err != nil {
		return nil, fmt.Errorf("load the source tree: %w", err)
	}
	return t, nil
}

// NewTree makes a Tree of sources in memory, by path.
func NewTree(sources map[string]string) (*Tree, error) {
	t := &Tree{fset: token.NewFileSet()}
	for name, data := range sources {
		if err := t.add(name, []byte(data)); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *Tree) add(name string, data []byte) error {
	f := &File{Path: name, Data: data, fset: t.fset}
	if strings.HasSuffix(name, ".go") {
		parsed, err := parser.ParseFile(t.fset, name, data, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("parse %s: %w", name, err)
		}
		f.AST = parsed
		f.Generated = ast.IsGenerated(parsed)
	}
	t.Files = append(t.Files, f)
	return nil
}

// Dir is the folder of the file, relative to the root.
func (f *File) Dir() string { return path.Dir(f.Path) }

// Test reports whether the file is built for tests only.
func (f *File) Test() bool { return strings.HasSuffix(f.Path, "_test.go") }

// Main reports whether the file belongs to a command.
func (f *File) Main() bool { return f.AST != nil && f.AST.Name.Name == "main" }

// Product reports whether the file is hand-written Go that ships.
func (f *File) Product() bool {
	return f.AST != nil && !f.Test() && !f.Generated && !within(f.Path, "tests/...")
}

// Text reports whether the file is text.
func (f *File) Text() bool { return !bytes.ContainsRune(f.Data, 0) }

// at words a finding at a node.
func (f *File) at(n ast.Node, format string, args ...any) string {
	pos := f.fset.Position(n.Pos())
	return fmt.Sprintf("%s:%d: %s", f.Path, pos.Line, fmt.Sprintf(format, args...))
}

// lines is how many lines a node takes.
func (f *File) lines(n ast.Node) int {
	return f.fset.Position(n.End()).Line - f.fset.Position(n.Pos()).Line + 1
}

// imports calls yield for every import of the file with its path.
func (f *File) imports(yield func(spec *ast.ImportSpec, importPath string)) {
	for _, spec := range f.AST.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			yield(spec, p)
		}
	}
}

// importName is the name by which the file knows an imported package, or ""
// if it does not import it.
func (f *File) importName(importPath string) string {
	name := ""
	f.imports(func(spec *ast.ImportSpec, p string) {
		switch {
		case p != importPath:
		case spec.Name != nil:
			name = spec.Name.Name
		default:
			name = path.Base(p)
		}
	})
	return name
}

// calls calls yield for every use of a function of an imported package.
func (f *File) calls(importPath string, yield func(n ast.Node, name string)) {
	local := f.importName(importPath)
	if local == "" {
		return
	}
	ast.Inspect(f.AST, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if id, ok := sel.X.(*ast.Ident); ok && id.Name == local {
			yield(sel, sel.Sel.Name)
		}
		return true
	})
}

// within reports whether a path matches a pattern: the path itself, or with
// "/..." at the end everything below it too.
func within(p string, patterns ...string) bool {
	for _, pattern := range patterns {
		prefix, below := strings.CutSuffix(pattern, "/...")
		if p == prefix || below && strings.HasPrefix(p, prefix+"/") {
			return true
		}
	}
	return false
}
