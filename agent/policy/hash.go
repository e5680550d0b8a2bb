// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/binary"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// MaxHashed is the longest text that is hashed, in bytes: what is longer is cut.
const MaxHashed = 4096

// Subjects of entries that stand for no single executable.
const (
	// AnyExe stands for every executable.
	AnyExe uint64 = 0
	// RuntimeExe stands for the container's runtime.
	RuntimeExe uint64 = 1
)

// Hasher computes the keyed hash by which the kernel programs know texts: NH of RFC 4418 with a key as long as the
// longest text, 128 bits, so that two texts collide by chance alone, whoever chose them. It allocates nothing.
type Hasher struct {
	key wire.HashKey
}

// NewHasher returns a hasher with a copy of the key.
func NewHasher(key *wire.HashKey) *Hasher {
	return &Hasher{key: *key}
}

// Hash returns the hash of the first MaxHashed bytes of a text.
func (h *Hasher) Hash(text []byte) [2]uint64 {
	if len(text) > MaxHashed {
		text = text[:MaxHashed]
	}
	length := uint64(len(text))
	key := &h.key.Word
	var a, b uint64
	i := 0
	for ; len(text) >= 8; text = text[8:] {
		low, high := binary.LittleEndian.Uint32(text), binary.LittleEndian.Uint32(text[4:])
		a += uint64(low+key[i]) * uint64(high+key[i+1])
		b += uint64(low+key[i+4]) * uint64(high+key[i+5])
		i += 2
	}
	if len(text) > 0 {
		var pair [8]byte
		copy(pair[:], text)
		low, high := binary.LittleEndian.Uint32(pair[:]), binary.LittleEndian.Uint32(pair[4:])
		a += uint64(low+key[i]) * uint64(high+key[i+1])
		b += uint64(low+key[i+4]) * uint64(high+key[i+5])
	}
	// The text was padded with zeros: its length tells it from what ends in zeros.
	a += length * uint64(key[len(key)-2]|1) << 32
	b += length * uint64(key[len(key)-1]|1) << 32
	return [2]uint64{a, b}
}

// HashString is Hash of a string.
func (h *Hasher) HashString(text string) [2]uint64 {
	return h.Hash([]byte(text))
}

// Exe returns the subject that stands for an executable by its canonical path: half of the hash, which is never AnyExe
// or RuntimeExe.
func (h *Hasher) Exe(path string) uint64 {
	return max(h.HashString(path)[0], RuntimeExe+1)
}
