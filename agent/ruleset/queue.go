// SPDX-License-Identifier: Apache-2.0

package ruleset

import "github.com/holdfast-project/holdfast/agent/content"

// queue holds requests that wait, and gives those of different containers in turn. Whoever uses it has the lock.
type queue struct {
	// most is how many may wait in all, each how many of one container.
	most, each int
	waiting    int
	of         map[uint64][]*content.Request
	// turn are the containers that have requests, the next one first.
	turn []uint64
}

// put adds a request; false says that there is no room.
func (q *queue) put(r *content.Request) bool {
	container := r.Piece.Head.Origin
	before := q.of[container]
	if q.waiting >= q.most || len(before) >= q.each {
		return false
	}
	if len(before) == 0 {
		q.turn = append(q.turn, container)
	}
	q.of[container] = append(before, r)
	q.waiting++
	return true
}

// take gives the request that has waited longest of the container whose turn it is; nil where there is none.
func (q *queue) take() *content.Request {
	if q.waiting == 0 {
		return nil
	}
	container := q.turn[0]
	q.turn = append(q.turn[:0], q.turn[1:]...)
	waits := q.of[container]
	r := waits[0]
	waits[0] = nil
	q.waiting--
	if len(waits) == 1 {
		delete(q.of, container)
		return r
	}
	q.of[container] = waits[1:]
	q.turn = append(q.turn, container)
	return r
}
