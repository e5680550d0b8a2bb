// SPDX-License-Identifier: Apache-2.0

package session_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/agent/container/session"
)

// TestKeep ends three sessions, and then the context in the fourth: each end is told but the last, and the waits grow.
func TestKeep(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	broken := errors.New("broken")
	var began []time.Time
	told := 0
	session.Keep(ctx, func(ctx context.Context) error {
		began = append(began, time.Now())
		if len(began) < 4 {
			return broken
		}
		cancel()
		<-ctx.Done()
		return ctx.Err()
	}, func(err error) {
		told++
		if !errors.Is(err, broken) {
			t.Errorf("told %v", err)
		}
	})
	if len(began) != 4 || told != 3 {
		t.Fatalf("%d sessions, %d ends told", len(began), told)
	}
	first, last := began[1].Sub(began[0]), began[3].Sub(began[2])
	if first < 100*time.Millisecond || last < 400*time.Millisecond {
		t.Errorf("waited %s first and %s last", first, last)
	}
}
