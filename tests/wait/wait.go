// SPDX-License-Identifier: Apache-2.0

// Package wait has tests wait for what others bring about: it asks again and again, often at first, until it is so or the
// time is over. A test is never to sleep for what it can ask for; the time is a bound for a machine that is busy with something
// else, not what is expected. It starts no goroutines.
package wait

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// The pause before the second look, and the longest one.
const (
	first = time.Millisecond
	last  = 100 * time.Millisecond
)

// For waits until a condition gives no error. Its error is the condition's last one, when the time is over or the context
// ends; the condition is asked once in any case.
func For(ctx context.Context, within time.Duration, condition func() error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	timer := time.NewTimer(first)
	defer timer.Stop()
	for pause := first; ; pause = min(2*pause, last) {
		err := condition()
		if err == nil {
			return nil
		}
		timer.Reset(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %w", within, err)
		}
	}
}

// Until is For in a test or in its clean-up, which it fails at once.
func Until(t testing.TB, within time.Duration, condition func() error) {
	t.Helper()
	if err := For(context.WithoutCancel(t.Context()), within, condition); err != nil {
		t.Fatal(err)
	}
}

// True is Until for a condition that does not say why it does not hold: what does.
func True(t testing.TB, within time.Duration, what string, condition func() bool) {
	t.Helper()
	Until(t, within, func() error {
		if !condition() {
			return fmt.Errorf("it does not come to this: %s", what)
		}
		return nil
	})
}
