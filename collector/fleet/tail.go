// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"fmt"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

const (
	// maxTails is how many live views one node serves.
	maxTails = 16
	// tailBuffer is how many batches wait for a slow viewer before events are shed.
	tailBuffer = 32
	// maxPids is how many processes a filter names.
	maxPids = 1000
)

// tail is one live view. Its fields are guarded by the session's mu.
type tail struct {
	batches chan *apiv1.TailBatch
	// shed is how many events did not reach the viewer since the last batch.
	shed uint64
	stop func() bool
}

// Tail streams the events of a connected node that match, live; the filter is evaluated in the agent. The channel is
// closed when ctx ends or the node goes away. A viewer that is slow loses events, which TailBatch.shed counts together
// with those that the agent shed; it is told by the next batch, or by one without events within Config.Every. The error is store.ErrNotFound, ErrNotConnected, ErrTooManyTails or ErrPolicy.
func (f *Fleet) Tail(ctx context.Context, node string, filter *apiv1.EventFilter) (<-chan *apiv1.TailBatch, error) {
	if err := checkSelection(filter.GetWorkload(), filter.GetTypes()); err != nil {
		return nil, err
	}
	if n := len(filter.GetPids()); n > maxPids {
		return nil, fmt.Errorf("%d processes are more than %d: %w", n, maxPids, ErrPolicy)
	}
	f.mu.Lock()
	s := f.sessions[node]
	f.nextTail++
	id := f.nextTail
	f.mu.Unlock()
	if s == nil {
		if _, err := f.store.Node(ctx, node); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("node %q: %w", node, ErrNotConnected)
	}
	return s.startTail(ctx, id, filter)
}

func (s *Session) startTail(ctx context.Context, id uint64, filter *apiv1.EventFilter) (<-chan *apiv1.TailBatch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return nil, fmt.Errorf("node %q: %w", s.node, ErrNotConnected)
	}
	if len(s.tails) >= maxTails {
		return nil, fmt.Errorf("node %q serves %d live views: %w", s.node, len(s.tails), ErrTooManyTails)
	}
	start := &apiv1.TailStart{Id: id, Filter: filter}
	if !s.send(&apiv1.CollectorMessage{Message: &apiv1.CollectorMessage_TailStart{TailStart: start}}) {
		return nil, fmt.Errorf("node %q does not take messages: %w", s.node, ErrNotConnected)
	}
	t := &tail{batches: make(chan *apiv1.TailBatch, tailBuffer)}
	s.tails[id] = t
	t.stop = context.AfterFunc(ctx, func() { s.stopTail(id) })
	return t.batches, nil
}

// send queues a message for the agent; it is false when too many wait.
func (s *Session) send(m *apiv1.CollectorMessage) bool {
	select {
	case s.out <- m:
		return true
	default:
		return false
	}
}

func (s *Session) stopTail(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closeTail(id) {
		s.sendStop(id)
	}
}

func (s *Session) sendStop(id uint64) {
	s.send(&apiv1.CollectorMessage{Message: &apiv1.CollectorMessage_TailStop{TailStop: &apiv1.TailStop{Id: id}}})
}

// closeTail closes a viewer's channel; the caller holds mu.
func (s *Session) closeTail(id uint64) bool {
	t, ok := s.tails[id]
	if ok {
		delete(s.tails, id)
		t.stop()
		close(t.batches)
	}
	return ok
}

// Tail hands a batch that the agent sent to its viewer.
func (s *Session) Tail(b *apiv1.TailBatch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.tails[b.GetId()]
	if !ok {
		// The viewer has left, and the agent has not heard of it: the stop may have found the queue full.
		if s.cause == nil {
			s.sendStop(b.GetId())
		}
		return
	}
	t.hand(b)
}

// hand gives a batch to the viewer, or counts it as shed if the viewer is behind.
func (t *tail) hand(b *apiv1.TailBatch) {
	b.Shed += t.shed
	t.shed = 0
	select {
	case t.batches <- b:
	default:
		t.shed = b.Shed + uint64(len(b.GetEvents()))
	}
}

// tellShed tells viewers what they have lost where no batch came since that could have told.
func (s *Session) tellShed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, t := range s.tails {
		if t.shed > 0 {
			t.hand(&apiv1.TailBatch{Id: id})
		}
	}
}
