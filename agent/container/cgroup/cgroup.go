// SPDX-License-Identifier: Apache-2.0

// Package cgroup reads the cgroup2 hierarchy: where it is mounted, which directories it has and which of them a process
// is in. The id of a cgroup is the inode number of its directory (kernfs gives inode and cgroup id the same 64-bit
// number on 64-bit kernels).
//
// It works with the unified hierarchy (/sys/fs/cgroup) and with hybrid setups, where v1 controllers stand beside a
// cgroup2 mount of their own (/sys/fs/cgroup/unified). It owns no goroutines and writes nothing.
package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/container"
)

// Bounds of a walk. A container with a delegated cgroup can make directories as it likes.
const (
	maxDirectories = 100_000
	maxDepth       = 64
)

// ErrNoCgroup2 says that no cgroup2 hierarchy is mounted.
var ErrNoCgroup2 = errors.New(
	"no cgroup2 mount found: mount one (mount -t cgroup2 none /sys/fs/cgroup/unified) or name it in the configuration")

// errTooMany ends a walk that has seen enough.
var errTooMany = fmt.Errorf("more than %d cgroups", maxDirectories)

// Tree is a mounted cgroup2 hierarchy.
type Tree struct {
	root string
}

// Open takes the cgroup2 hierarchy mounted at root, or finds it in /proc/self/mountinfo if root is empty.
func Open(root string) (*Tree, error) {
	if root == "" {
		f, err := os.Open("/proc/self/mountinfo")
		if err != nil {
			return nil, fmt.Errorf("find the cgroup2 mount: %w", err)
		}
		defer f.Close()
		if root, err = findMount(f); err != nil {
			return nil, err
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err != nil {
		return nil, fmt.Errorf("open cgroup2 hierarchy at %s: %w", root, err)
	}
	if st.Type != unix.CGROUP2_SUPER_MAGIC {
		return nil, fmt.Errorf("open cgroup2 hierarchy at %s: another file system is mounted there (type %#x)", root, st.Type)
	}
	return &Tree{root: filepath.Clean(root)}, nil
}

// Root is the directory of the hierarchy's root.
func (t *Tree) Root() string { return t.root }

// Walk lists every cgroup, parents before children, the root with an empty name and no parent. Cgroups that vanish while
// it runs are left out. With an error it returns what it had found.
func (t *Tree) Walk(ctx context.Context) ([]container.Birth, error) {
	w := &walk{ctx: ctx}
	id, at, err := stat(t.root)
	if err != nil {
		return nil, fmt.Errorf("walk cgroups: %w", err)
	}
	w.births = append(w.births, container.Birth{Cgroup: id, At: at})
	if err := w.children(t.root, id, 0); err != nil {
		return w.births, fmt.Errorf("walk cgroups: %w", err)
	}
	return w.births, nil
}

// walk is the state of one Walk.
type walk struct {
	ctx    context.Context
	births []container.Birth
}

func (w *walk) children(dir string, parent uint64, depth int) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if depth == maxDepth {
		return fmt.Errorf("%s is more than %d levels deep", dir, maxDepth)
	}
	entries, err := os.ReadDir(dir)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		sub := filepath.Join(dir, e.Name())
		id, at, err := stat(sub)
		if gone(err) {
			continue
		}
		if err != nil {
			return err
		}
		if len(w.births) == maxDirectories {
			return errTooMany
		}
		w.births = append(w.births, container.Birth{Cgroup: id, Parent: parent, Name: e.Name(), At: at})
		if err := w.children(sub, id, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// stat returns the cgroup id of a directory and when the kernel made its inode.
func stat(dir string) (id uint64, at time.Time, err error) {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return 0, time.Time{}, &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	return st.Ino, time.Unix(st.Ctim.Unix()), nil
}

// gone reports whether a cgroup was removed while it was being read: the lookup or the read then fails so.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
}

// ID returns the id of the cgroup at a path below the root.
func (t *Tree) ID(path string) (uint64, error) {
	id, _, err := stat(filepath.Join(t.root, filepath.Join("/", path)))
	if err != nil {
		return 0, fmt.Errorf("read cgroup id: %w", err)
	}
	return id, nil
}

// PathOf returns the path of the cgroup that a process is in, as /proc shows it to the caller: relative to the caller's
// own cgroup namespace.
func PathOf(pid uint32) (string, error) {
	name := "/proc/" + strconv.FormatUint(uint64(pid), 10) + "/cgroup"
	data, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("read cgroup of process %d: %w", pid, err)
	}
	return parsePath(string(data), name)
}

// parsePath finds the line of the cgroup2 hierarchy, which is always number 0 and names no controller.
func parsePath(data, name string) (string, error) {
	for line := range strings.Lines(data) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			path = strings.TrimSuffix(path, "\n")
			return strings.TrimSuffix(path, " (deleted)"), nil
		}
	}
	return "", fmt.Errorf("%s has no line for cgroup2 (0::)", name)
}
