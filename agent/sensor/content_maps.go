// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// mapsMost bounds what is read of a process's mappings, in bytes, and mappedMost the files of them that are looked at.
	mapsMost   = 4 << 20
	mappedMost = 512
)

// usualLibraries are where libraries of TLS are, by which programs that load them late are probed before they do.
var usualLibraries = []string{
	"/lib/*-linux-*", "/usr/lib/*-linux-*", "/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib", "/usr/local/lib64",
}

// libraryNames are the names that such libraries have.
var libraryNames = []string{"libssl.so*", "libssl3.so*", "libgnutls.so*", "libnspr4.so*", "libboringssl.so*"}

// mapped probes the files that a process has mapped for execution, and says whether one of them brings TLS that is seen, or why
// none can.
func (f *files) mapped(l look) (found bool, reason string) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/maps", l.pid))
	if err != nil {
		return false, "its mappings cannot be read: " + err.Error()
	}
	defer file.Close()
	root, err := openRoot(l.pid)
	if err != nil {
		return false, "its root cannot be opened: " + err.Error()
	}
	defer unix.Close(root)
	seen := map[string]bool{}
	lines := bufio.NewScanner(io.LimitReader(file, mapsMost))
	for lines.Scan() && len(seen) < mappedMost {
		path := executablePath(lines.Text())
		if path == "" || seen[path] {
			continue
		}
		seen[path] = true
		if filepath.Base(path) == "libjvm.so" {
			reason = "java: its TLS is in code that its virtual machine makes"
		}
		if f.within(root, path, l.container) {
			found = true
		}
	}
	return found, reason
}

// executablePath gives the file of a line of /proc/PID/maps that is mapped for execution; empty for any other. A file that is
// deleted has no path to open it by.
func executablePath(line string) string {
	fields := strings.SplitN(line, " ", 6)
	if len(fields) < 6 || len(fields[1]) != 4 || fields[1][2] != 'x' {
		return ""
	}
	path := strings.TrimLeft(fields[5], " ")
	if !strings.HasPrefix(path, "/") || strings.HasSuffix(path, " (deleted)") {
		return ""
	}
	// The kernel writes a newline in a name so.
	return strings.ReplaceAll(path, `\012`, "\n")
}

func openRoot(pid uint32) (int, error) {
	return unix.Open(fmt.Sprintf("/proc/%d/root", pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// within probes the file that a path means in a root, and says whether it brings TLS that is seen.
func (f *files) within(root int, path string, container uint64) bool {
	file, err := openIn(root, path)
	if err != nil {
		return false
	}
	defer file.Close()
	key, err := keyOf(file)
	if err != nil {
		f.refuse(file, err)
		return false
	}
	return f.file(file, key, container)
}

// openIn opens what a path means in a root, and nothing that is outside of it: neither links nor dots lead there. Only files and
// folders are opened: to open a device may be to do something.
func openIn(root int, path string) (*os.File, error) {
	fd, err := unix.Openat2(root, path, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return nil, errors.New("it is neither file nor folder")
	}
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
}

// search probes the libraries in the usual folders of a container, once, when a process is there that is in the container's own
// mounts.
func (f *files) search(l look) {
	if inHostMounts(l.pid) {
		return
	}
	root, err := openRoot(l.pid)
	if err != nil {
		return
	}
	defer unix.Close(root)
	f.searched[l.container] = true
	for _, folder := range usualLibraries {
		for _, dir := range foldersIn(root, folder) {
			for _, name := range matching(root, dir, libraryNames) {
				f.within(root, filepath.Join(dir, name), l.container)
			}
		}
	}
}

// inHostMounts reports whether a process is in the mounts of the host, as what a runtime runs before it enters the container.
func inHostMounts(pid uint32) bool {
	own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil {
		return true
	}
	host, err := os.Readlink("/proc/1/ns/mnt")
	return err == nil && own == host
}

// foldersIn gives the folders of a pattern whose last component may be one.
func foldersIn(root int, pattern string) []string {
	if !strings.Contains(pattern, "*") {
		return []string{pattern}
	}
	var list []string
	above := filepath.Dir(pattern)
	for _, name := range matching(root, above, []string{filepath.Base(pattern)}) {
		list = append(list, filepath.Join(above, name))
	}
	return list
}

// entriesMost bounds the names of a folder that are looked at.
const entriesMost = 16384

// matching gives the names in a folder of a root that match a pattern, sorted by nothing.
func matching(root int, dir string, patterns []string) []string {
	folder, err := openIn(root, dir)
	if err != nil {
		return nil
	}
	defer folder.Close()
	names, err := folder.Readdirnames(entriesMost)
	if err != nil {
		return nil
	}
	var list []string
	for _, name := range names {
		for _, pattern := range patterns {
			if ok, err := filepath.Match(pattern, name); err == nil && ok {
				list = append(list, name)
				break
			}
		}
	}
	return list
}
