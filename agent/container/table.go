// SPDX-License-Identifier: Apache-2.0

package container

import "sync"

// tableShards bounds how often readers and the writer meet at one lock.
const tableShards = 32

// table maps cgroup ids to entries for the hot path. Reads take a shared lock of one shard and allocate nothing.
type table struct {
	shards [tableShards]shard
}

type shard struct {
	mu sync.RWMutex
	m  map[uint64]*entry
	// Shards on separate cache lines do not slow each other down.
	_ [64]byte
}

func newTable() *table {
	t := &table{}
	for i := range t.shards {
		t.shards[i].m = make(map[uint64]*entry)
	}
	return t
}

func (t *table) shard(cgroup uint64) *shard { return &t.shards[cgroup%tableShards] }

func (t *table) get(cgroup uint64) *entry {
	s := t.shard(cgroup)
	s.mu.RLock()
	e := s.m[cgroup]
	s.mu.RUnlock()
	return e
}

func (t *table) set(cgroup uint64, e *entry) {
	s := t.shard(cgroup)
	s.mu.Lock()
	s.m[cgroup] = e
	s.mu.Unlock()
}

func (t *table) remove(cgroup uint64) {
	s := t.shard(cgroup)
	s.mu.Lock()
	delete(s.m, cgroup)
	s.mu.Unlock()
}
