// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// archive writes a cpio archive in the format "newc", which the kernel unpacks as
// its initial RAM file system (Documentation/driver-api/early-userspace/buffer-format).
// Everything in it belongs to root. Folders above a file are added by themselves.
type archive struct {
	to      io.Writer
	inode   uint32
	folders map[string]bool
	written int64
}

func newArchive(to io.Writer) *archive {
	return &archive{to: to, folders: map[string]bool{".": true}}
}

const (
	modeFolder = 0o040000
	modeFile   = 0o100000
	modeLink   = 0o120000
)

// file adds a file with content.
func (a *archive) file(name string, mode fs.FileMode, content []byte) error {
	return a.entry(name, modeFile|uint32(mode.Perm()), content)
}

// link adds a symbolic link.
func (a *archive) link(name, target string) error {
	return a.entry(name, modeLink|0o777, []byte(target))
}

// copy adds what is at a path of the host: a file, or a folder with all that is in
// it. Permissions are kept; devices and sockets are refused.
func (a *archive) copy(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		name := filepath.Join(to, inside)
		// Stat at the top, so that a link given by name means what it points to.
		info, err := os.Stat(path)
		if path != from {
			info, err = entry.Info()
		}
		if err != nil {
			return err
		}
		switch {
		case info.IsDir():
			return a.folder(name)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return a.link(name, target)
		case info.Mode().IsRegular():
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return a.file(name, info.Mode(), content)
		}
		return fmt.Errorf("%s: neither a file nor a folder nor a link", path)
	})
}

// folder adds a folder and those above it, once.
func (a *archive) folder(name string) error {
	name = strings.TrimPrefix(filepath.Clean("/"+name), "/")
	if name == "" || a.folders[name] {
		return nil
	}
	a.folders[name] = true
	return a.entry(name, modeFolder|0o755, nil)
}

func (a *archive) entry(name string, mode uint32, content []byte) error {
	name = strings.TrimPrefix(filepath.Clean("/"+name), "/")
	if err := a.folder(filepath.Dir("/" + name)); err != nil {
		return err
	}
	a.inode++
	return a.record(name, a.inode, mode, content)
}

// record writes a header of thirteen numbers in hexadecimal, the name and the
// content, each padded to four bytes.
func (a *archive) record(name string, inode, mode uint32, content []byte) error {
	links := 1
	_, err := fmt.Fprintf(a, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		inode, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name)+1, 0, name)
	if err != nil {
		return err
	}
	if err := a.pad(4); err != nil {
		return err
	}
	if _, err := a.Write(content); err != nil {
		return err
	}
	return a.pad(4)
}

// Write writes bytes of the archive and counts them.
func (a *archive) Write(bytes []byte) (int, error) {
	n, err := a.to.Write(bytes)
	a.written += int64(n)
	return n, err
}

func (a *archive) pad(to int64) error {
	_, err := a.Write(make([]byte, (to-a.written%to)%to))
	return err
}

// close writes the end of the archive.
func (a *archive) close() error {
	return a.record("TRAILER!!!", 0, 0, nil)
}
