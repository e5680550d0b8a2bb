// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tearDown ends and removes all of a lab but the namespaces, which end with
// their last process. It runs in the holder or, when that was killed, in the
// process that clears up after it, and returns what it could not do.
func tearDown(ctx context.Context, s spec) []string {
	if !namePattern.MatchString(s.Name) {
		return []string{fmt.Sprintf("tear down: %q is not a lab's name", s.Name)}
	}
	var left []string
	note := func(err error) {
		if err != nil {
			left = append(left, err.Error())
		}
	}
	note(killCgroup(ctx, filepath.Join(s.Hierarchies.Unified, s.Name)))
	for _, root := range s.Hierarchies.all() {
		dir := filepath.Join(root, s.Name)
		if _, err := os.Stat(dir); err == nil {
			note(removeCgroup(ctx, dir))
		}
	}
	note(unmountBelow(s.Dir))
	note(removeDir(ctx, s.Dir))
	return left
}

// unmountBelow detaches what is mounted on dir and below it in the caller's
// mount namespace, last mounted first.
func unmountBelow(dir string) error {
	mounts, err := readMounts("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	slices.Reverse(mounts)
	var errs []error
	for _, m := range mounts {
		if m.point != dir && !strings.HasPrefix(m.point, dir+"/") {
			continue
		}
		if err := unix.Unmount(m.point, unix.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", m.point, err))
		}
	}
	return errors.Join(errs...)
}

// removeDir removes the lab's directory; a killed process may still be closing
// what it wrote, so it is tried until ctx ends.
func removeDir(ctx context.Context, dir string) error {
	for {
		err := os.RemoveAll(dir)
		if err == nil {
			return nil
		}
		if pause(ctx, 10*time.Millisecond) != nil {
			return fmt.Errorf("remove the lab's directory: %w", err)
		}
	}
}

// leftovers looks, from the machine's own namespaces, for anything that is
// still there of a lab that has been torn down. nsIDs are the identities of
// its mount and network namespaces as /proc/PID/ns shows them.
func leftovers(s spec, nsIDs []string) []string {
	var left []string
	if _, err := os.Lstat(s.Dir); !errors.Is(err, fs.ErrNotExist) {
		left = append(left, "directory "+s.Dir)
	}
	for _, root := range s.Hierarchies.all() {
		dir := filepath.Join(root, s.Name)
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			left = append(left, "cgroup "+dir)
		}
	}
	mounts, err := readMounts("/proc/self/mountinfo")
	if err != nil {
		left = append(left, err.Error())
	}
	for _, m := range mounts {
		if m.point == s.Dir || strings.HasPrefix(m.point, s.Dir+"/") {
			left = append(left, "mount "+m.point)
		}
	}
	for _, pid := range processesIn(nsIDs) {
		// The name is for the reader only.
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		left = append(left, fmt.Sprintf("process %d (%s)", pid, strings.TrimSpace(string(comm))))
	}
	return left
}

// processesIn lists the processes in one of the namespaces.
func processesIn(nsIDs []string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		for _, kind := range []string{"mnt", "net"} {
			id, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
			if err == nil && slices.Contains(nsIDs, id) {
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids
}

// sweep clears up labs in base whose holder is gone, killed before it could:
// those are the ones whose lock is free.
func sweep(ctx context.Context, base string) error {
	dirs, err := filepath.Glob(filepath.Join(base, dirPrefix+"*"))
	if err != nil {
		return fmt.Errorf("look for labs left behind: %w", err)
	}
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, sweepOne(ctx, dir))
	}
	return errors.Join(errs...)
}

// sweepOne clears up one lab if nobody holds its lock.
func sweepOne(ctx context.Context, dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return nil
	}
	// What is written there is believed, so it has to be root's.
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || stat.Uid != 0 || info.Mode() != fs.ModeDir|0o700 {
		return nil
	}
	lock, err := os.Open(paths{dir}.lock())
	if err != nil {
		// Not set up yet, or just being removed.
		return nil
	}
	defer lock.Close()
	if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return nil
	}
	data, err := os.ReadFile(paths{dir}.spec())
	if err != nil {
		return fmt.Errorf("clear up lab left behind: %w", err)
	}
	var s spec
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("clear up lab left behind: %s: %w", dir, err)
	}
	if s.Dir != dir || !namePattern.MatchString(s.Name) {
		return fmt.Errorf("clear up lab left behind: %s describes another lab, %s in %s", dir, s.Name, s.Dir)
	}
	if left := tearDown(ctx, s); len(left) > 0 {
		return fmt.Errorf("clear up lab left behind in %s: %s", dir, strings.Join(left, "; "))
	}
	return nil
}
