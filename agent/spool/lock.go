// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	lockName = "lock"
	// lockFileBytes is the most that the lock file holds.
	lockFileBytes = 16
)

// lockDir takes the lock of dir. The kernel gives it back when the process ends,
// however it ends.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, diskError("open lock", path, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %q is held by %s", ErrLocked, dir, lockHolder(f))
		}
		return nil, diskError("lock", path, err)
	}
	// The number only serves the message above; a full disk may refuse it.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return f, nil
}

// Hold takes the lock of a spool that is there, as an open one has it, and makes nothing. It gives it back when it is
// closed. ErrLocked says that the spool is open; fs.ErrNotExist that no spool is there.
func Hold(dir string) (io.Closer, error) {
	if _, err := os.Lstat(filepath.Join(dir, lockName)); err != nil {
		return nil, fmt.Errorf("look for a spool: %w", err)
	}
	return lockDir(dir)
}

func lockHolder(f *os.File) string {
	var b [lockFileBytes]byte
	n, _ := f.ReadAt(b[:], 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil {
		return "another process"
	}
	return fmt.Sprintf("process %d", pid)
}
