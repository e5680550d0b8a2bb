// SPDX-License-Identifier: Apache-2.0

package event

import "encoding/binary"

// HashArgv is the hash of a whole argument vector as wire.h defines it (hf_exec.argv_hash), for vectors that are not
// truncated; of longer ones the kernel side gives it.
func HashArgv(vector []byte) uint64 {
	const seed, prime = 14695981039346656037, 1099511628211
	h := uint64(seed)
	for len(vector) >= 8 {
		h = (h ^ binary.LittleEndian.Uint64(vector)) * prime
		vector = vector[8:]
	}
	if len(vector) > 0 {
		var last [8]byte
		copy(last[:], vector)
		h = (h ^ binary.LittleEndian.Uint64(last[:])) * prime
	}
	return h
}
