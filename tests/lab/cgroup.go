// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"bytes"
	"context"
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

// hierarchies are the mount points of the machine's cgroup file systems.
type hierarchies struct {
	// Unified is the mount point of cgroup2.
	Unified string `json:"unified"`
	// V1 are the mount points of the v1 hierarchies, none on a pure cgroup2
	// machine.
	V1 []string `json:"v1"`
}

// all returns every mount point, cgroup2 first.
func (h hierarchies) all() []string {
	return append([]string{h.Unified}, h.V1...)
}

// findHierarchies reads the mount points from mountinfo.
func findHierarchies() (hierarchies, error) {
	mounts, err := readMounts("/proc/self/mountinfo")
	if err != nil {
		return hierarchies{}, err
	}
	var h hierarchies
	for _, m := range mounts {
		switch {
		case m.fstype == "cgroup2" && h.Unified == "":
			h.Unified = m.point
		case m.fstype == "cgroup" && !slices.Contains(h.V1, m.point):
			h.V1 = append(h.V1, m.point)
		}
	}
	if h.Unified == "" {
		return h, errors.New("find cgroup hierarchies: no cgroup2 is mounted")
	}
	return h, nil
}

// MakeV1Cgroups makes the lab's directory in the v1 hierarchies too, where the
// machine has some, as a kubelet whose cgroup root is the lab's expects it.
// Close removes them.
func (l *Lab) MakeV1Cgroups() error {
	for _, root := range l.spec.Hierarchies.V1 {
		dir := filepath.Join(root, l.spec.Name)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make the lab's cgroup: %w", err)
		}
		// In a new cpuset no processor is allowed, and no process.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(root, file))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, file), bytes.TrimSpace(value), 0)
			}
			if err != nil {
				return fmt.Errorf("fill the lab's cgroup: %w", err)
			}
		}
	}
	return nil
}

// mount is one line of mountinfo, see proc_pid_mountinfo(5).
type mount struct {
	point  string
	fstype string
}

// readMounts parses a mountinfo file, in mount order.
func readMounts(path string) ([]mount, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	var mounts []mount
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		sep := slices.Index(fields, "-")
		if len(fields) < 5 || sep < 0 || sep+1 >= len(fields) {
			return nil, fmt.Errorf("read mounts: %s: unexpected line %q", path, lines.Text())
		}
		mounts = append(mounts, mount{point: unescapeMount(fields[4]), fstype: fields[sep+1]})
	}
	return mounts, lines.Err()
}

// unescapeMount undoes the octal escapes of space, tab, newline and backslash.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// killCgroup kills every process below dir, a directory of cgroup2, and waits
// until none is left. A directory that is not there counts as empty.
func killCgroup(ctx context.Context, dir string) error {
	for {
		// Before Linux 5.14 there is no cgroup.kill; then, as long as
		// processes fork, it takes more than one round.
		err := os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
		if err != nil {
			for _, pid := range cgroupPIDs(dir) {
				// The process may be gone already, which is what is wanted.
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		populated, err := cgroupPopulated(dir)
		if err != nil {
			return fmt.Errorf("kill cgroup %s: %w", dir, err)
		}
		if !populated {
			return nil
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("kill cgroup %s: processes %v are still there: %w", dir, cgroupPIDs(dir), err)
		}
	}
}

// cgroupPopulated tells whether a process that is not a zombie lives in dir or
// below.
func cgroupPopulated(dir string) (bool, error) {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return bytes.Contains(data, []byte("populated 1")), nil
}

// cgroupPIDs lists the processes in dir and below. Directories that vanish
// meanwhile are left out.
func cgroupPIDs(dir string) []int {
	var pids []int
	for _, d := range cgroupDirs(dir) {
		data, err := os.ReadFile(filepath.Join(d, "cgroup.procs"))
		if err != nil {
			continue
		}
		for _, field := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// cgroupDirs lists dir and the directories below it, children first.
func cgroupDirs(dir string) []string {
	var dirs []string
	// The walk goes on over what vanishes under it.
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	slices.Reverse(dirs)
	return dirs
}

// removeCgroup removes dir and everything below it. The kernel refuses with
// EBUSY while a dead process has not been unhashed yet, so it is tried until
// ctx ends.
func removeCgroup(ctx context.Context, dir string) error {
	for {
		var last error
		for _, d := range cgroupDirs(dir) {
			if err := unix.Rmdir(d); err != nil && !errors.Is(err, unix.ENOENT) {
				last = fmt.Errorf("remove cgroup %s: %w", d, err)
			}
		}
		if last == nil {
			return nil
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return last
		}
	}
}

// pause waits for d or the end of ctx, whose error it returns.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
