// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// mountThin mounts an ext4 on a loop device whose image is a sparse file in dir, or
// skips. When dir is full, writes succeed and syncs fail.
func mountThin(t *testing.T, dir string) string {
	t.Helper()
	mkfs, err := exec.LookPath("mkfs.ext4")
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("no mkfs.ext4")
	}
	if _, err := os.Stat("/dev/loop-control"); errors.Is(err, os.ErrNotExist) {
		t.Skip("no loop devices")
	}
	image, mount := dir+"/image", t.TempDir()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 32<<20); err != nil {
		t.Fatal(err)
	}
	// Without a journal, a failing device does not make the file system read-only.
	for _, cmd := range []*exec.Cmd{
		exec.Command(mkfs, "-q", "-O", "^has_journal", "-E", "lazy_itable_init=0", image),
		exec.Command("mount", "-o", "loop,errors=continue", image, mount),
	} {
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", cmd.Args, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", mount).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return mount
}

// TestFailedSync makes fdatasync itself fail, on a real device. The records since
// the last good sync must be written again, to a new segment.
func TestFailedSync(t *testing.T) {
	backing := mountTmpfs(t, "8m")
	mount := mountThin(t, backing)
	cfg := small(mount + "/spool")
	cfg.MaxBytes, cfg.SegmentBytes, cfg.BufferBytes = 16<<20, 256<<10, 256<<10
	s := mustOpen(t, cfg)
	stop := run(t, s)
	pour(t, s, 300)
	promised := uint64(300)
	fill(t, backing+"/filler")

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
	if !errors.As(err, &de) || !errors.Is(err, unix.EIO) && !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("disk error %v", err)
	}
	t.Logf("the disk said: %v, after %d records were durable", err, promised)
	for range 50 {
		_, _ = s.Append(payload(appended))
		appended++
	}
	if err := os.Remove(backing + "/filler"); err != nil {
		t.Fatal(err)
	}
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
