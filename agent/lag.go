// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"math/bits"
	"sync/atomic"
)

// lag is a histogram of delays with two buckets to each power of two, nanoseconds. One goroutine adds, any reads.
type lag struct {
	buckets [128]atomic.Uint64
}

// add notes the delay between two times of one clock. A negative one counts as none.
func (l *lag) add(now, then uint64) {
	delay := uint64(1)
	if now > then {
		delay = now - then
	}
	power := bits.Len64(delay) - 1
	half := 0
	if power > 0 {
		half = int(delay >> (power - 1) & 1)
	}
	l.buckets[2*power+half].Add(1)
}

// quantiles gives the median and the 99th percentile since the last call, as the upper bounds of their buckets.
func (l *lag) quantiles() (p50, p99 uint64) {
	var counts [len(l.buckets)]uint64
	var total uint64
	for i := range counts {
		counts[i] = l.buckets[i].Swap(0)
		total += counts[i]
	}
	if total == 0 {
		return 0, 0
	}
	var seen uint64
	for i, n := range counts {
		seen += n
		bound := uint64(3+i%2) << (i / 2) >> 1
		if p50 == 0 && seen*2 >= total {
			p50 = bound
		}
		if seen*100 >= total*99 {
			return p50, bound
		}
	}
	return p50, p99
}
