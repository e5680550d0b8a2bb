// SPDX-License-Identifier: Apache-2.0

package learn

import (
	"bytes"

	"github.com/holdfast-project/holdfast/rules/profile"
)

// files are the templates of a process, by kind, the most exact first, and by what is compared.
type files struct {
	kinds [profile.KindTree + 1]map[string]*file
}

// file is a template and what may be done there.
type file struct {
	template profile.Template
	access   profile.Access
	mark
}

func (f *files) each(visit func(*file)) {
	for _, kind := range f.kinds {
		for _, x := range kind {
			visit(x)
		}
	}
}

// find adds up what the templates that stand for a path allow, as the kernel programs do, and gives the most exact of them;
// nil when there is none. The shape of the path is put into a buffer, which is given back. It allocates nothing if the
// buffer has room for the path.
func (f *files) find(path, buffer []byte) (first *file, access profile.Access, kept []byte) {
	folder := path[:max(bytes.LastIndexByte(path, '/'), 0)]
	take := func(x *file) {
		if x == nil {
			return
		}
		access |= x.access
		if first == nil {
			first = x
		}
	}
	take(f.kinds[profile.KindExact][string(path)])
	if kind := f.kinds[profile.KindShaped]; len(kind) > 0 {
		buffer = profile.AppendShape(buffer[:0], path)
		take(kind[string(buffer)])
	}
	take(f.kinds[profile.KindFolder][string(folder)])
	if kind := f.kinds[profile.KindShapedFolder]; len(kind) > 0 {
		buffer = profile.AppendShape(buffer[:0], folder)
		take(kind[string(buffer)])
	}
	if kind := f.kinds[profile.KindTree]; len(kind) > 0 {
		for end := len(folder) + 1; end > 0; end = bytes.LastIndexByte(path[:end-1], '/') + 1 {
			take(kind[string(path[:end])])
		}
	}
	return first, access, buffer
}

// get gives a template; nil when it is not there.
func (f *files) get(t profile.Template) *file { return f.kinds[t.Kind][string(t.Raw)] }

// add enters a template.
func (f *files) add(t profile.Template, access profile.Access, m mark) *file {
	x := &file{template: t, access: access, mark: m}
	if f.kinds[t.Kind] == nil {
		f.kinds[t.Kind] = map[string]*file{}
	}
	f.kinds[t.Kind][string(t.Raw)] = x
	return x
}
