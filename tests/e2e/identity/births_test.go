// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/tests/lab"
)

// watchBirths reports new cgroup directories of a lab to the registry, as the kernel programs of the agent do:
// inotify stands in for them, so that these tests depend on nothing but cgroupfs. It runs until the test ends.
func watchBirths(t *testing.T, n *node, l *lab.Lab) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{t: t, n: n, lab: l, file: os.NewFile(uintptr(fd), "inotify"), fd: fd, dirs: map[int32]string{}, ids: map[string]uint64{}}
	w.add(l.CgroupRoot())
	var wg sync.WaitGroup
	wg.Go(w.run)
	t.Cleanup(func() {
		w.file.Close()
		wg.Wait()
	})
}

type watcher struct {
	t    *testing.T
	n    *node
	lab  *lab.Lab
	file *os.File
	fd   int
	dirs map[int32]string
	ids  map[string]uint64
}

// add watches a directory and reports what is in it already: it may have been made before the watch was.
func (w *watcher) add(dir string) {
	wd, err := unix.InotifyAddWatch(w.fd, dir, unix.IN_CREATE|unix.IN_DELETE|unix.IN_ONLYDIR)
	if err != nil {
		return
	}
	w.dirs[int32(wd)] = dir
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
		w.t.Errorf("read %s: %v", dir, err)
	}
	for _, e := range entries {
		if e.IsDir() {
			w.born(filepath.Join(dir, e.Name()))
		}
	}
}

// born reports a directory and what is in it, unless it is another's: only the lab's begin with its name at the root.
func (w *watcher) born(dir string) {
	if filepath.Dir(dir) == w.lab.CgroupRoot() && !strings.HasPrefix(filepath.Base(dir), w.lab.Name()) {
		return
	}
	var st, parent unix.Stat_t
	if unix.Stat(dir, &st) != nil || unix.Stat(filepath.Dir(dir), &parent) != nil {
		w.t.Logf("cgroup %s was gone before it could be read", dir)
		return
	}
	if w.ids[dir] == st.Ino {
		return
	}
	w.ids[dir] = st.Ino
	w.n.born(container.Birth{Cgroup: st.Ino, Parent: parent.Ino, Name: filepath.Base(dir), At: time.Now()})
	w.add(dir)
}

func (w *watcher) run() {
	buf := make([]byte, 64<<10)
	for {
		n, err := w.file.Read(buf)
		if err != nil {
			return
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wd := int32(binary.NativeEndian.Uint32(b))
			mask := binary.NativeEndian.Uint32(b[4:])
			length := binary.NativeEndian.Uint32(b[12:])
			name := string(bytes.TrimRight(b[16:16+length], "\x00"))
			b = b[unix.SizeofInotifyEvent+length:]
			dir := filepath.Join(w.dirs[wd], name)
			switch {
			case mask&unix.IN_ISDIR == 0 || w.dirs[wd] == "":
			case mask&unix.IN_CREATE != 0:
				w.born(dir)
			case mask&unix.IN_DELETE != 0:
				w.n.reg.Gone(w.ids[dir])
				delete(w.ids, dir)
			}
		}
	}
}

// patience is how long something may take to come about.
const patience = 20 * time.Second
