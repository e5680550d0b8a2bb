// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/agent/container"
)

// TestAwait waits for what nobody takes in, for what has been taken in, and behind the end.
func TestAwait(t *testing.T) {
	g, err := New(Config{Node: "node", Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	// There is no policy for what holds a pod's namespaces, so that only the order is tested.
	pause := &container.Container{Kind: container.KindSandbox, Namespace: "shop", Pod: "web", Name: "pause"}
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := g.Await(short, pause); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while nobody takes it in: %v", err)
	}
	ctx, end := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	taken := false
	g.tell(func() error { taken = true; return nil })
	if err := g.Await(t.Context(), pause); err != nil || !taken {
		t.Errorf("%v; what was told before was taken in: %t", err, taken)
	}
	if err := g.Await(t.Context(), &container.Container{Kind: container.KindSandbox, Cgroup: 7}); err != nil {
		t.Errorf("one that has its cgroup: %v", err)
	}
	end()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for range maxNews + 1 {
		if err := g.Await(t.Context(), pause); !errors.Is(err, errEnded) {
			t.Fatalf("behind the end: %v", err)
		}
	}
}
