// SPDX-License-Identifier: Apache-2.0

package container

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A walk that finds nothing of what was missing doubles the time to the next, between these bounds.
const (
	minRescan = 500 * time.Millisecond
	maxRescan = 30 * time.Second
)

// scan is the state of walks over the cgroup tree.
type scan struct {
	wanted  bool
	running bool
	// gone are the cgroups that ended during the walk, which may have seen them alive.
	gone  map[uint64]struct{}
	next  time.Time
	pause time.Duration
}

// Scan walks the cgroup tree and takes over what it finds: cgroups that are older than the agent, and after a loss of
// records, births and ends that were not reported. Call it once after the kernel has begun to report births and before
// its records are read.
func (r *Registry) Scan(ctx context.Context) error {
	if r.cfg.Walk == nil {
		return errors.New("scan cgroups: no walk configured")
	}
	r.mu.Lock()
	if r.scan.running {
		r.mu.Unlock()
		return errors.New("scan cgroups: a scan is running")
	}
	r.scan.running, r.scan.wanted = true, false
	r.scan.gone = make(map[uint64]struct{})
	before := r.seq
	r.mu.Unlock()

	births, err := r.cfg.Walk(ctx)

	r.mu.Lock()
	defer r.unlock()
	r.takeWalk(births, before, err == nil)
	r.scan.running, r.scan.gone = false, nil
	r.poke()
	if err != nil {
		r.stats.FailedRescans++
		return fmt.Errorf("scan cgroups: %w", err)
	}
	return nil
}

// takeWalk merges a walk into the tree. A complete walk also ends cgroups that it did not find and that were known
// before it began.
func (r *Registry) takeWalk(births []Birth, before uint64, complete bool) {
	r.stats.Rescans++
	lost := r.unknown
	seen := make(map[uint64]struct{}, len(births))
	for _, b := range births {
		seen[b.Cgroup] = struct{}{}
		if _, gone := r.scan.gone[b.Cgroup]; !gone {
			r.insert(b)
		}
	}
	if complete {
		for id, n := range r.nodes {
			if _, ok := seen[id]; ok || n.seq > before {
				continue
			}
			if n.place == PlaceUnknown {
				r.unattribute(n.entry)
			}
			r.retireNode(n)
		}
	}
	r.scan.pause = min(max(r.scan.pause*2, minRescan), maxRescan)
	if r.unknown < lost {
		r.scan.pause = minRescan
	}
	r.scan.next = r.cfg.Now().Add(r.scan.pause)
}

// Advance does what is due at a time: it ends waits whose deadline has passed and forgets what has been kept long
// enough. It returns when it wants to be called again, zero if only after something new.
func (r *Registry) Advance(now time.Time) time.Time {
	r.mu.Lock()
	defer r.unlock()
	next := earlier(r.expire(now), r.reap(now))
	if r.scan.wanted && !r.scan.running && r.cfg.Walk != nil {
		walk := r.scan.next
		if walk.Before(now) {
			walk = now
		}
		next = earlier(next, walk)
	}
	return next
}

// Run drives the registry until ctx ends. It returns nil then.
func (r *Registry) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-r.wake:
		}
		if r.scanDue() {
			if err := r.Scan(ctx); err != nil && ctx.Err() == nil {
				r.log.Warn("walk of the cgroup tree is incomplete", "error", err)
			}
		}
		now := r.cfg.Now()
		timer.Stop()
		if next := r.Advance(now); !next.IsZero() {
			timer.Reset(max(next.Sub(now), time.Millisecond))
		}
	}
}

// scanDue reports whether a walk is wanted and its time has come.
func (r *Registry) scanDue() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cfg.Walk != nil && r.scan.wanted && !r.scan.running && !r.scan.next.After(r.cfg.Now())
}
