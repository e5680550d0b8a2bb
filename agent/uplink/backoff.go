// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"math/rand/v2"
	"time"
)

// backoff gives the pauses between attempts: doubling from first to last, each shortened at random by up to a half, so
// that nodes that lost the collector together do not come back together.
type backoff struct {
	first, last, slow time.Duration
	now               time.Duration
}

// next gives the next pause, the slow one after a refusal.
func (b *backoff) next(refused bool) time.Duration {
	if refused {
		return jitter(b.slow)
	}
	b.now = min(max(2*b.now, b.first), b.last)
	return jitter(b.now)
}

func (b *backoff) reset() { b.now = 0 }

// jitter gives something between half of d and d.
func jitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Int64N(int64(d)/2+1))
}
