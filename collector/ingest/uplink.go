// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/authority"
	"github.com/holdfast-project/holdfast/collector/fleet"
	"github.com/holdfast-project/holdfast/collector/store"
)

const (
	// helloTimeout is how long an agent has to say hello.
	helloTimeout = 10 * time.Second
	// creditEvery is how often an agent that was held back is given more credit, if there is any.
	creditEvery = time.Second
)

// causeElsewhere is the cause under which records are counted that the agent has sent to another collector, or to this one
// before its store was lost.
const causeElsewhere = "acknowledged elsewhere"

// uplink serves apiv1.Uplink.
type uplink struct {
	apiv1.UnimplementedUplinkServer
	server *Server
}

// Connect is apiv1.UplinkServer.Connect. It returns when the stream is to end; what still receives then ends with it, and
// Server.Run waits for that.
func (u uplink) Connect(stream apiv1.Uplink_ConnectServer) error {
	s := u.server
	ctx, address := stream.Context(), addressOf(stream.Context())
	node, cert, err := s.identify(ctx)
	if err != nil {
		return err
	}
	c := &connection{
		server: s, stream: stream, node: node, address: address, log: s.log.With("node", node, "address", address),
		alerts: line{committer: s.alerts}, records: line{committer: s.records},
		wake: make(chan struct{}, 1), welcomed: make(chan struct{}), received: make(chan error, 1),
	}
	hellos := make(chan *apiv1.Hello)
	s.streams.Go(func() { c.received <- c.receive(ctx, hellos) })
	expiry := time.NewTimer(time.Until(cert.NotAfter))
	defer expiry.Stop()
	patience := time.NewTimer(helloTimeout)
	defer patience.Stop()
	select {
	case hello := <-hellos:
		err = c.serve(ctx, hello, authority.IssuedAt(cert), expiry.C)
	case err = <-c.received:
	case <-patience.C:
		err = status.Errorf(codes.InvalidArgument, "no hello within %s", helloTimeout)
	case <-s.stopping:
		err = errStopping()
	}
	return c.conclude(ctx, err)
}

func errStopping() error {
	return status.Error(codes.Unavailable, "the collector is stopping: connect again")
}

// connection is one stream of an agent.
type connection struct {
	server  *Server
	stream  apiv1.Uplink_ConnectServer
	node    string
	address string
	log     *slog.Logger
	session *fleet.Session
	alerts  line
	records line
	// wake says that a line has news.
	wake chan struct{}
	// welcomed is closed when the session is there.
	welcomed chan struct{}
	// received is how receiving ended.
	received chan error
}

// conclude logs how a stream ended, and says it to the agent.
func (c *connection) conclude(ctx context.Context, err error) error {
	cause := authority.CauseOtherNode
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, context.Canceled):
		c.log.Info("agent disconnected", "error", context.Cause(ctx))
		return nil
	case errors.Is(err, fleet.ErrSuperseded):
		err = status.Error(codes.Aborted, err.Error())
	case errors.Is(err, fleet.ErrRevoked):
		cause = authority.CauseNodeRevoked
		err = status.Error(codes.PermissionDenied, err.Error())
	}
	st := status.Convert(err)
	switch st.Code() {
	case codes.Canceled:
		c.log.Info("agent disconnected")
		return nil
	case codes.Unavailable, codes.Aborted:
		c.log.Info("stream ended", "reason", st.Message())
	case codes.PermissionDenied:
		denied := attempt{call: "denied", credential: credentialCertificate, node: c.node, address: c.address}
		c.server.refused(denied, string(cause), errors.New(st.Message()))
	default:
		reason := "protocol"
		switch st.Code() {
		case codes.ResourceExhausted:
			reason = "oversized"
		case codes.Unauthenticated:
			reason = "expired"
		}
		c.server.reject(reason, c.address, errors.New(st.Message()), "node", c.node)
	}
	return st.Err()
}

// serve greets the agent and sends it what there is to send, until the stream is to end.
func (c *connection) serve(ctx context.Context, hello *apiv1.Hello, issued time.Time, expiry <-chan time.Time) error {
	session := c.server.fleet.Join(ctx, fleet.Arrival{Hello: hello, Address: c.address, Issued: issued})
	defer session.Leave(context.WithoutCancel(ctx))
	c.session = session
	for _, l := range []*line{&c.alerts, &c.records} {
		l.committer.join()
		defer l.committer.leave()
	}
	if err := c.welcome(ctx, hello); err != nil {
		return err
	}
	c.log.Info("agent connected", "version", hello.GetAgentVersion(), "kernel", hello.GetKernelRelease(), "machine", hello.GetMachine())
	close(c.welcomed)
	return c.send(ctx, session, expiry)
}

// welcome says how far the agent's lines are stored. Positions of which the agent knows more than the store are moved on:
// what another collector has acknowledged will never come here.
func (c *connection) welcome(ctx context.Context, hello *apiv1.Hello) error {
	positions, err := c.server.lines.Positions(ctx, c.node)
	if err != nil {
		c.log.Error("positions could not be read", "error", err)
		return status.Error(codes.Unavailable, "the collector cannot read now: see its log")
	}
	held, err := c.session.Held(ctx)
	if err != nil {
		c.log.Error("observed profiles could not be listed", "error", err)
		return status.Error(codes.Unavailable, "the collector cannot read now: see its log")
	}
	welcome := &apiv1.Welcome{Record: c.session.CurrentPolicy(), Observed: held, Modes: c.session.CurrentModes()}
	stored := map[apiv1.Lane]map[uint64]uint64{apiv1.Lane_LANE_ALERTS: {}, apiv1.Lane_LANE_RECORDS: {}}
	for _, p := range positions {
		stored[p.Lane][p.Epoch] = p.Sequence
		welcome.Positions = append(welcome.Positions, &apiv1.Position{Lane: p.Lane, Epoch: p.Epoch, Acked: p.Sequence})
	}
	for _, p := range hello.GetPositions() {
		l, err := c.line(p.GetLane())
		if err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
		acked := stored[p.GetLane()][p.GetEpoch()]
		if p.GetAcked() > acked {
			if err := c.elsewhere(ctx, l, p, acked+1); err != nil {
				return err
			}
		}
		welcome.Acks = append(welcome.Acks, l.begin(p.GetLane(), p.GetEpoch(), max(acked, p.GetAcked())))
	}
	for lane, l := range map[apiv1.Lane]*line{apiv1.Lane_LANE_ALERTS: &c.alerts, apiv1.Lane_LANE_RECORDS: &c.records} {
		if !l.begun() {
			welcome.Acks = append(welcome.Acks, l.begin(lane, 0, 0))
		}
	}
	return c.stream.Send(&apiv1.CollectorMessage{Message: &apiv1.CollectorMessage_Welcome{Welcome: welcome}})
}

// elsewhere writes down that what a line lacks was acknowledged by another collector.
func (c *connection) elsewhere(ctx context.Context, l *line, p *apiv1.Position, first uint64) error {
	c.log.Warn("the agent was acknowledged further than is stored here", "lane", laneName(p.GetLane()), "epoch", p.GetEpoch(),
		"first", first, "last", p.GetAcked())
	_, err := l.committer.insist(ctx, []store.Batch{{
		Node: c.node, Epoch: p.GetEpoch(), Received: time.Now(),
		Losses: []store.Loss{{First: first, Last: p.GetAcked(), Cause: causeElsewhere}},
	}})
	return err
}

// send sends acknowledgements, policies, profiles, modes and tails, until the stream is to end.
func (c *connection) send(ctx context.Context, session *fleet.Session, expiry <-chan time.Time) error {
	credit := time.NewTicker(creditEvery)
	defer credit.Stop()
	for {
		var broken error
		select {
		case <-c.wake:
			broken = c.sendAcks(false)
		case <-credit.C:
			broken = c.sendAcks(true)
		case p := <-session.Policy():
			broken = c.stream.Send(&apiv1.CollectorMessage{Message: &apiv1.CollectorMessage_Record{Record: p}})
		case m := <-session.Out():
			broken = c.stream.Send(m)
		case <-session.News():
			for _, m := range session.TakeNews(ctx) {
				if broken = c.stream.Send(m); broken != nil {
					break
				}
			}
		case err := <-c.received:
			return err
		case <-session.Done():
			return session.Err()
		case <-expiry:
			return status.Error(codes.Unauthenticated, "the certificate has expired: renew it and connect again")
		case <-c.server.stopping:
			return errStopping()
		}
		if broken != nil {
			// Receiving ends too then, and knows better why.
			return <-c.received
		}
	}
}

// sendAcks acknowledges what was stored since, or gives credit to lines that were held back.
func (c *connection) sendAcks(heldBack bool) error {
	for _, l := range []*line{&c.alerts, &c.records} {
		for _, ack := range l.acks(heldBack) {
			if err := c.stream.Send(&apiv1.CollectorMessage{Message: &apiv1.CollectorMessage_Ack{Ack: ack}}); err != nil {
				return err
			}
		}
	}
	return nil
}

// wakeUp has send look at the lines.
func (c *connection) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *connection) line(lane apiv1.Lane) (*line, error) {
	switch lane {
	case apiv1.Lane_LANE_ALERTS:
		return &c.alerts, nil
	case apiv1.Lane_LANE_RECORDS:
		return &c.records, nil
	}
	return nil, fmt.Errorf("there is no lane %d", lane)
}
