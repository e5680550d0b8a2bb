// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// budget is a share of a processor: time is earned as time passes, up to what is earned in a second, and may be owed.
type budget struct {
	// percent of one processor.
	percent int64
	left    time.Duration
	earned  time.Time
}

// spend takes what was used.
func (b *budget) spend(used time.Duration) { b.left -= used }

// wait is how long it takes at a time until there is something to spend, 0 for nothing.
func (b *budget) wait(now time.Time) time.Duration {
	b.left = min(b.left+now.Sub(b.earned)*time.Duration(b.percent)/100, time.Second*time.Duration(b.percent)/100)
	b.earned = now
	if b.left > 0 {
		return 0
	}
	return (1 - b.left) * 100 / time.Duration(b.percent)
}

// threadTime is how long the calling thread has run.
func threadTime() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0, fmt.Errorf("read the processor time of a thread: %w", err)
	}
	return time.Duration(t.Nano()), nil
}
