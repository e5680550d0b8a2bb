// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-project/holdfast/agent/spool"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// maxFlight is how many batches of a lane may be sent and not acknowledged, whatever the credit: batches of losses alone
// use none of it.
const maxFlight = 1024

// lane is one lane of one stream: it takes from the spool what the credit allows, and gives acknowledgements back.
type lane struct {
	id     apiv1.Lane
	spool  *spool.Spool
	log    *slog.Logger
	counts *laneCounts
	rtt    *atomic.Int64
	pause  time.Duration

	// out is where batches wait for the sender, one at a time; sent says that the sender is done with it.
	out  chan *apiv1.Batch
	sent chan struct{}

	mu       sync.Mutex
	credit   uint64
	inFlight uint64
	flight   []flight
	// changed holds a token after credit or flight have changed.
	changed chan struct{}
}

// flight is a batch that was sent.
type flight struct {
	epoch, last uint64
	records     uint64
	at          time.Time
	stored      bool
}

func newLane(id apiv1.Lane, from *spool.Spool, counts *laneCounts, u *Uplink) *lane {
	return &lane{
		id: id, spool: from, log: u.log.With("lane", laneName(id)), counts: counts, rtt: &u.counts.rtt, pause: u.timing.spool,
		out: make(chan *apiv1.Batch), sent: make(chan struct{}, 1), changed: make(chan struct{}, 1),
	}
}

// laneName is what logs call a lane.
func laneName(id apiv1.Lane) string {
	if id == apiv1.Lane_LANE_ALERTS {
		return "alerts"
	}
	return "records"
}

// feed hands what the spool gives out to the sender, as far as the credit goes. It returns nil when taking, a part of ctx,
// ends, once the sender has what was taken, or when ctx ends; and an error only if the spool is closed.
func (l *lane) feed(ctx, taking context.Context) error {
	var b spool.Batch
	for {
		room, ok := l.room(taking)
		if !ok {
			return nil
		}
		err := l.spool.Next(taking, &b, room, maxBytes)
		switch {
		case err != nil && taking.Err() != nil:
			return nil
		case errors.Is(err, spool.ErrClosed):
			return fmt.Errorf("take from the spool of %s: %w", laneName(l.id), err)
		case err != nil:
			l.log.Error("the spool cannot be read, trying again", "error", err, "again_in", l.pause)
			if !rest(taking, l.pause) {
				return nil
			}
			continue
		}
		if !l.hand(ctx, &b) {
			return nil
		}
	}
}

// rest waits; it is false when ctx ended first.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// room waits until records may be sent, and says how many.
func (l *lane) room(ctx context.Context) (records int, ok bool) {
	for {
		l.mu.Lock()
		if l.credit > l.inFlight && len(l.flight) < maxFlight {
			records = int(min(l.credit-l.inFlight, maxRecords))
		}
		l.mu.Unlock()
		if records > 0 {
			return records, true
		}
		select {
		case <-l.changed:
		case <-ctx.Done():
			return 0, false
		}
	}
}

// hand gives a batch to the sender, and returns when its memory may be used again. It is false when ctx ended first.
func (l *lane) hand(ctx context.Context, b *spool.Batch) bool {
	messages, tooLarge := split(l.id, b)
	if tooLarge > 0 {
		l.counts.tooLarge.Add(uint64(tooLarge))
		l.log.Error("records larger than any message were given up", "records", tooLarge, "epoch", b.Epoch, "first", b.First, "last", b.Last)
	}
	for _, m := range messages {
		l.takeOff(m)
		select {
		case l.out <- m:
		case <-ctx.Done():
			return false
		}
		select {
		case <-l.sent:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// takeOff notes that a batch is about to be sent.
func (l *lane) takeOff(m *apiv1.Batch) {
	bytes, lost := 0, uint64(0)
	for _, r := range m.Records {
		bytes += len(r)
	}
	for _, loss := range m.Losses {
		lost += loss.Last - loss.First + 1
	}
	l.counts.sent.Add(uint64(len(m.Records)))
	l.counts.bytes.Add(uint64(bytes))
	l.counts.lost.Add(lost)
	l.mu.Lock()
	defer l.mu.Unlock()
	n := uint64(len(m.Records))
	l.flight = append(l.flight, flight{epoch: m.Epoch, last: last(m), records: n, at: time.Now()})
	l.inFlight += n
	l.counts.inFlight.Store(l.inFlight)
}

// landed takes an acknowledgement. Positions beyond what this stream has sent are those of an earlier one, and say nothing
// of what the spool may forget. The error is the spool's.
func (l *lane) landed(a *apiv1.Ack) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.credit = uint64(a.GetCredit())
	for i := range l.flight {
		if f := &l.flight[i]; f.epoch == a.GetEpoch() && f.last <= a.GetAcked() {
			f.stored = true
		}
	}
	done := 0
	for done < len(l.flight) && l.flight[done].stored {
		done++
	}
	defer l.changes()
	if done == 0 {
		return nil
	}
	end := l.flight[done-1]
	for _, f := range l.flight[:done] {
		l.inFlight -= f.records
		l.counts.acked.Add(f.records)
	}
	l.flight = l.flight[:copy(l.flight, l.flight[done:])]
	l.rtt.Store(int64(time.Since(end.at)))
	if err := l.spool.Ack(end.epoch, end.last); err != nil {
		return fmt.Errorf("acknowledge to the spool of %s: %w", laneName(l.id), err)
	}
	return nil
}

// changes says that credit or flight have changed. mu is held.
func (l *lane) changes() {
	l.counts.inFlight.Store(l.inFlight)
	l.counts.credit.Store(l.credit)
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// settle waits until everything that was sent is acknowledged, or ctx ends. Nobody feeds any more.
func (l *lane) settle(ctx context.Context) {
	for {
		l.mu.Lock()
		left := len(l.flight)
		l.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-l.changed:
		case <-ctx.Done():
			return
		}
	}
}

// end clears what Stats shows of a stream that is over.
func (l *lane) end() {
	l.counts.inFlight.Store(0)
	l.counts.credit.Store(0)
}

// position is how far the lane is acknowledged, for hello.
func (l *lane) position() *apiv1.Position {
	s := l.spool.Stats()
	return &apiv1.Position{Lane: l.id, Epoch: s.AckedEpoch, Acked: s.Acked}
}
