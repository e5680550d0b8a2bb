// SPDX-License-Identifier: Apache-2.0

package nri

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/container/session"
)

const (
	// The name and the place in the order of plugins: before those that change containers, since nothing is changed here.
	pluginName, pluginIndex = "holdfast", "00"

	pluginServiceName = "nri.pkg.api.v1alpha1.Plugin"

	// maxHandled is how many requests are worked on at a time.
	maxHandled = 64
	// A container that was announced and not started by then will hardly come; at most maxAnnounced are remembered.
	announcement = 10 * time.Minute
	maxAnnounced = 4096
	sweepEvery   = time.Minute
)

// link is one session.
type link struct {
	s     *Source
	trunk *trunk
	// slots holds a token for each request that is worked on.
	slots chan struct{}
	// pods are those of a listing that comes in parts. Only one part is worked on at a time.
	pods map[string]*pod
}

// session connects, registers, and then answers until something fails.
func (s *Source) session(ctx context.Context) error {
	dialer := net.Dialer{Timeout: session.CallTimeout}
	conn, err := dialer.DialContext(ctx, "unix", s.cfg.Socket)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	// Until the runtime has told what there is, it may not take for ever.
	if err := conn.SetReadDeadline(time.Now().Add(session.CallTimeout)); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	l := &link{s: s, trunk: newTrunk(conn), slots: make(chan struct{}, maxHandled), pods: map[string]*pod{}}
	if err := l.trunk.write(message{conn: runtimeService, stream: 1, kind: kindRequest, body: register(pluginName, pluginIndex)}); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	g.Go(func() error { return l.follow(ctx, g) })
	g.Go(func() error { return s.attend(ctx) })
	return g.Wait()
}

// follow reads requests and has each worked on by a goroutine of the group.
func (l *link) follow(ctx context.Context, g *errgroup.Group) error {
	for {
		m, err := l.trunk.read()
		if err != nil {
			return err
		}
		switch {
		case m.conn == runtimeService && m.kind == kindResponse:
			if err := readReply(m.body); err != nil {
				return fmt.Errorf("register: %w", err)
			}
		case m.conn == pluginService && m.kind == kindRequest:
			select {
			case l.slots <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			g.Go(func() error {
				defer func() { <-l.slots }()
				return l.answer(ctx, m)
			})
		}
	}
}

// attend answers the registry, which this source can tell nothing more, and forgets containers that did not come.
func (s *Source) attend(ctx context.Context) error {
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case q := <-s.cfg.Feed.Queries():
			s.cfg.Feed.Absent(q)
		case now := <-sweep.C:
			s.sweep(now)
		}
	}
}

// answer does what the runtime asks. A request that cannot be read is answered as if there were nothing to say: an error
// would keep a container from being made.
func (l *link) answer(ctx context.Context, m message) error {
	c, err := readCall(m.body)
	if err == nil && c.service != pluginServiceName {
		return l.respond(m, refusal(fmt.Sprintf("no service %.64q", c.service)))
	}
	var payload []byte
	known := true
	if err == nil {
		payload, known, err = l.do(ctx, c)
	}
	if err != nil {
		l.s.stats.bad.Add(1)
		l.s.log.Warn("NRI request not used", "method", c.method, "error", err)
	}
	if !known {
		return l.respond(m, refusal(fmt.Sprintf("no method %.64q", c.method)))
	}
	return l.respond(m, reply(payload))
}

func (l *link) respond(to message, body []byte) error {
	return l.trunk.write(message{conn: pluginService, stream: to.stream, kind: kindResponse, body: body})
}

// do works on a request. known is false for one that was not asked for.
func (l *link) do(ctx context.Context, c call) (payload []byte, known bool, err error) {
	switch c.method {
	case "Configure":
		return configured(), true, l.configure(c.payload)
	case "Synchronize":
		payload, err = l.synchronize(c.payload)
		return payload, true, err
	case "CreateContainer":
		return nil, true, l.s.create(ctx, c)
	case "StartContainer":
		return nil, true, l.s.start(ctx, c)
	case "RemoveContainer":
		return nil, true, l.s.remove(c)
	case "StateChange":
		return nil, true, l.s.change(ctx, c)
	case "Shutdown":
		return nil, true, nil
	default:
		return nil, false, nil
	}
}

func (l *link) configure(payload []byte) error {
	name, version, err := readConfigure(payload)
	if err != nil {
		return err
	}
	l.s.runtime.Store(&name)
	l.s.log.Info("NRI connected", "runtime", name, "version", version)
	return nil
}

// synchronize takes the listing of what there is, which can come in parts. It ends the time that a runtime has to set up
// the session.
func (l *link) synchronize(payload []byte) ([]byte, error) {
	part, err := readListing(payload)
	feed := l.s.cfg.Feed
	if len(l.pods) == 0 {
		feed.BeginSync()
	}
	for i := range part.pods {
		p := &part.pods[i]
		l.pods[p.id] = p
		feed.Put(l.s.sandboxRecord(p))
	}
	for i := range part.boxes {
		b := &part.boxes[i]
		p := l.pods[b.sandbox]
		if p == nil {
			p = &pod{}
		}
		feed.Put(l.s.boxRecord(b, p))
	}
	if part.more {
		return synchronized(true), err
	}
	if err == nil {
		// What was not read has not gone.
		feed.EndSync()
	}
	l.pods = map[string]*pod{}
	l.s.stats.connects.Add(1)
	feed.Up()
	l.s.reason.Store(nil)
	return synchronized(false), errors.Join(err, l.trunk.conn.SetReadDeadline(time.Time{}))
}

// create takes a container that will be made.
func (s *Source) create(ctx context.Context, c call) error {
	on, err := readSubject(c.payload)
	if err != nil {
		return err
	}
	s.mu.Lock()
	if len(s.announced) < maxAnnounced {
		s.announced[on.box.id] = time.Now()
	}
	s.mu.Unlock()
	s.begin(ctx, &on, c.timeout)
	return nil
}

// start takes a container whose first program will be started.
func (s *Source) start(ctx context.Context, c call) error {
	on, err := readSubject(c.payload)
	if err != nil {
		return err
	}
	s.forget(on.box.id)
	s.begin(ctx, &on, c.timeout)
	return nil
}

func (s *Source) remove(c call) error {
	on, err := readSubject(c.payload)
	if err != nil {
		return err
	}
	s.forget(on.box.id)
	s.cfg.Feed.Drop(s.key(on.box.id))
	return nil
}

// change takes what runtimes before NRI 0.9 have one method for.
func (s *Source) change(ctx context.Context, c call) error {
	on, err := readChange(c.payload)
	switch {
	case on.event == eventStartContainer && err == nil:
		s.forget(on.box.id)
		s.begin(ctx, &on, c.timeout)
	case on.event == eventRemoveContainer && err == nil:
		s.forget(on.box.id)
		s.cfg.Feed.Drop(s.key(on.box.id))
	case on.event == eventStartContainer || on.event == eventRemoveContainer:
		return err
	}
	return nil
}

func (s *Source) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.announced, id)
}

// sweep forgets the containers that were announced long ago and not started.
func (s *Source) sweep(now time.Time) {
	s.mu.Lock()
	var late []string
	for id, at := range s.announced {
		if now.Sub(at) > announcement {
			late = append(late, id)
			delete(s.announced, id)
		}
	}
	s.mu.Unlock()
	for _, id := range late {
		s.cfg.Feed.Lapse(s.key(id))
	}
}

// begin hands a container to the registry and waits until what holds for it is in force, for a bounded time: half of what
// the runtime gives at most.
func (s *Source) begin(ctx context.Context, on *subject, limit time.Duration) {
	s.stats.announced.Add(1)
	began := time.Now()
	c := s.cfg.Feed.Announce(s.boxRecord(&on.box, &on.pod))
	if c == nil {
		s.stats.refused.Add(1)
		return
	}
	wait := time.Duration(s.wait.Load())
	if limit > 0 {
		wait = min(wait, limit/2)
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	err := s.cfg.Ready(waiting, c)
	took := time.Since(began)
	s.stats.waited.Add(int64(took))
	for longest := s.stats.longest.Load(); int64(took) > longest; longest = s.stats.longest.Load() {
		if s.stats.longest.CompareAndSwap(longest, int64(took)) {
			break
		}
	}
	if ctx.Err() == nil {
		// With the session the runtime has gone on too.
		s.judge(c, err, waiting.Err() != nil, wait)
	}
}

// judge counts how a container was answered, and sets the wait for the next.
func (s *Source) judge(c *container.Container, err error, over bool, wait time.Duration) {
	switch {
	case err == nil:
		s.stats.ready.Add(1)
		s.wait.Store(int64(s.cfg.Wait))
	case over:
		s.stats.late.Add(1)
		s.wait.Store(max(s.wait.Load()/2, int64(min(leastWait, s.cfg.Wait))))
		s.log.Warn("container goes on before its policy is in force", "container", c.ID, "waited", wait)
	default:
		s.stats.failed.Add(1)
		s.log.Error("policy not in force before the container begins", "container", c.ID, "error", err)
	}
}
