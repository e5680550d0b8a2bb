// SPDX-License-Identifier: Apache-2.0

package container

import "time"

// retirement is a queue of what is kept for a while after its end, oldest first.
type retirement struct {
	queue []retired
	head  int
	limit int
}

// retired is a cgroup or a record.
type retired struct {
	node  *node
	rec   *record
	until time.Time
}

func (q *retirement) len() int { return len(q.queue) - q.head }

func (q *retirement) push(x retired) { q.queue = append(q.queue, x) }

func (q *retirement) pop() retired {
	x := q.queue[q.head]
	q.queue[q.head] = retired{}
	q.head++
	// Moving what is left down now and then keeps the queue from growing for ever.
	if q.head > 64 && q.head*2 >= len(q.queue) {
		n := copy(q.queue, q.queue[q.head:])
		clear(q.queue[n:])
		q.queue, q.head = q.queue[:n], 0
	}
	return x
}

// retire puts something into a queue and makes room for it.
func (r *Registry) retire(q *retirement, x retired) {
	x.until = r.cfg.Now().Add(r.cfg.Grace)
	if q.len() == 0 {
		r.poke()
	}
	q.push(x)
	for q.len() > q.limit {
		r.evict(q)
	}
}

// retireNode starts the time of grace of a cgroup.
func (r *Registry) retireNode(n *node) {
	if n.gone {
		return
	}
	n.gone = true
	if n.place == PlaceContainer {
		r.retire(&r.retired, retired{node: n})
		return
	}
	r.retire(&r.minor, retired{node: n})
}

// drop starts the time of grace of a record.
func (r *Registry) drop(rec *record) {
	if rec.dropped {
		return
	}
	rec.dropped = true
	if r.records[rec.key] == rec {
		delete(r.records, rec.key)
	}
	r.retire(&r.retired, retired{rec: rec})
}

// evictOldest makes room before its time. It returns false if there is nothing to evict.
func (r *Registry) evictOldest() bool {
	return r.evict(&r.minor) || r.evict(&r.retired)
}

func (r *Registry) evict(q *retirement) bool {
	if q.len() == 0 {
		return false
	}
	r.stats.EvictedEarly++
	r.forget(q.pop())
	return true
}

// reap forgets what has had its time of grace and returns when the next will have.
func (r *Registry) reap(now time.Time) (next time.Time) {
	for _, q := range []*retirement{&r.minor, &r.retired} {
		for q.len() > 0 && !q.queue[q.head].until.After(now) {
			r.stats.Evicted++
			r.forget(q.pop())
		}
		if q.len() > 0 {
			next = earlier(next, q.queue[q.head].until)
		}
	}
	return next
}

func (r *Registry) forget(x retired) {
	if x.rec != nil {
		x.rec.expired = true
		if x.rec.entry == nil {
			r.forgetRecord(x.rec)
		}
		return
	}
	if r.nodes[x.node.id] == x.node {
		r.forgetNode(x.node)
	}
}

// forgetNode removes a cgroup and, if it is a container's, the container.
func (r *Registry) forgetNode(n *node) {
	delete(r.nodes, n.id)
	r.table.remove(n.id)
	e := n.entry
	if e == nil || e == r.host {
		return
	}
	if e.cgroup != n.id {
		delete(e.members, n.id)
		return
	}
	if n.place == PlaceUnknown {
		r.unknown--
		// What was reported inside it has no place without it; should it be heard of again, it is found by a walk.
		for id := range e.members {
			delete(r.nodes, id)
			r.table.remove(id)
		}
	}
	delete(r.entries, n.id)
	delete(r.open, n.id)
	if e.rec == nil || e.rec.entry != e {
		return
	}
	e.rec.entry = nil
	if e.rec.expired {
		r.forgetRecord(e.rec)
	}
}

// forgetRecord removes a record that nothing refers to any more.
func (r *Registry) forgetRecord(rec *record) {
	r.held--
	remove(r.byID, rec.key.ID, rec)
	r.unexpect(rec)
	r.leave(rec)
}

// earlier returns the earlier of two times of which zero means none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
