// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	stateName     = "state"
	stateTempName = "state.tmp"
	stateMagic    = "HFSTATE\x00"
	stateSlotSize = 4096
	stateFileSize = 2 * stateSlotSize
	stateFixed    = 80 // bytes before the holes
	stateHoleSize = 32
	// maxStateHoles is what fits between the fixed part and the checksum.
	maxStateHoles = (stateSlotSize - stateFixed - 4) / stateHoleSize
)

// state is what must outlive the process beside the segments.
type state struct {
	gen      uint64 // counts writes; the higher of two valid slots counts
	epoch    uint64
	assigned uint64 // highest sequence in use when this was written
	durable  uint64 // highest sequence whose fate was durable
	ackEpoch uint64
	ackSeq   uint64
	newest   uint64 // index of the newest segment; 0 if there never was one
	holes    holes
}

func (st state) encode() []byte {
	b := make([]byte, stateSlotSize)
	copy(b, stateMagic)
	le := binary.LittleEndian
	le.PutUint32(b[8:], formatVersion)
	le.PutUint32(b[12:], uint32(len(st.holes)))
	for i, v := range []uint64{st.gen, st.epoch, st.assigned, st.durable, st.ackEpoch, st.ackSeq, st.newest} {
		le.PutUint64(b[16+8*i:], v)
	}
	for i, h := range st.holes {
		p := b[stateFixed+i*stateHoleSize:]
		le.PutUint64(p[0:], h.epoch)
		le.PutUint64(p[8:], h.first)
		le.PutUint64(p[16:], h.last)
		p[24] = byte(h.cause)
	}
	le.PutUint32(b[stateSlotSize-4:], crc32.Checksum(b[:stateSlotSize-4], castagnoli))
	return b
}

var errSlot = errors.New("checksum does not match")

func parseState(b []byte) (st state, err error) {
	le := binary.LittleEndian
	if len(b) != stateSlotSize || string(b[:8]) != stateMagic ||
		crc32.Checksum(b[:stateSlotSize-4], castagnoli) != le.Uint32(b[stateSlotSize-4:]) {
		return st, errSlot
	}
	if v := le.Uint32(b[8:]); v != formatVersion {
		return st, fmt.Errorf("%w: version %d, this build reads %d", ErrVersion, v, formatVersion)
	}
	n := le.Uint32(b[12:])
	if n > maxStateHoles {
		return st, errSlot
	}
	for i, v := range []*uint64{&st.gen, &st.epoch, &st.assigned, &st.durable, &st.ackEpoch, &st.ackSeq, &st.newest} {
		*v = le.Uint64(b[16+8*i:])
	}
	for i := range int(n) {
		p := b[stateFixed+i*stateHoleSize:]
		h := hole{epoch: le.Uint64(p[0:]), first: le.Uint64(p[8:]), last: le.Uint64(p[16:]), cause: Cause(p[24])}
		if h.first == 0 || h.last < h.first || h.cause == 0 || h.cause >= NumCauses {
			return st, errSlot
		}
		st.holes = append(st.holes, h)
	}
	if st.epoch == 0 || st.assigned < st.durable {
		return st, errSlot
	}
	return st, nil
}

// stateFile is two slots that are written in turn and in place: a torn write
// costs only the older state, and on file systems that do not copy on write it
// needs no free block, so that acknowledgements and losses can be noted on a full
// disk.
type stateFile struct {
	file *os.File
	path string
	gen  uint64 // of the last slot that was written whole
}

// openState reads the state of dir. ok is false if there is none or it is
// unreadable; found tells the two apart.
func openState(dir string) (f *stateFile, st state, found, ok bool, err error) {
	path := filepath.Join(dir, stateName)
	if err := os.Remove(filepath.Join(dir, stateTempName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, st, false, false, fmt.Errorf("remove unfinished state: %w", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, st, false, false, nil
	}
	if err != nil {
		return nil, st, true, false, fmt.Errorf("open state: %w", err)
	}
	f = &stateFile{file: file, path: path}
	for i := range int64(2) {
		b := make([]byte, stateSlotSize)
		if _, err := file.ReadAt(b, i*stateSlotSize); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, unix.EIO) {
			file.Close()
			return nil, st, true, false, fmt.Errorf("read state: %w", err)
		}
		slot, err := parseState(b)
		if errors.Is(err, ErrVersion) {
			file.Close()
			return nil, st, true, false, fmt.Errorf("state %q: %w", path, err)
		}
		if err == nil && (!ok || slot.gen > st.gen) {
			st, ok = slot, true
		}
	}
	f.gen = st.gen
	return f, st, true, ok, nil
}

// createState writes the state file anew, aside and then renamed.
func createState(dir string, st state) (*stateFile, error) {
	path, temp := filepath.Join(dir, stateName), filepath.Join(dir, stateTempName)
	file, err := os.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, diskError("create state", temp, err)
	}
	fail := func(op string, err error) (*stateFile, error) {
		file.Close()
		os.Remove(temp)
		return nil, diskError(op, temp, err)
	}
	st.gen = 1
	// Slot 1 holds odd generations; slot 0 is left without a valid state.
	if _, err := file.WriteAt(append(make([]byte, stateSlotSize), st.encode()...), 0); err != nil {
		return fail("write state", err)
	}
	if err := file.Sync(); err != nil {
		return fail("sync state", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fail("rename state", err)
	}
	if err := syncDir(dir); err != nil {
		file.Close()
		return nil, err
	}
	return &stateFile{file: file, path: path, gen: 1}, nil
}

// write makes st the state. After an error the former state counts, and the next
// write goes to the same slot, so that the former is never overwritten.
func (f *stateFile) write(st state) error {
	st.gen = f.gen + 1
	if _, err := f.file.WriteAt(st.encode(), int64(st.gen%2)*stateSlotSize); err != nil {
		return diskError("write state", f.path, err)
	}
	if err := unix.Fdatasync(int(f.file.Fd())); err != nil {
		return diskError("sync state", f.path, err)
	}
	f.gen = st.gen
	return nil
}

// syncDir makes created, renamed and removed names durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return diskError("open folder", dir, err)
	}
	defer d.Close()
	return diskError("sync folder", dir, d.Sync())
}
