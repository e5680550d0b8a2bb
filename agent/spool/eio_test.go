// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// metadataEnd is where on a loopDisk nothing but data can lie any more. If its bitmaps failed, ext4 would wait for ever.
const metadataEnd = 512 << 10

// loopDisk is an ext4 on a loop device that can be made to fail.
type loopDisk struct {
	mount string
	dev   *os.File
}

// mountLoop makes a loopDisk, or skips where there are no loop devices.
func mountLoop(t *testing.T) loopDisk {
	t.Helper()
	mkfs, err := exec.LookPath("mkfs.ext4")
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("no mkfs.ext4")
	}
	image, mount := t.TempDir()+"/image", t.TempDir()
	if err := os.WriteFile(image, make([]byte, 32<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	// Without a journal, a failing device does not make the file system read-only. In one group with few inodes, metadata
	// ends far before metadataEnd.
	if out, err := exec.Command(mkfs, "-q", "-O", "^has_journal", "-b", "4096", "-N", "64", image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	ctl, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		t.Skipf("no loop devices: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctl.Close()
	out, err := exec.Command("losetup", "--find", "--show", image).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	dev, err := os.OpenFile(strings.TrimSpace(string(out)), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	d := loopDisk{mount: mount, dev: dev}
	t.Cleanup(func() {
		d.limit(t, 0)
		if err := unix.Unmount(mount, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
		if err := unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_CLR_FD, 0); err != nil {
			t.Errorf("detach %s: %v", dev.Name(), err)
		}
		dev.Close()
	})
	if err := unix.Mount(dev.Name(), mount, "ext4", 0, "errors=continue"); err != nil {
		t.Fatalf("mount %s: %v", dev.Name(), err)
	}
	return d
}

// limit makes all input and output beyond size bytes of the disk fail with EIO; 0
// heals it.
func (d loopDisk) limit(t *testing.T, size uint64) {
	t.Helper()
	info, err := unix.IoctlLoopGetStatus64(int(d.dev.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	info.Sizelimit = size
	if err := unix.IoctlLoopSetStatus64(int(d.dev.Fd()), info); err != nil {
		t.Fatal(err)
	}
}

// TestFailedSync makes fdatasync itself fail, on a real device. The records since
// the last good sync must be written again, to a new segment.
func TestFailedSync(t *testing.T) {
	disk := mountLoop(t)
	cfg := small(disk.mount + "/spool")
	cfg.MaxBytes, cfg.SegmentBytes, cfg.BufferBytes = 16<<20, 256<<10, 256<<10
	s := mustOpen(t, cfg)
	stop := run(t, s)
	pour(t, s, 300)
	promised := uint64(300)
	disk.limit(t, metadataEnd)
	defer disk.limit(t, 0) // before the spool is closed

	appended := 300
	until(t, "a sync fails", func() bool {
		for range 20 {
			if _, err := s.Append(payload(appended)); err == nil || errors.Is(err, ErrFull) {
				appended++
			} else {
				t.Fatal(err)
			}
		}
		if st := s.Stats(); st.DiskErr == nil {
			promised = st.Durable
			return false
		}
		return true
	})
	err := s.Stats().DiskErr
	var de *DiskError
	if !errors.As(err, &de) || !errors.Is(err, unix.EIO) {
		t.Fatalf("disk error %v", err)
	}
	t.Logf("the disk said: %v, after %d records were durable", err, promised)
	for range 50 {
		_, _ = s.Append(payload(appended))
		appended++
	}
	disk.limit(t, 0)
	until(t, "the disk is used again", func() bool { return s.Stats().DiskErr == nil && s.Stats().Buffered == 0 })
	pour(t, s, 50)
	appended += 50
	until(t, "the last refusals are noted", func() bool { return s.Stats().Durable == uint64(appended) })
	stop()
	mustClose(t, s)

	// What the page cache holds must not help.
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("1"), 0); err != nil {
		t.Logf("page cache not dropped: %v", err)
	}
	s = mustOpen(t, cfg)
	g := newGot()
	g.read(t, s, true)
	lost := g.lost()
	if lost[CauseCorrupt] > 0 || lost[CauseCrash] > 0 {
		t.Errorf("lost %v: %v", lost, g.losses)
	}
	for i := range appended {
		p := pos{s.Epoch(), uint64(i + 1)}
		if _, ok := g.records[p]; !ok && !g.reportsLost(p) {
			t.Fatalf("sequence %d is neither read nor lost", p.seq)
		} else if !ok && p.seq <= promised {
			t.Fatalf("sequence %d was durable, and is lost", p.seq)
		}
	}
	t.Logf("%d records, lost by cause %v", len(g.records), lost)
	mustClose(t, s)
}
