// SPDX-License-Identifier: Apache-2.0

// Package rootfs makes the root file systems of containers that tests make
// without a container runtime: from the machine's busybox and the test itself.
package rootfs

import (
	"debug/elf"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Tmpfs mounts a tmpfs with these folders, until the test ends, and gives its path.
func Tmpfs(t *testing.T, folders ...string) string {
	t.Helper()
	dir := t.TempDir()
	check(t, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	t.Cleanup(func() { check(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	for _, name := range folders {
		check(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	return dir
}

// Applets puts busybox into the folder bin of a file system, under these names too: one file with many links.
func Applets(t *testing.T, dir string, names ...string) {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	check(t, err)
	first := filepath.Join(dir, "bin/busybox")
	Copy(t, busybox, first)
	for _, name := range names {
		check(t, os.Link(first, filepath.Join(dir, "bin", name)))
	}
}

// Self puts the running test into a file system at a path, with what it is linked with.
func Self(t *testing.T, dir, path string) {
	t.Helper()
	self, err := os.Executable()
	check(t, err)
	Copy(t, self, filepath.Join(dir, path))
	for _, needed := range Needed(t, self) {
		Copy(t, needed, filepath.Join(dir, needed))
	}
}

// Copy copies a file as one that may be run, and makes the folders that it lies in.
func Copy(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	check(t, err)
	check(t, os.MkdirAll(filepath.Dir(to), 0o755))
	check(t, os.WriteFile(to, data, 0o755))
}

// Needed are the files that a program is linked with: its loader, and the C library.
func Needed(t *testing.T, path string) []string {
	t.Helper()
	file, err := elf.Open(path)
	check(t, err)
	defer file.Close()
	var paths []string
	for _, prog := range file.Progs {
		if prog.Type == elf.PT_INTERP {
			text, err := io.ReadAll(prog.Open())
			check(t, err)
			paths = append(paths, strings.TrimRight(string(text), "\x00"))
		}
	}
	libraries, err := file.ImportedLibraries()
	check(t, err)
	for _, name := range libraries {
		found, err := filepath.Glob("/lib/*-linux-gnu/" + name)
		check(t, err)
		paths = append(paths, found...)
	}
	return paths
}

// Overlay mounts an overlay of the folder lower, with the folders upper and work of another, at a third; it goes with them.
func Overlay(t *testing.T, lower, dir, root string) {
	t.Helper()
	err := unix.Mount("overlay", root, "overlay", 0, "lowerdir="+lower+",upperdir="+dir+"/upper,workdir="+dir+"/work")
	if errors.Is(err, unix.ENODEV) {
		t.Skip("unsupported: overlay needs CONFIG_OVERLAY_FS")
	}
	check(t, err)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
