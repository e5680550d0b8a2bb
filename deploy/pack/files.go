// SPDX-License-Identifier: Apache-2.0

package pack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"time"
)

// File is a file of an archive.
type File struct {
	// Path begins with a slash.
	Path    string
	Content []byte
	// Mode has the permissions, fs.ModeDir for a folder and fs.ModeSticky.
	Mode fs.FileMode
	// Owner is the number of the user and of the group.
	Owner int
}

// FromTree makes a File of one of the source tree, below the working directory.
func FromTree(source, to string, mode fs.FileMode) (File, error) {
	content, err := os.ReadFile(source)
	if err != nil {
		return File{}, fmt.Errorf("read a file of the source tree (its top has to be the working directory): %w", err)
	}
	return File{Path: to, Content: content, Mode: mode}, nil
}

// Tar writes files as a tar archive, sorted by path and with the folders that they are in. Names begin with prefix. A
// file without a clean absolute path, and one that is there twice, is refused.
func Tar(files []File, prefix string, at time.Time) ([]byte, error) {
	all := map[string]File{}
	for _, f := range files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" {
			return nil, fmt.Errorf("archive: %q is no clean absolute path", f.Path)
		}
		if _, twice := all[f.Path]; twice {
			return nil, fmt.Errorf("archive: %s is there twice", f.Path)
		}
		all[f.Path] = f
	}
	for _, f := range files {
		for dir := path.Dir(f.Path); dir != "/"; dir = path.Dir(dir) {
			if _, known := all[dir]; !known {
				all[dir] = File{Path: dir, Mode: fs.ModeDir | 0o755}
			}
		}
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		f := all[name]
		if err := w.WriteHeader(f.header(prefix, at)); err != nil {
			return nil, fmt.Errorf("archive: %s: %w", name, err)
		}
		if _, err := w.Write(f.Content); err != nil {
			return nil, fmt.Errorf("archive: %s: %w", name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	return out.Bytes(), nil
}

func (f File) header(prefix string, at time.Time) *tar.Header {
	h := &tar.Header{
		Typeflag: tar.TypeReg, Name: prefix + f.Path[1:], Size: int64(len(f.Content)), Mode: int64(f.Mode.Perm()),
		Uid: f.Owner, Gid: f.Owner, ModTime: at, Format: tar.FormatUSTAR,
	}
	if f.Mode&fs.ModeSticky != 0 {
		h.Mode |= 0o1000
	}
	if f.Mode.IsDir() {
		h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
	}
	return h
}

// Gzip compresses text as far as it goes, without a name or a time.
func Gzip(text []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return out.Bytes(), nil
}
