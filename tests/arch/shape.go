// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"bytes"
	"fmt"
	"go/ast"
	"path"
	"strings"
)

const (
	maxFileLines     = 700
	maxFunctionLines = 80
)

// fileLengths checks that every hand-written source file has one subject.
func fileLengths(t *Tree) []string {
	var found []string
	for _, f := range t.Files {
		if !source(f) || f.Generated {
			continue
		}
		if n := bytes.Count(f.Data, []byte("\n")); n > maxFileLines {
			found = append(found, fmt.Sprintf("%s: %d lines, at most %d", f.Path, n, maxFileLines))
		}
	}
	return found
}

// functionLengths checks that a function can be read at one sight. Tests are
// left out: a table of cases is as long as its cases.
func functionLengths(t *Tree) []string {
	var found []string
	for _, f := range t.Files {
		switch {
		case f.Test() || f.Generated:
		case f.AST != nil:
			found = append(found, goFunctions(f)...)
		case path.Ext(f.Path) == ".c" || path.Ext(f.Path) == ".h":
			found = append(found, cFunctions(f)...)
		}
	}
	return found
}

func goFunctions(f *File) []string {
	var found []string
	for _, d := range f.AST.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if n := f.lines(fn); n > maxFunctionLines {
			found = append(found, f.at(fn, "%s has %d lines, at most %d", fn.Name.Name, n, maxFunctionLines))
		}
	}
	return found
}

// cFunctions relies on .clang-format: the braces of a function, and no others,
// stand alone in the first column.
func cFunctions(f *File) []string {
	var found []string
	line, open := 0, 0
	for text := range strings.Lines(string(f.Data)) {
		line++
		switch strings.TrimRight(text, "\n") {
		case "{":
			open = line
		case "}":
			if open > 0 && line-open > maxFunctionLines {
				found = append(found, fmt.Sprintf("%s:%d: function has %d lines, at most %d",
					f.Path, open, line-open, maxFunctionLines))
			}
			open = 0
		}
	}
	return found
}
