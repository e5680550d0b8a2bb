// SPDX-License-Identifier: Apache-2.0

package learn

import (
	"bytes"

	"github.com/holdfast-project/holdfast/rules/profile"
)

// files are the templates of a process, by kind in the order in which the kernel programs try them, and by what is
// compared.
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

// find gives the first template that stands for a path, as the kernel programs do; nil when none does. The shape of the
// path is put into a buffer, which is given back. It allocates nothing if the buffer has room for the path.
func (f *files) find(path, buffer []byte) (*file, []byte) {
	folder := path[:max(bytes.LastIndexByte(path, '/'), 0)]
	if x := f.kinds[profile.KindExact][string(path)]; x != nil {
		return x, buffer
	}
	if kind := f.kinds[profile.KindShaped]; len(kind) > 0 {
		buffer = profile.AppendShape(buffer[:0], path)
		if x := kind[string(buffer)]; x != nil {
			return x, buffer
		}
	}
	if x := f.kinds[profile.KindFolder][string(folder)]; x != nil {
		return x, buffer
	}
	if kind := f.kinds[profile.KindShapedFolder]; len(kind) > 0 {
		buffer = profile.AppendShape(buffer[:0], folder)
		if x := kind[string(buffer)]; x != nil {
			return x, buffer
		}
	}
	if kind := f.kinds[profile.KindTree]; len(kind) > 0 {
		for end := len(folder) + 1; end > 0; end = bytes.LastIndexByte(path[:end-1], '/') + 1 {
			if x := kind[string(path[:end])]; x != nil {
				return x, buffer
			}
		}
	}
	return nil, buffer
}

// add enters a template.
func (f *files) add(t profile.Template, access profile.Access, m mark) *file {
	x := &file{template: t, access: access, mark: m}
	if f.kinds[t.Kind] == nil {
		f.kinds[t.Kind] = map[string]*file{}
	}
	f.kinds[t.Kind][string(t.Raw)] = x
	return x
}
