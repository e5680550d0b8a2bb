// SPDX-License-Identifier: Apache-2.0

package inspect

// brotliWindowMax is the largest window of the standard.
const brotliWindowMax = 1 << 24

// bits reads bits, the lowest of each byte first; past the end they are zero.
type bits struct {
	b  []byte
	at int
}

func (r *bits) take(n int) int {
	v := 0
	for i := range n {
		if r.at/8 < len(r.b) {
			v |= int(r.b[r.at/8]>>(r.at%8)&1) << i
		}
		r.at++
	}
	return v
}

// brotliHead reads the head of brotli data (RFC 7932, 9.1 and 9.2): the size of its window, and at most how many bytes of
// it are needed: as many as the data gives, if its first part is its last. Of another part the decoder makes as much of the
// window as its head announces. A window beyond the standard is more than brotliWindowMax.
func brotliHead(head []byte) (window, most int) {
	r := bits{b: head}
	window = 1 << 16
	if r.take(1) == 1 {
		if n := r.take(3); n != 0 {
			window = 1 << (17 + n)
		} else if n = r.take(3); n == 0 {
			window = 1 << 17
		} else if n == 1 {
			return brotliWindowMax + 1, 0 // the extension for large windows
		} else {
			window = 1 << (8 + n)
		}
	}
	if last := r.take(1) == 1; !last {
		return window, window
	}
	if empty := r.take(1) == 1; empty {
		return window, 0
	}
	nibbles := r.take(2)
	if nibbles == 3 {
		return window, window
	}
	return window, r.take(4*(4+nibbles)) + 1
}
