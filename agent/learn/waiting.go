// SPDX-License-Identifier: Apache-2.0

package learn

import (
	"bytes"
	"slices"
	"time"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/event"
)

// Bounds of contacts that wait for the names of those who were contacted.
const (
	maxWaiting = 1024
	waitsFor   = 5 * time.Second
)

// waiting are contacts whose peers Kubernetes has been asked for.
type waiting struct {
	list []parked
}

// parked is such a contact. until is zero before it was first looked at.
type parked struct {
	ev    event.Event
	until time.Time
}

// wait keeps a copy of a contact until it is known who was contacted; false when there is no room, or it cannot be copied.
func (l *Learner) wait(ev *event.Event) bool {
	if len(l.waiting.list) >= maxWaiting {
		return false
	}
	var kept parked
	if err := kept.ev.Decode(bytes.Clone(ev.Raw())); err != nil {
		return false
	}
	kept.ev.Time, kept.ev.Process, kept.ev.Container, kept.ev.Peer = ev.Time, ev.Process, ev.Container, ev.Peer
	l.waiting.list = append(l.waiting.list, kept)
	return true
}

// drop forgets the contacts that a function says so of.
func (w *waiting) drop(which func(*event.Event) bool) {
	w.list = slices.DeleteFunc(w.list, func(p parked) bool { return which(&p.ev) })
}

// retry learns from the contacts whose peers are known by now, and by address from those that have waited long enough.
func (l *Learner) retry(now time.Time) {
	list := l.waiting.list
	l.waiting.list = nil
	for i := range list {
		one := &list[i]
		if one.until.IsZero() {
			one.until = now.Add(waitsFor)
		}
		_, answer := l.cfg.Owner(one.ev.Peer)
		last := !now.Before(one.until)
		if answer == container.OwnerAsked && !last {
			l.waiting.list = append(l.waiting.list, *one)
			continue
		}
		if r := l.replicaOf(&one.ev); r != nil {
			l.learn(r, &one.ev, last)
		}
	}
}
