// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/fleet"
	"github.com/holdfast-project/holdfast/collector/store"
)

// receive takes what the agent sends until the stream ends. The first message, which must be hello, is handed to serve;
// the second is looked at only after serve has welcomed the agent, for that is when the agent may send it.
func (c *connection) receive(ctx context.Context, hellos chan<- *apiv1.Hello) error {
	m, err := c.stream.Recv()
	if err != nil {
		return err
	}
	hello := m.GetHello()
	if hello == nil {
		return status.Errorf(codes.InvalidArgument, "the first message is %T, not hello", m.GetMessage())
	}
	if hello.GetNode() != c.node {
		return status.Errorf(codes.PermissionDenied, "hello is from node %.80q, but the certificate is of node %q", hello.GetNode(), c.node)
	}
	select {
	case hellos <- hello:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-c.welcomed:
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		m, err := c.stream.Recv()
		if err != nil {
			return err
		}
		// A session that has ended takes nothing more, even if its agent does not let the stream end.
		if err := c.session.Err(); err != nil {
			return err
		}
		c.session.Seen()
		switch m := m.GetMessage().(type) {
		case *apiv1.AgentMessage_Batch:
			err = c.batch(ctx, m.Batch)
		case *apiv1.AgentMessage_Health:
			c.session.Health(m.Health)
		case *apiv1.AgentMessage_Tail:
			c.session.Tail(m.Tail)
		case *apiv1.AgentMessage_Announce:
			err = c.profiles(c.session.Announce(ctx, m.Announce))
		case *apiv1.AgentMessage_Observed:
			err = c.profiles(c.session.Observed(ctx, m.Observed))
		default:
			err = status.Errorf(codes.InvalidArgument, "a message of type %T", m)
		}
		if err != nil {
			return err
		}
	}
}

// profiles is what ends the stream where something about profiles went wrong: the agent breaks the protocol, or the
// collector cannot store, and the agent sends it again on its next stream.
func (c *connection) profiles(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fleet.ErrPolicy):
		return status.Error(codes.InvalidArgument, err.Error())
	}
	c.log.Error("what the agent said of profiles could not be stored", "error", err)
	return status.Error(codes.Unavailable, "the collector cannot store profiles now: see its log")
}

// batch checks a batch and has it stored.
func (c *connection) batch(ctx context.Context, b *apiv1.Batch) error {
	entries, losses, bytes, err := decode(b)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	l, err := c.line(b.GetLane())
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	n := len(entries)
	c.reportRefused(b, entries)
	if err := l.take(n); err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	epoch := b.GetEpoch()
	err = l.committer.submit(ctx, job{
		batch: store.Batch{Node: c.node, Epoch: epoch, Received: time.Now(), Entries: entries, Losses: losses},
		// What is decoded takes about as much again.
		bytes: 2*bytes + int64(64*(n+len(losses))),
		done: func(o store.Outcome) {
			l.stored(epoch, o.Position, n)
			c.wakeUp()
		},
	})
	if errors.Is(err, errNoRoom) {
		return status.Error(codes.Unavailable, "too many records wait to be stored: connect again and heed the credit")
	}
	return err
}

// reportRefused logs the first record of a batch that goes into quarantine, and how many there are.
func (c *connection) reportRefused(b *apiv1.Batch, entries []store.Entry) {
	var first *store.Entry
	refused := 0
	for i := range entries {
		if entries[i].Refused == "" {
			continue
		}
		if refused++; first == nil {
			first = &entries[i]
		}
	}
	if first != nil {
		c.log.Warn("records quarantined", "lane", laneName(b.GetLane()), "epoch", b.GetEpoch(), "records", refused,
			"sequence", first.Sequence, "reason", first.Refused)
	}
}
