// SPDX-License-Identifier: Apache-2.0

package wait_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/tests/wait"
)

func TestForAsksUntilItIsSo(t *testing.T) {
	n := 0
	err := wait.For(t.Context(), time.Minute, func() error {
		if n++; n < 4 {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil || n != 4 {
		t.Errorf("asked %d times: %v", n, err)
	}
}

func TestForGivesTheLastError(t *testing.T) {
	last := errors.New("still not")
	asked := 0
	never := func() error {
		asked++
		return last
	}
	if err := wait.For(t.Context(), 10*time.Millisecond, never); !errors.Is(err, last) || !strings.Contains(err.Error(), "10ms") {
		t.Error(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	asked = 0
	if err := wait.For(ended, time.Minute, never); !errors.Is(err, last) || asked == 0 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

func TestUntilInCleanUp(t *testing.T) {
	asked := 0
	t.Run("of a test that has ended", func(t *testing.T) {
		t.Cleanup(func() {
			wait.True(t, time.Minute, "asked twice", func() bool {
				asked++
				return asked == 2
			})
		})
	})
	if asked != 2 {
		t.Errorf("asked %d times", asked)
	}
}
