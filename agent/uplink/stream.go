// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// errSilent ends a stream whose collector does not answer hello.
var errSilent = errors.New("the collector does not answer hello")

// stream is one stream, from hello to its end.
type stream struct {
	uplink *Uplink
	link   *link
	id     *identity
	grpc   apiv1.Uplink_ConnectClient

	alerts, records *lane
	health          chan *apiv1.Health
	observer        *observer
	// finish is closed when everything was sent that is to be sent on this stream.
	finish chan struct{}
}

// connect holds a stream open until it ends, and says why it did: never nil.
func (u *Uplink) connect(ctx context.Context, id *identity) error {
	l, err := u.dial(verifyRoots(id.pool), &id.certificate)
	if err != nil {
		return err
	}
	defer l.close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &stream{
		uplink: u, link: l, id: id,
		alerts:  newLane(apiv1.Lane_LANE_ALERTS, u.cfg.Alerts, &u.counts.alerts, u),
		records: newLane(apiv1.Lane_LANE_RECORDS, u.cfg.Records, &u.counts.records, u),
		health:  make(chan *apiv1.Health), observer: newObserver(u), finish: make(chan struct{}),
	}
	welcome, err := s.greet(ctx, cancel)
	if err != nil {
		return err
	}
	u.connected(ctx)
	err = s.run(ctx, cancel, welcome)
	u.disconnected(err)
	u.cfg.Tails.StopAll()
	u.tailsChanged()
	s.alerts.end()
	s.records.end()
	return err
}

// greet opens the stream and says hello. What was sent on an earlier stream and not acknowledged will be sent again.
func (s *stream) greet(ctx context.Context, cancel context.CancelCauseFunc) (*apiv1.Welcome, error) {
	patience := time.AfterFunc(s.uplink.timing.welcome, func() { cancel(errSilent) })
	defer patience.Stop()
	var err error
	if s.grpc, err = apiv1.NewUplinkClient(s.link.conn).Connect(ctx); err != nil {
		return nil, s.explain(ctx, err)
	}
	hello := s.uplink.cfg.Hello()
	hello.Node, hello.Positions = s.uplink.cfg.Node, nil
	for _, l := range []*lane{s.alerts, s.records} {
		l.spool.Rewind()
		hello.Positions = append(hello.Positions, l.position())
	}
	// If it fails, Recv says why.
	if err := s.grpc.Send(&apiv1.AgentMessage{Message: &apiv1.AgentMessage_Hello{Hello: hello}}); err != nil && !errors.Is(err, io.EOF) {
		return nil, s.explain(ctx, err)
	}
	m, err := s.grpc.Recv()
	if err != nil {
		return nil, s.explain(ctx, err)
	}
	if m.GetWelcome() == nil {
		return nil, fmt.Errorf("%w: its first message is %T, not welcome", errBreach, m.GetMessage())
	}
	return m.GetWelcome(), nil
}

// explain says why a call on the stream failed.
func (s *stream) explain(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return s.link.explain(err, ErrCertificate)
}

// run moves everything up and down until the first part of it ends, and joins the rest.
func (s *stream) run(ctx context.Context, cancel context.CancelCauseFunc, welcome *apiv1.Welcome) error {
	if err := s.begin(welcome); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	// A Recv or Send under way ends with the context that the stream was opened with.
	stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	defer stop()
	feeding, enough := context.WithCancel(ctx)
	defer enough()
	var feeders sync.WaitGroup
	for _, l := range []*lane{s.alerts, s.records} {
		feeders.Add(1)
		group.Go(func() error {
			defer feeders.Done()
			return l.feed(ctx, feeding)
		})
	}
	group.Go(func() error { return s.send(ctx) })
	group.Go(func() error { return s.receive(ctx) })
	group.Go(func() error { return s.tellHealth(ctx) })
	group.Go(func() error { return s.observer.run(ctx) })
	group.Go(func() error {
		if err := s.renew(ctx); err != nil {
			return err
		}
		enough()
		feeders.Wait()
		return s.drain(ctx)
	})
	return group.Wait()
}

// begin takes what the welcome says.
func (s *stream) begin(welcome *apiv1.Welcome) error {
	for _, a := range welcome.GetAcks() {
		if err := s.ack(a); err != nil {
			return err
		}
	}
	s.uplink.direct(welcome.GetRecord())
	s.uplink.directModes(welcome.GetModes())
	s.observer.held = welcome.GetObserved()
	return nil
}

func (s *stream) ack(a *apiv1.Ack) error {
	switch a.GetLane() {
	case apiv1.Lane_LANE_ALERTS:
		return s.alerts.landed(a)
	case apiv1.Lane_LANE_RECORDS:
		return s.records.landed(a)
	}
	return fmt.Errorf("%w: acknowledgement of lane %d, which there is not", errBreach, a.GetLane())
}

// receive takes what the collector sends, until the stream ends.
func (s *stream) receive(ctx context.Context) error {
	u := s.uplink
	for {
		m, err := s.grpc.Recv()
		if err != nil {
			return s.ended(ctx, err)
		}
		switch m := m.GetMessage().(type) {
		case *apiv1.CollectorMessage_Ack:
			if err := s.ack(m.Ack); err != nil {
				return err
			}
		case *apiv1.CollectorMessage_Record:
			u.direct(m.Record)
		case *apiv1.CollectorMessage_Modes:
			u.directModes(m.Modes)
		case *apiv1.CollectorMessage_Profiles:
			u.apply(m.Profiles)
		case *apiv1.CollectorMessage_Forget:
			s.observer.forget(removalsOf(m.Forget))
		case *apiv1.CollectorMessage_Observed:
			if u.cfg.Profiles != nil {
				s.observer.answer(m.Observed)
			}
		case *apiv1.CollectorMessage_TailStart:
			if err := u.cfg.Tails.Start(m.TailStart.GetId(), m.TailStart.GetFilter()); err != nil {
				u.log.Warn("a live view was not begun", "error", err)
			}
			u.tailsChanged()
		case *apiv1.CollectorMessage_TailStop:
			u.cfg.Tails.Stop(m.TailStop.GetId())
			u.tailsChanged()
		case *apiv1.CollectorMessage_Welcome:
			return fmt.Errorf("%w: a second welcome", errBreach)
		default:
			// A newer collector may know messages that this agent does not.
			u.log.Debug("a message of a kind that this agent does not know was passed over")
		}
	}
}

// ended says why the stream ended. The end that this side asked for is errRemake.
func (s *stream) ended(ctx context.Context, err error) error {
	select {
	case <-s.finish:
		return errRemake
	default:
		return s.explain(ctx, err)
	}
}

func (u *Uplink) tailsChanged() {
	if u.cfg.OnTails != nil {
		u.cfg.OnTails(u.cfg.Tails.Classes())
	}
}

// send is the only one to send, once hello was said. Alerts go before all else.
func (s *stream) send(ctx context.Context) error {
	for {
		var err error
		select {
		case b := <-s.alerts.out:
			err = s.sendBatch(s.alerts, b)
		default:
			select {
			case b := <-s.alerts.out:
				err = s.sendBatch(s.alerts, b)
			case h := <-s.health:
				err = s.grpc.Send(&apiv1.AgentMessage{Message: &apiv1.AgentMessage_Health{Health: h}})
			case <-s.uplink.cfg.Tails.Ready():
				err = s.sendTail()
			case m := <-s.observer.out:
				err = s.grpc.Send(m)
			case b := <-s.records.out:
				err = s.sendBatch(s.records, b)
			case <-s.finish:
				return s.grpc.CloseSend()
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if errors.Is(err, io.EOF) {
			// The stream is over, and receive learns why.
			return nil
		}
		if err != nil {
			return s.explain(ctx, err)
		}
	}
}

func (s *stream) sendBatch(l *lane, b *apiv1.Batch) error {
	// Send has encoded the message when it returns, so its memory is free.
	err := s.grpc.Send(&apiv1.AgentMessage{Message: &apiv1.AgentMessage_Batch{Batch: b}})
	l.sent <- struct{}{}
	return err
}

func (s *stream) sendTail() error {
	b := s.uplink.cfg.Tails.Take()
	if b == nil {
		return nil
	}
	return s.grpc.Send(&apiv1.AgentMessage{Message: &apiv1.AgentMessage_Tail{Tail: b}})
}

// tellHealth says how the agent is, now and then every so often. What is too much for one message at the start of the stream
// follows at once; later it waits for the next.
func (s *stream) tellHealth(ctx context.Context) error {
	every := time.NewTicker(s.uplink.timing.health)
	defer every.Stop()
	var t teller
	for starting := true; ; {
		h, more := t.tell(s.uplink.cfg.Health())
		select {
		case s.health <- h:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if starting = starting && more; starting {
			continue
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// renew waits until the certificate is due and gets a new one. It returns nil when it has, and an error when ctx ends.
func (s *stream) renew(ctx context.Context) error {
	u := s.uplink
	pause := backoff{first: u.timing.first, last: u.timing.slow, slow: u.timing.slow}
	for {
		// The wall clock goes on while the machine sleeps, and timers do not: hence a look at it now and then.
		for wait := time.Until(s.id.renew); wait > 0; wait = time.Until(s.id.renew) {
			if !rest(ctx, min(wait, u.timing.slow)) {
				return context.Cause(ctx)
			}
			u.save(s.id)
		}
		err := u.renew(ctx, s.link)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		wait := pause.next(refused(err))
		u.log.Warn("the certificate was not renewed, trying again", "error", err, "expires", s.id.leaf.NotAfter.UTC(), "again_in", wait)
		if !rest(ctx, wait) {
			return context.Cause(ctx)
		}
	}
}

// drain ends the stream once all that was sent is acknowledged, so that nothing is sent twice.
func (s *stream) drain(ctx context.Context) error {
	patience, cancel := context.WithTimeout(ctx, s.uplink.timing.drain)
	defer cancel()
	s.alerts.settle(patience)
	s.records.settle(patience)
	close(s.finish)
	// The collector answers the end of this side with its own, and receive returns.
	<-patience.Done()
	return errRemake
}
