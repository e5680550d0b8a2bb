// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/dlp"
)

// To find a labelled file again in what is sent, its beginning is read where the process that read it sees it. What file
// system it lies on is the container's choice, so a goroutine of its own waits for it.

// maxHeads bounds the files that wait to be read, headBytes what is read of each.
const (
	maxHeads  = 64
	headBytes = 8 << 10
)

// heads are the labelled files whose beginning is to be read.
type heads struct {
	wanted chan wantedHead
	missed atomic.Uint64
}

type wantedHead struct {
	read   dlp.Read
	cgroup uint64
}

func newHeads() heads { return heads{wanted: make(chan wantedHead, maxHeads)} }

// Labelled implements exfil.World.
func (i *inspection) Labelled(r dlp.Read, cgroup uint64) {
	select {
	case i.heads.wanted <- wantedHead{r, cgroup}:
	default:
		i.heads.missed.Add(1)
	}
}

// readHeads reads the beginnings of labelled files until the context ends.
func (i *inspection) readHeads(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case w := <-i.heads.wanted:
			if err := i.readHead(w); err != nil {
				i.heads.missed.Add(1)
				i.agent.log.Debug("a labelled file is not found again in what is sent", "file", w.read.File, "error", err)
			}
		}
	}
}

func (i *inspection) readHead(w wantedHead) error {
	reader := i.reader.Load()
	if reader == nil {
		return errors.New("nothing is inspected yet")
	}
	of := w.read.Process
	head, err := headOf(of.PID, w.read.File)
	if now, lives := i.agent.sensor.Process(of.PID); err == nil && (!lives || now.Start != of.Start) {
		err = fmt.Errorf("process %d has ended", of.PID)
	}
	if c, _ := i.agent.registry.Lookup(w.cgroup); err != nil && c != nil && c.InitPID != 0 {
		// The one that read it has ended, and its id may be another's: what its container sees is the same in nearly all cases.
		head, err = headOf(c.InitPID, w.read.File)
	}
	if err != nil {
		return err
	}
	if !reader.File(w.read, head) {
		return errors.New("too many wait")
	}
	return nil
}

// headOf reads the beginning of a file as a process sees it: within its root, where neither links nor dots lead out, and only
// if it is a regular file.
func headOf(pid uint32, path string) ([]byte, error) {
	root, err := unix.Open(fmt.Sprintf("/proc/%d/root", pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the root of process %d: %w", pid, err)
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, path, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, fmt.Errorf("find %s in the root of process %d: %w", path, pid, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("look at %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	file, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	defer file.Close()
	head, err := io.ReadAll(io.LimitReader(file, headBytes))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return head, nil
}
