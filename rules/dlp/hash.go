// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"encoding/binary"
	"math/bits"
)

// hashKey is the key of SipHash-2-4, which hashes values so that who reads an alert can tell equal values from different
// ones and cannot try values without the key.
type hashKey struct{ k0, k1 uint64 }

func newHashKey(key []byte) hashKey {
	return hashKey{binary.LittleEndian.Uint64(key), binary.LittleEndian.Uint64(key[8:])}
}

// deriveKey is the key for one purpose, so that the hashes of one say nothing about those of another.
func deriveKey(key [32]byte, purpose string) hashKey {
	outer := newHashKey(key[:16])
	text := append([]byte(purpose+"1"), key[16:]...)
	k0 := outer.sum(text)
	text[len(purpose)] = '2'
	return hashKey{k0, outer.sum(text)}
}

// sum is SipHash-2-4 of data (Aumasson and Bernstein, 2012).
func (k hashKey) sum(data []byte) uint64 {
	v := [4]uint64{
		k.k0 ^ 0x736f6d6570736575, k.k1 ^ 0x646f72616e646f6d,
		k.k0 ^ 0x6c7967656e657261, k.k1 ^ 0x7465646279746573,
	}
	last := uint64(len(data)) << 56
	for ; len(data) >= 8; data = data[8:] {
		m := binary.LittleEndian.Uint64(data)
		v[3] ^= m
		sipRound(&v)
		sipRound(&v)
		v[0] ^= m
	}
	for i, b := range data {
		last |= uint64(b) << (8 * i)
	}
	v[3] ^= last
	sipRound(&v)
	sipRound(&v)
	v[0] ^= last
	v[2] ^= 0xff
	for range 4 {
		sipRound(&v)
	}
	return v[0] ^ v[1] ^ v[2] ^ v[3]
}

func sipRound(v *[4]uint64) {
	v[0] += v[1]
	v[1] = bits.RotateLeft64(v[1], 13) ^ v[0]
	v[0] = bits.RotateLeft64(v[0], 32)
	v[2] += v[3]
	v[3] = bits.RotateLeft64(v[3], 16) ^ v[2]
	v[0] += v[3]
	v[3] = bits.RotateLeft64(v[3], 21) ^ v[0]
	v[2] += v[1]
	v[1] = bits.RotateLeft64(v[1], 17) ^ v[2]
	v[2] = bits.RotateLeft64(v[2], 32)
}
