// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"sync"
	"time"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/store"
)

// outbox is how many messages may wait for an agent.
const outbox = 64

// Session is a node while its agent is connected. A node has one at most.
type Session struct {
	fleet  *Fleet
	node   string
	issued time.Time

	out    chan *apiv1.CollectorMessage
	policy chan *apiv1.RecordPolicy
	done   chan struct{}

	mu    sync.Mutex
	state store.Node
	dirty bool
	tails map[uint64]*tail
	share share
	cause error
}

// Arrival is an agent that connects.
type Arrival struct {
	// Hello is what it says of itself. The caller has checked that it is the node that it says it is.
	Hello   *apiv1.Hello
	Address string
	// Issued is when its certificate was signed.
	Issued time.Time
}

// Join begins the session of a node. An older one that the node still has ends with ErrSuperseded. The node is written
// down before Join returns, or as soon as that is possible.
func (f *Fleet) Join(ctx context.Context, a Arrival) *Session {
	now := f.now()
	s := &Session{
		fleet: f, node: a.Hello.GetNode(), issued: a.Issued,
		out: make(chan *apiv1.CollectorMessage, outbox), policy: make(chan *apiv1.RecordPolicy, 1), done: make(chan struct{}),
		state: store.Node{Name: a.Hello.GetNode(), FirstSeen: now, LastSeen: now, Address: a.Address, Hello: a.Hello},
		tails: map[uint64]*tail{}, share: newShare(),
	}
	if err := f.store.PutNodes(ctx, s.state); err != nil {
		f.log.Error("a node that has connected was not written down, trying again", "node", s.node, "error", err)
		s.dirty = true
	}
	f.mu.Lock()
	older := f.sessions[s.node]
	f.sessions[s.node] = s
	s.forget(f.removed)
	f.mu.Unlock()
	if older != nil {
		older.end(ErrSuperseded)
	}
	return s
}

// Leave ends the session: tails of the node end, and what it said last is written down.
func (s *Session) Leave(ctx context.Context) {
	s.end(context.Canceled)
	s.fleet.mu.Lock()
	if s.fleet.sessions[s.node] == s {
		delete(s.fleet.sessions, s.node)
	}
	s.fleet.mu.Unlock()
	if n, dirty := s.takeDirty(); dirty {
		if err := s.fleet.store.PutNodes(ctx, n); err != nil {
			s.fleet.log.Error("what a node said last was not written down", "node", s.node, "error", err)
		}
	}
}

// end ends the session for a cause; the first one counts.
func (s *Session) end(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return
	}
	s.cause = cause
	close(s.done)
	for id := range s.tails {
		s.closeTail(id)
	}
}

// Done is closed when the session has ended; Err then says why.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err is why the session ended, nil before.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// Out gives the messages that are to be sent to the agent, policies aside.
func (s *Session) Out() <-chan *apiv1.CollectorMessage { return s.out }

// Policy gives the record policy each time it changes. One that is not taken before the next change is skipped.
func (s *Session) Policy() <-chan *apiv1.RecordPolicy { return s.policy }

// CurrentPolicy is the record policy to begin with.
func (s *Session) CurrentPolicy() *apiv1.RecordPolicy {
	s.fleet.mu.Lock()
	defer s.fleet.mu.Unlock()
	return s.fleet.policy
}

// tellPolicy replaces the policy that waits to be sent. The caller holds the fleet's mu, so it is the only one to do so.
func (s *Session) tellPolicy(p *apiv1.RecordPolicy) {
	select {
	case <-s.policy:
	default:
	}
	s.policy <- p
}

// Seen notes that the agent has sent something.
func (s *Session) Seen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.LastSeen, s.dirty = s.fleet.now(), true
}

// Health notes what the agent says of itself. A message that is partial adds to what it said before.
func (s *Session) Health(h *apiv1.Health) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Health, s.dirty = withHealth(s.state.Health, h), true
}

// known is what is known of the node.
func (s *Session) known() store.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// takeDirty is what is known of the node, and whether it is not written down yet; it counts as written down from now on.
func (s *Session) takeDirty() (store.Node, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dirty := s.dirty
	s.dirty = false
	return s.state, dirty
}

func (s *Session) markDirty() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirty = true
}
