// SPDX-License-Identifier: Apache-2.0

// Package tail shows events live to those who watch the node: a filter and a bounded queue for each. Whoever is slow
// loses events, which are counted; the pipeline never waits. The package is pure: no goroutines, no I/O, no clock. The
// uplink starts and stops tails as the collector asks, and takes what has gathered; the pipeline offers events.
package tail

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-project/holdfast/agent/event"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// Bounds of what watchers can make the agent hold.
const (
	// MaxTails is how many tails there may be at one time.
	MaxTails = 16
	// maxQueued is how many events wait for one watcher.
	maxQueued = 1024
	// maxBytes is how much all queues together hold, in bytes of encoded events.
	maxBytes = 8 << 20
	// batchEvents and batchBytes bound one batch.
	batchEvents = 256
	batchBytes  = 512 << 10
)

// ErrTooMany is returned by Start when MaxTails are there already.
var ErrTooMany = errors.New("too many tails")

// Hub is where events meet their watchers. All methods may be called concurrently.
type Hub struct {
	// list is replaced as a whole, so that Active and Offer need no lock; nil when nobody watches.
	list atomic.Pointer[[]*tail]
	// ready holds a token while something may be there to take.
	ready chan struct{}
	shed  atomic.Uint64
	sent  atomic.Uint64

	// mu guards changes of list, and the queues.
	mu    sync.Mutex
	bytes int
	// turn is where Take looks first, so that no watcher starves another.
	turn int
}

// tail is one watcher. Its queue is guarded by the hub's mu.
type tail struct {
	id     uint64
	filter filter
	queue  []queued
	shed   uint64
	// ended says that it was stopped. An Offer that began before may still know it.
	ended bool
}

type queued struct {
	event *apiv1.Event
	bytes int
}

// New makes a hub that nobody watches.
func New() *Hub {
	return &Hub{ready: make(chan struct{}, 1)}
}

// Active reports whether anybody watches. It costs one atomic load.
func (h *Hub) Active() bool { return h.list.Load() != nil }

// Offer shows an event to those whose filter it matches. Describe is called at most once, before Offer returns, and only
// if somebody has room for what it gives; nobody changes that message afterwards.
func (h *Hub) Offer(ev *event.Event, describe func() *apiv1.Event) {
	list := h.list.Load()
	if list == nil {
		return
	}
	var matching [MaxTails]*tail
	n := 0
	for _, t := range *list {
		if t.filter.match(ev) {
			matching[n] = t
			n++
		}
	}
	if n > 0 {
		h.queue(matching[:n], describe)
	}
}

func (h *Hub) queue(tails []*tail, describe func() *apiv1.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var q queued
	for _, t := range tails {
		if t.ended {
			continue
		}
		if len(t.queue) >= maxQueued || h.bytes >= maxBytes {
			t.shed++
			h.shed.Add(1)
			continue
		}
		if q.event == nil {
			q.event = describe()
			q.bytes = proto.Size(q.event)
		}
		t.queue = append(t.queue, q)
		h.bytes += q.bytes
	}
	h.signal()
}

// signal says that there may be something to take.
func (h *Hub) signal() {
	select {
	case h.ready <- struct{}{}:
	default:
	}
}

// Start begins a tail. An id that is there already is begun anew with the filter. The error says why there is no such
// tail: ErrTooMany, or what is wrong with the filter.
func (h *Hub) Start(id uint64, from *apiv1.EventFilter) error {
	f, err := compile(from)
	if err != nil {
		return fmt.Errorf("start tail %d: %w", id, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	list := h.without(id)
	if len(list) >= MaxTails {
		return fmt.Errorf("start tail %d: %w", id, ErrTooMany)
	}
	h.store(append(list, &tail{id: id, filter: f}))
	return nil
}

// Stop ends a tail, and forgets what waits for its watcher. An id that is not there is no error.
func (h *Hub) Stop(id uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.store(h.without(id))
}

// StopAll ends all tails.
func (h *Hub) StopAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.tails() {
		h.drop(t)
	}
	h.store(nil)
}

// without is a copy of the list that lacks one tail, whose queue is given up. mu is held.
func (h *Hub) without(id uint64) []*tail {
	var list []*tail
	for _, t := range h.tails() {
		if t.id == id {
			h.drop(t)
		} else {
			list = append(list, t)
		}
	}
	return list
}

func (h *Hub) tails() []*tail {
	if list := h.list.Load(); list != nil {
		return *list
	}
	return nil
}

func (h *Hub) store(list []*tail) {
	if len(list) == 0 {
		h.list.Store(nil)
		return
	}
	h.list.Store(&list)
}

// drop ends a tail and empties its queue. mu is held.
func (h *Hub) drop(t *tail) {
	for _, q := range t.queue {
		h.bytes -= q.bytes
	}
	t.queue, t.ended = nil, true
}

// Ready gives a token when there may be something to take. It is for one receiver, which then calls Take once: what is
// left makes a new token.
func (h *Hub) Ready() <-chan struct{} { return h.ready }

// Take gives the next batch for one of the watchers, at most 256 events and about half a mebibyte, or nil when nothing
// waits. Watchers take turns. A batch without events tells how many were shed.
func (h *Hub) Take() *apiv1.TailBatch {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := h.tails()
	for range list {
		h.turn++
		t := list[h.turn%len(list)]
		if len(t.queue) > 0 || t.shed > 0 {
			return h.batch(t)
		}
	}
	return nil
}

// batch takes from the head of a queue. mu is held.
func (h *Hub) batch(t *tail) *apiv1.TailBatch {
	b := &apiv1.TailBatch{Id: t.id, Shed: t.shed}
	t.shed = 0
	bytes := 0
	for _, q := range t.queue {
		if len(b.Events) == batchEvents || bytes > 0 && bytes+q.bytes > batchBytes {
			break
		}
		b.Events = append(b.Events, q.event)
		bytes += q.bytes
	}
	h.bytes -= bytes
	h.sent.Add(uint64(len(b.Events)))
	// The array behind the queue is used again from its beginning, and must not hold what was taken.
	rest := copy(t.queue, t.queue[len(b.Events):])
	clear(t.queue[rest:])
	t.queue = t.queue[:rest]
	h.signal()
	return b
}

// Classes gives the classes, as bits 1 << wire.Type, that tails name in their filters. A tail that names none watches
// what is read anyway, and adds nothing: reading every class for it would burden the whole node.
func (h *Hub) Classes() uint64 {
	var all uint64
	for _, t := range h.tails() {
		if t.filter.named {
			all |= t.filter.classes
		}
	}
	return all
}

// Stats is a snapshot for metrics.
type Stats struct {
	// Tails is how many there are now.
	Tails int
	// Sent and Shed count events since New: taken, and dropped because a queue was full.
	Sent, Shed uint64
}

// Stats returns a snapshot.
func (h *Hub) Stats() Stats {
	return Stats{Tails: len(h.tails()), Sent: h.sent.Load(), Shed: h.shed.Load()}
}
