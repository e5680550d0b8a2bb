// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	segmentSuffix    = ".seg"
	quarantineSuffix = ".bad"
	// maxQuarantined bounds the damaged files that are kept for a person to look
	// at. They count towards MaxBytes and go first.
	maxQuarantined = 4
)

// segment is one file of records.
type segment struct {
	index uint64
	epoch uint64
	first uint64 // first sequence that it may hold
	last  uint64 // last sequence that counts; first-1 if it holds none
	size  int64  // bytes that are synced and count
	extra int64  // bytes behind size that could not be cut off
	path  string

	evicted bool // given up before it was acknowledged
}

func (g *segment) empty() bool { return g.last < g.first }

// pos is the place of the segment's last record.
func (g *segment) pos() pos { return pos{g.epoch, g.last} }

func segmentPath(dir string, index uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", index, segmentSuffix))
}

// createSegment makes a segment that is durable but empty, and opens it.
func createSegment(dir string, h segmentHeader) (*segment, *os.File, error) {
	h.version, h.created = formatVersion, time.Now().UnixNano()
	path := segmentPath(dir, h.index)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, nil, diskError("create segment", path, err)
	}
	if _, err = f.Write(h.encode()); err != nil {
		err = diskError("write segment header", path, err)
	} else if err = unix.Fdatasync(int(f.Fd())); err != nil {
		err = diskError("sync segment header", path, err)
	} else {
		err = syncDir(dir)
	}
	if err != nil {
		f.Close()
		os.Remove(path)
		return nil, nil, err
	}
	return &segment{index: h.index, epoch: h.epoch, first: h.first, last: h.first - 1,
		size: segmentDataStart, path: path}, f, nil
}

// write writes whole frames to f, behind what counts, and syncs them; the caller
// notes the new size. After an error the segment counts as long as before; usable says
// whether it may be written again: not after a failed sync or an I/O error, since
// the kernel reports such an error once and then takes the pages for clean. extra
// is how many bytes of the attempt could not be cut off.
func (g *segment) write(f *os.File, b []byte) (usable bool, extra int64, err error) {
	op := "write segment"
	if _, err = f.WriteAt(b, g.size); err == nil {
		op = "sync segment"
		err = unix.Fdatasync(int(f.Fd()))
		if err == nil {
			return true, 0, nil
		}
	} else {
		usable = errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
	}
	if cerr := f.Truncate(g.size); cerr != nil {
		// What cannot be cut off is superseded by the next segment.
		usable, extra = false, int64(len(b))
	}
	return usable, extra, diskError(op, g.path, err)
}

// found is a file that looks like a segment by its name.
type found struct {
	path   string
	index  uint64
	size   int64
	header segmentHeader
	whole  bool // header is valid
}

// listDir finds segments, ordered by index, and quarantined files, oldest first.
func listDir(dir string) (segs []found, bad []found, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("list spool: %w", err)
	}
	for _, e := range entries {
		name, isSeg := strings.CutSuffix(e.Name(), segmentSuffix)
		name, isBad := strings.CutSuffix(name, quarantineSuffix)
		index, err := strconv.ParseUint(name, 10, 64)
		if err != nil || isSeg == isBad || len(name) != 20 || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("list spool: %w", err)
		}
		f := found{path: filepath.Join(dir, e.Name()), index: index, size: info.Size()}
		if isBad {
			bad = append(bad, f)
			continue
		}
		if f.header, f.whole, err = readSegmentHeader(f.path); err != nil {
			return nil, nil, err
		}
		f.whole = f.whole && f.header.index == f.index
		segs = append(segs, f)
	}
	return segs, bad, nil
}

func readSegmentHeader(path string) (h segmentHeader, ok bool, err error) {
	f, err := openSegment(path)
	if err != nil {
		return h, false, err
	}
	defer f.Close()
	var b [segmentDataStart]byte
	n, err := f.ReadAt(b[:], 0)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, unix.EIO) {
		return h, false, fmt.Errorf("read segment header: %w", err)
	}
	if h, ok = parseSegmentHeader(b[:n]); ok && h.version != formatVersion {
		return h, false, fmt.Errorf("segment %q: %w: version %d, this build reads %d", path, ErrVersion, h.version, formatVersion)
	}
	return h, ok && n == len(b) && h.first > 0 && h.epoch > 0, nil
}

// openSegment opens a segment for reading.
func openSegment(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open segment: %w", err)
	}
	return f, nil
}
