// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxTasks is how many questions are put to the API server at a time.
	maxTasks = 8
	// gatherFor is how long names that move are gathered before they are told.
	gatherFor = 100 * time.Millisecond
)

// work does what is due until the context ends.
func (s *Source) work(ctx context.Context, group *sync.WaitGroup) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
		s.follow()
		s.grow()
		next := earlier(s.tell(), s.find(ctx))
		next = earlier(next, s.askFar(ctx))
		next = earlier(next, s.refresh(ctx))
		s.watchWanted(ctx, group)
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(max(next.Sub(s.now()), time.Millisecond))
		}
	}
}

// follow lets containers wait for their owners while the API server can be expected to tell them.
func (s *Source) follow() {
	up, _, err := s.streams[0].up()
	s.mu.Lock()
	was := s.told
	if s.told = up; was != up {
		s.toldWhen = s.now()
	}
	s.mu.Unlock()
	switch {
	case up && !was:
		s.log.Info("Kubernetes tells of the node's pods", "node", s.cfg.Node)
	case !up && was:
		s.log.Warn("the API server does not answer: going on from what is known", "error", err)
	}
	if up != was {
		s.cfg.Registry.AwaitOwners(up)
	}
}

// grow says when more names are told of than before.
func (s *Source) grow() {
	s.mu.Lock()
	n := 0
	for _, w := range s.watched {
		n += once(w.stream.whole())
	}
	for _, st := range s.streams {
		n += once(st.whole())
	}
	more := n > s.whole
	s.whole = n
	s.mu.Unlock()
	if more && s.cfg.OnMoved != nil {
		s.cfg.OnMoved(nil)
	}
}

func once(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// tell says what has moved, and gives when there is more to say.
func (s *Source) tell() time.Time {
	now := s.now()
	s.mu.Lock()
	next := s.letGo(now)
	due := s.newsAt.Add(gatherFor)
	if len(s.news) == 0 || now.Before(due) {
		if len(s.news) > 0 {
			next = earlier(next, due)
		}
		s.mu.Unlock()
		return next
	}
	names := slices.Sorted(maps.Keys(s.news))
	clear(s.news)
	s.mu.Unlock()
	if s.cfg.OnMoved != nil {
		s.cfg.OnMoved(names)
	}
	return next
}

// start runs a question on a goroutine of its own, if one is free.
func (s *Source) start(question func()) bool {
	select {
	case s.slots <- struct{}{}:
	default:
		return false
	}
	s.tasks.Go(func() {
		defer s.poke()
		defer func() { <-s.slots }()
		question()
	})
	return true
}

// find looks for the owners of pods, and gives when the next may be tried again.
func (s *Source) find(ctx context.Context) (next time.Time) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pods {
		switch {
		case p.found || p.asking:
		case p.next.After(now):
			next = earlier(next, p.next)
		default:
			if !s.start(func() { s.findOwner(ctx, p.uid, p.up) }) {
				// Those that run wake the loop when they are done.
				return next
			}
			p.asking = true
		}
	}
	return next
}

// findOwner follows the owners of a pod and tells the registry.
func (s *Source) findOwner(ctx context.Context, uid string, up ref) {
	found, err := s.owners.follow(ctx, up)
	s.mu.Lock()
	p := s.pods[uid]
	if p == nil || p.up != up {
		if p != nil {
			p.asking = false
		}
		s.mu.Unlock()
		return
	}
	p.asking = false
	if err != nil {
		p.next = s.now().Add(pause(p.tries))
		p.tries++
		s.mu.Unlock()
		s.log.Debug("owner of a pod is not known yet", "pod", nameOf(p.namespace, p.name), "error", err)
		return
	}
	p.owner, p.found, p.tries = found, true, 0
	s.movedPod(p)
	// With the last owner of a namespace, its workloads are told of.
	for workload := range s.wanted {
		if strings.HasPrefix(workload, p.namespace+"/") {
			s.moved("workload " + workload)
		}
	}
	s.mu.Unlock()
	if p.here {
		s.push(p)
	}
}

// pause is how long to wait after so many attempts in vain, with jitter.
func pause(tries int) time.Duration {
	d := min(firstPause<<min(tries, 10), mostPause)
	return d + rand.N(d)
}

// refresh asks now and then for the annotations of the workloads that have pods on the node, and gives when it will again.
func (s *Source) refresh(ctx context.Context) time.Time {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.recheck.IsZero() {
		s.recheck = now.Add(askedAgain + rand.N(askedAgain/4))
	}
	if now.Before(s.recheck) || !s.told {
		return s.recheck
	}
	refs := map[ref]bool{}
	for _, p := range s.pods {
		if p.here && p.found && p.owner.ref != (ref{}) {
			refs[p.owner.ref] = true
		}
	}
	if s.start(func() { s.askAgain(ctx, slices.Collect(maps.Keys(refs))) }) {
		s.recheck = now.Add(askedAgain + rand.N(askedAgain/4))
	}
	return s.recheck
}

// askAgain asks for the annotations of workloads, one after the other, and tells the registry what has changed.
func (s *Source) askAgain(ctx context.Context, refs []ref) {
	for _, r := range refs {
		annotations, changed, err := s.owners.again(ctx, r)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.log.Debug("annotations of a workload were not read", "workload", r.String(), "error", err)
			continue
		}
		if !changed {
			continue
		}
		s.mu.Lock()
		var pods []*pod
		for _, p := range s.pods {
			if p.here && p.found && p.owner.ref == r {
				p.owner.annotations = annotations
				pods = append(pods, p)
			}
		}
		s.mu.Unlock()
		s.push(pods...)
	}
}
