// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"encoding/binary"
	"hash/crc32"
)

// The format on disk; docs/spool-format.md is its description.
const (
	formatVersion    = 1
	segmentMagic     = "HFSPOOL\x00"
	recordMagic      = 0x31524648 // "HFR1"
	formatMaxPayload = 16 << 20

	segmentHeaderSize = 64
	// The segment header is written twice, so that one damaged byte does not
	// cost the segment.
	segmentDataStart = 2 * segmentHeaderSize
	recordHeaderSize = 32
	recordAlign      = 8
	gapPayloadSize   = 16
)

type kind uint8

const (
	kindRecord kind = 1 // the payload is the caller's
	kindGap    kind = 2 // the payload is a range of lost sequences
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seedOf starts the CRC of record headers with the epoch, which no monitored
// process knows.
func seedOf(epoch uint64) uint32 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], epoch)
	return crc32.Update(0, castagnoli, b[:])
}

// frameSize is the size on disk of a record with n bytes of payload.
func frameSize(n int) int64 {
	return int64(recordHeaderSize + (n+recordAlign-1)&^(recordAlign-1))
}

type recordHeader struct {
	length int
	seq    uint64
	sum    uint32
	kind   kind
}

// appendFrame appends a framed record to dst. sum is the CRC32C of payload. The
// header is built in place: what is given to crc32 escapes to the heap.
func appendFrame(dst []byte, seed uint32, k kind, seq uint64, payload []byte, sum uint32) []byte {
	at := len(dst)
	dst = append(dst, zeros[:recordHeaderSize]...)
	h := dst[at:]
	binary.LittleEndian.PutUint32(h[0:], recordMagic)
	binary.LittleEndian.PutUint32(h[4:], uint32(len(payload)))
	binary.LittleEndian.PutUint64(h[8:], seq)
	binary.LittleEndian.PutUint32(h[16:], sum)
	h[20] = byte(k)
	binary.LittleEndian.PutUint32(h[28:], crc32.Update(seed, castagnoli, h[:28]))
	dst = append(dst, payload...)
	return append(dst, zeros[:-len(payload)&(recordAlign-1)]...)
}

const zeros = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// appendGap appends a gap record for the sequences of h.
func appendGap(dst []byte, seed uint32, h hole) []byte {
	var p [gapPayloadSize]byte
	binary.LittleEndian.PutUint64(p[0:], h.last)
	p[8] = byte(h.cause)
	return appendFrame(dst, seed, kindGap, h.first, p[:], crc32.Checksum(p[:], castagnoli))
}

// parseHeader decodes a record header from the first bytes of b; ok is false if
// they are not one of this epoch.
func parseHeader(b []byte, seed uint32) (h recordHeader, ok bool) {
	if len(b) < recordHeaderSize || binary.LittleEndian.Uint32(b) != recordMagic {
		return h, false
	}
	b = b[:recordHeaderSize]
	if crc32.Update(seed, castagnoli, b[:28]) != binary.LittleEndian.Uint32(b[28:]) {
		return h, false
	}
	length := binary.LittleEndian.Uint32(b[4:])
	h = recordHeader{
		length: int(length),
		seq:    binary.LittleEndian.Uint64(b[8:]),
		sum:    binary.LittleEndian.Uint32(b[16:]),
		kind:   kind(b[20]),
	}
	switch {
	case length > formatMaxPayload, h.seq == 0:
		return h, false
	case h.kind == kindGap:
		return h, length == gapPayloadSize
	}
	return h, h.kind == kindRecord
}

// parseGap decodes the payload of a gap record.
func parseGap(p []byte) (last uint64, cause Cause) {
	return binary.LittleEndian.Uint64(p), Cause(p[8])
}

// frames walks framed records in memory, which are known to be whole.
type frames []byte

// split returns how many bytes of whole frames fit in limit, how many records
// they hold, and the last sequence in them. At least one frame is taken.
func (f frames) split(limit int64) (n int64, records int, last uint64) {
	for n < int64(len(f)) {
		length := int(binary.LittleEndian.Uint32(f[n+4:]))
		size := frameSize(length)
		if n > 0 && n+size > limit {
			break
		}
		last = binary.LittleEndian.Uint64(f[n+8:])
		if kind(f[n+20]) == kindGap {
			last, _ = parseGap(f[n+recordHeaderSize:])
		} else {
			records++
		}
		n += size
	}
	return n, records, last
}

// first returns the first sequence and the size of the first frame.
func (f frames) first() (seq uint64, size int64) {
	return binary.LittleEndian.Uint64(f[8:]), frameSize(int(binary.LittleEndian.Uint32(f[4:])))
}

type segmentHeader struct {
	version uint32
	epoch   uint64
	index   uint64
	first   uint64
	created int64 // nanoseconds since 1970
}

// encode returns both copies of the header.
func (h segmentHeader) encode() []byte {
	b := make([]byte, segmentHeaderSize, segmentDataStart)
	copy(b, segmentMagic)
	binary.LittleEndian.PutUint32(b[8:], h.version)
	binary.LittleEndian.PutUint64(b[16:], h.epoch)
	binary.LittleEndian.PutUint64(b[24:], h.index)
	binary.LittleEndian.PutUint64(b[32:], h.first)
	binary.LittleEndian.PutUint64(b[40:], uint64(h.created))
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	return append(b, b...)
}

// parseSegmentHeader decodes the first copy that is whole.
func parseSegmentHeader(b []byte) (h segmentHeader, ok bool) {
	for ; len(b) >= segmentHeaderSize; b = b[segmentHeaderSize:] {
		c := b[:segmentHeaderSize]
		if string(c[:8]) != segmentMagic || crc32.Checksum(c[:60], castagnoli) != binary.LittleEndian.Uint32(c[60:]) {
			continue
		}
		h = segmentHeader{
			version: binary.LittleEndian.Uint32(c[8:]),
			epoch:   binary.LittleEndian.Uint64(c[16:]),
			index:   binary.LittleEndian.Uint64(c[24:]),
			first:   binary.LittleEndian.Uint64(c[32:]),
			created: int64(binary.LittleEndian.Uint64(c[40:])),
		}
		return h, true
	}
	return h, false
}
