// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// actMounts mounts by both sets of calls, in a mount namespace of its own.
func actMounts(s say) error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make / private: %w", err)
	}
	for _, name := range []string{"old", "bound", "new", "tree"} {
		if err := os.Mkdir(name, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("some source", "old", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=64k"); err != nil {
		return fmt.Errorf("mount tmpfs: %w", err)
	}
	if err := unix.Mount("old", "bound", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount bind: %w", err)
	}
	if err := unix.Mount("some source", "absent", "tmpfs", 0, ""); !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("mount on what is not there: %w", err)
	}
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("fsopen: %w", err)
	}
	if err := unix.FsconfigSetString(fs, "source", "by fsopen"); err != nil {
		return err
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return err
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("fsmount: %w", err)
	}
	if err := unix.MoveMount(mount, "", unix.AT_FDCWD, "new", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("move_mount: %w", err)
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, "old", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open_tree: %w", err)
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, "tree", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("move_mount of a tree: %w", err)
	}
	return nil
}

func testMounts(t *testing.T, r *rig, b *box) {
	dir := t.TempDir()
	d := b.act(t, "mounts", dir)
	var got []string
	for _, e := range r.below(t, dir, d.pid) {
		if e.Type != wire.TypeMount {
			continue
		}
		f := e.File()
		var flags wire.Flag
		if r.bySyscall() {
			flags = wire.FlagResult | wire.FlagUserText
		}
		b.checkHead(t, e, d.pid, flags, true)
		got = append(got, fmt.Sprintf("%s from %s type %s flags %#x", strings.TrimPrefix(string(e.Path()), dir+"/"),
			strings.TrimPrefix(string(e.Target()), dir+"/"), strings.TrimRight(string(f.Fstype[:]), "\x00"), f.Flags))
	}
	want := []string{
		"old from some source type tmpfs flags 0x6", "bound from old type  flags 0x1000",
		"new from by fsopen type tmpfs flags 0x0", "tree from some source type tmpfs flags 0x0",
	}
	if r.bySyscall() {
		// What was a mount of no place is by then what it was put on.
		want[2], want[3] = "new from new type tmpfs flags 0x0", "tree from tree type tmpfs flags 0x0"
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("mounts:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// actMap maps a file for reading, then for execution.
func actMap(s say) error {
	if err := os.WriteFile("library", make([]byte, 4096), 0o755); err != nil {
		return err
	}
	f, err := os.Open("library")
	if err != nil {
		return err
	}
	if err := inodes(s, "library"); err != nil {
		return err
	}
	for _, protection := range []int{unix.PROT_READ, unix.PROT_READ | unix.PROT_EXEC} {
		if _, err := unix.Mmap(int(f.Fd()), 0, 4096, protection, unix.MAP_PRIVATE); err != nil {
			return fmt.Errorf("mmap: %w", err)
		}
	}
	_, err = unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	return err
}

func testMap(t *testing.T, r *rig, b *box) {
	dir := t.TempDir()
	d := b.act(t, "map", dir)
	path := filepath.Join(dir, "library")
	e := r.one(t, "mmap", func(e *event.Event) bool { return e.Type == wire.TypeMmapExec && string(e.Path()) == path })
	var flags wire.Flag
	if r.bySyscall() {
		flags = wire.FlagResult
	}
	b.checkHead(t, e, d.pid, flags, false)
	same(t, "mmap", []pair{
		{"protection", e.File().Flags, uint32(unix.PROT_READ | unix.PROT_EXEC)},
		{"inode", int64(e.File().File.Inode), d.said["inode library"]},
	})
}
