// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Burst describes many containers, short ones as a rule.
type Burst struct {
	// Count is how many are run.
	Count int
	// Parallel is how many are in the making at once. Default: 4.
	Parallel int
	// Pods are the pods that they are spread over, in turn.
	Pods []*Pod
	// Container describes the nth container, counted from 0.
	Container func(n int) ContainerConfig
	// Hold leaves the containers running: the burst is over when the last
	// has started. Without it, their processes have to end by themselves.
	Hold bool
	// Keep leaves the ended containers in place instead of removing them.
	Keep bool
}

// BurstContainer is one container of a burst.
type BurstContainer struct {
	// Container is what ran.
	*Container
	// Status is its last state.
	Status Status
}

// BurstResult is what became of a burst.
type BurstResult struct {
	// Containers are in the order of their numbers.
	Containers []BurstContainer
	// Took is the time from the first creation to the last removal; to the
	// last start where containers are held.
	Took time.Duration
}

// Rate is the number of containers per second.
func (r *BurstResult) Rate() float64 { return float64(len(r.Containers)) / r.Took.Seconds() }

// RunBurst runs many containers, as a rule to their end. It stops at the first
// error of the lab's; what the containers' processes return is in the result.
func (l *Lab) RunBurst(ctx context.Context, b Burst) (*BurstResult, error) {
	if b.Count <= 0 || len(b.Pods) == 0 || b.Container == nil {
		return nil, errors.New("run burst: it needs a count, pods and a container")
	}
	if b.Parallel <= 0 {
		b.Parallel = 4
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	begin := time.Now()
	result := &BurstResult{Containers: make([]BurstContainer, b.Count)}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(b.Parallel, b.Count) {
		wg.Go(func() {
			for ctx.Err() == nil {
				n := int(next.Add(1)) - 1
				if n >= b.Count {
					return
				}
				var err error
				if result.Containers[n], err = b.one(ctx, n); err != nil {
					cancel(fmt.Errorf("run burst: container %d of %d: %w", n, b.Count, err))
				}
			}
		})
	}
	wg.Wait()
	result.Took = time.Since(begin)
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return result, nil
}

// one runs the nth container.
func (b Burst) one(ctx context.Context, n int) (BurstContainer, error) {
	c, err := b.Pods[n%len(b.Pods)].Run(ctx, b.Container(n))
	if err != nil {
		return BurstContainer{}, err
	}
	done := BurstContainer{Container: c}
	if b.Hold {
		done.Status, err = c.Status(ctx)
		return done, err
	}
	if done.Status, err = c.Wait(ctx); err != nil || b.Keep {
		return done, err
	}
	return done, c.Remove(ctx)
}
