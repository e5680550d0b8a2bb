// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"github.com/holdfast-project/holdfast/agent/policy"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// Run deletes what nobody reads any more, until the context ends. It returns nil then. An error of the maps is logged, and
// the work tried again: what is in force does not depend on it.
func (e *Enforcer) Run(ctx context.Context) error {
	ticker := time.NewTicker(e.cfg.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := e.Tidy(); err != nil {
				e.cfg.Logger.Error("entries of policies not tidied up", "error", err)
			}
		}
	}
}

// Tidy does once what Run does again and again. It waits for running programs without keeping others waiting.
func (e *Enforcer) Tidy() error {
	e.mu.Lock()
	e.releaseInherited()
	due := e.due()
	wait := e.grace.begin()
	e.mu.Unlock()
	if !due {
		return nil
	}
	if err := e.grace.wait(); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.grace.end(wait)
	// What changed meanwhile waits for the next time, unless room is needed before.
	for _, p := range e.policies {
		if !e.grace.over(p.flipped) {
			continue
		}
		if p.pending.Len() > 0 {
			if err := e.finish(p); err != nil {
				return err
			}
		}
		if p.released {
			if err := e.drop(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// due reports whether there is something to tidy up, or something deleted that would keep the next Apply waiting.
func (e *Enforcer) due() bool {
	if e.deleted > 0 && !e.grace.over(e.deleted) {
		return true
	}
	for _, p := range e.policies {
		if p.pending.Len() > 0 || p.released {
			return true
		}
	}
	return false
}

// Hits is how often entries of a policy were used. Those that never were are missing.
type Hits struct {
	Allow  map[policy.Key]uint64
	Tree   map[policy.Tree]uint64
	Egress map[policy.Contact]uint64
}

// Hits reads how often the entries of a policy were used since they were made. It keeps nobody waiting.
func (e *Enforcer) Hits(id uint32) (Hits, error) {
	h := Hits{map[policy.Key]uint64{}, map[policy.Tree]uint64{}, map[policy.Contact]uint64{}}
	set, err := e.set(id)
	if err != nil {
		return h, err
	}
	err = errors.Join(hits(e.allow, id, set.Allow, h.Allow), hits(e.tree, id, set.Tree, h.Tree),
		hits(e.egress, id, set.Egress, h.Egress))
	return h, err
}

// set gives the set of a policy that is in force.
func (e *Enforcer) set(id uint32) (*policy.Set, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, err := e.policy(id)
	if err != nil {
		return nil, err
	}
	return p.set, nil
}

func hits[K comparable](t *table[K], id uint32, of map[K]uint16, to map[K]uint64) error {
	for key := range of {
		n, err := t.hits(id, key)
		if err != nil {
			return err
		}
		if n > 0 {
			to[key] = n
		}
	}
	return nil
}

// Tally reads the verdicts of a policy, by signal, since it was made.
func (e *Enforcer) Tally(id uint32) (wire.Tally, error) {
	var t wire.Tally
	err := e.cfg.Maps.Tally.Lookup(id, &t)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return t, fmt.Errorf("no policy %d", id)
	}
	if err != nil {
		return t, fmt.Errorf("map tally_by_policy: policy %d: %w", id, err)
	}
	return t, nil
}

// Used is how full the maps of entries are: how many entries of how many.
func (e *Enforcer) Used() map[string][2]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return map[string][2]int{
		e.allow.name:  {e.allow.used, int(e.allow.m.MaxEntries())},
		e.tree.name:   {e.tree.used, int(e.tree.m.MaxEntries())},
		e.egress.name: {e.egress.used, int(e.egress.m.MaxEntries())},
	}
}
