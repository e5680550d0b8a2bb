// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// HostBinaries returns the files that the named programs or libraries of this
// machine need to run in an image with a merged /usr, such as [BaseLayer]:
// themselves, their shared libraries and the dynamic loader, at the paths that
// they have here. Programs are given by absolute path; symbolic links on the
// way are kept as links.
func HostBinaries(programs ...string) ([]File, error) {
	dirs, err := libraryDirs()
	if err != nil {
		return nil, err
	}
	c := closure{dirs: dirs, files: map[string]File{}}
	for _, program := range programs {
		if err := c.add(program, nil); err != nil {
			return nil, fmt.Errorf("collect %s: %w", program, err)
		}
	}
	var files []File
	for _, name := range slices.Sorted(maps.Keys(c.files)) {
		files = append(files, c.files[name])
	}
	return files, nil
}

// closure collects files and what they need.
type closure struct {
	// dirs are searched for libraries, in this order.
	dirs  []string
	files map[string]File
}

// add takes up one ELF file and its libraries. runpath are the search
// directories inherited from the program's DT_RPATH.
func (c *closure) add(name string, rpath []string) error {
	name, known, err := c.link(name)
	if err != nil || known {
		return err
	}
	f, err := elf.Open(name)
	if errors.As(err, new(*elf.FormatError)) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		// A script or data file, however short, has no libraries.
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		loader := make([]byte, p.Filesz)
		if _, err := p.ReadAt(loader, 0); err != nil {
			return fmt.Errorf("read loader's name: %w", err)
		}
		if err := c.add(strings.TrimRight(string(loader), "\x00"), nil); err != nil {
			return err
		}
	}
	needed, err := f.ImportedLibraries()
	if errors.Is(err, elf.ErrNoSymbols) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read needed libraries: %w", err)
	}
	search := append(origins(f, elf.DT_RPATH, name), rpath...)
	own := origins(f, elf.DT_RUNPATH, name)
	for _, library := range needed {
		found, err := c.find(library, f.Class, f.Machine, slices.Concat(search, own, c.dirs))
		if err != nil {
			return err
		}
		if err := c.add(found, search); err != nil {
			return fmt.Errorf("%s: %w", library, err)
		}
	}
	return nil
}

// link takes up the file and, where its name is a symbolic link, the link to
// it. It returns the file's real path and whether it was known before.
func (c *closure) link(name string) (real string, known bool, err error) {
	real, err = filepath.EvalSymlinks(name)
	if err != nil {
		return "", false, err
	}
	// /lib and its like are links in the base layer, so only the last
	// element of the name can be one that is missing there.
	dir, err := filepath.EvalSymlinks(filepath.Dir(name))
	if err != nil {
		return "", false, err
	}
	if alias := filepath.Join(dir, filepath.Base(name)); alias != real {
		c.files[alias] = File{Path: alias, Mode: fs.ModeSymlink | 0o777, Link: real}
	}
	if _, known = c.files[real]; known {
		return real, true, nil
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", false, err
	}
	c.files[real] = File{Path: real, Mode: info.Mode(), Source: real}
	return real, false, nil
}

// find looks a library up as ld.so(8) does, for the same kind of machine.
func (c *closure) find(library string, class elf.Class, machine elf.Machine, dirs []string) (string, error) {
	if strings.Contains(library, "/") {
		return library, nil
	}
	for _, dir := range dirs {
		name := filepath.Join(dir, library)
		f, err := elf.Open(name)
		if err != nil {
			continue
		}
		fits := f.Class == class && f.Machine == machine
		f.Close()
		if fits {
			return name, nil
		}
	}
	return "", fmt.Errorf("library %s is in none of %s", library, strings.Join(dirs, " "))
}

// origins reads a search path from the dynamic section of the file called
// name.
func origins(f *elf.File, tag elf.DynTag, name string) []string {
	// A file without a dynamic section has no search path.
	values, _ := f.DynString(tag)
	var dirs []string
	for _, value := range values {
		for dir := range strings.SplitSeq(value, ":") {
			dir = strings.NewReplacer("$ORIGIN", filepath.Dir(name), "${ORIGIN}", filepath.Dir(name)).Replace(dir)
			if filepath.IsAbs(dir) {
				dirs = append(dirs, filepath.Clean(dir))
			}
		}
	}
	return dirs
}

// libraryDirs returns the directories of ld.so.conf, followed by the loader's
// built-in ones.
func libraryDirs() ([]string, error) {
	configured, err := readLoaderConfig("/etc/ld.so.conf", 0)
	if err != nil {
		return nil, fmt.Errorf("find library directories: %w", err)
	}
	return append(configured, "/lib", "/usr/lib", "/lib64", "/usr/lib64"), nil
}

// readLoaderConfig reads one file in the format of ld.so.conf and those that
// it includes. A file that is not there is empty.
func readLoaderConfig(name string, depth int) ([]string, error) {
	if depth > 8 {
		return nil, fmt.Errorf("%s: included too deeply", name)
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var dirs []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		switch {
		case len(fields) == 1 && filepath.IsAbs(fields[0]):
			dirs = append(dirs, fields[0])
		case len(fields) == 2 && fields[0] == "include":
			pattern := fields[1]
			if !filepath.IsAbs(pattern) {
				pattern = filepath.Join(filepath.Dir(name), pattern)
			}
			included, err := filepath.Glob(pattern)
			if err != nil {
				return nil, fmt.Errorf("%s: include %s: %w", name, pattern, err)
			}
			for _, other := range included {
				more, err := readLoaderConfig(other, depth+1)
				if err != nil {
					return nil, err
				}
				dirs = append(dirs, more...)
			}
		}
	}
	return dirs, lines.Err()
}
