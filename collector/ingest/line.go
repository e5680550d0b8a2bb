// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"sync"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// line is the account of one lane of one stream: what was acknowledged, what is in flight, what may be.
type line struct {
	committer *Committer

	mu sync.Mutex
	// lane is unspecified until begin.
	lane     apiv1.Lane
	last     progress
	inFlight int
	granted  int
	// news is what was stored since the last acknowledgement, an entry for each epoch.
	news []progress
}

// progress is how far an epoch is stored.
type progress struct{ epoch, acked uint64 }

// slack is how many times the credit a stream may have in flight before that is a breach: what is acknowledged and what is
// sent cross on the way, and the credit may have fallen meanwhile.
const slack = 2

// begin starts the account of a lane, and returns what to tell the agent of it.
func (l *line) begin(lane apiv1.Lane, epoch, acked uint64) *apiv1.Ack {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lane, l.last = lane, progress{epoch, acked}
	return l.tell(l.last)
}

func (l *line) begun() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lane != apiv1.Lane_LANE_UNSPECIFIED
}

// take notes that records came in.
func (l *line) take(n int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight += n
	if l.inFlight > slack*maxCredit+maxRecords {
		return fmt.Errorf("%d records of lane %s in flight, with a credit of %d", l.inFlight, laneName(l.lane), l.granted)
	}
	return nil
}

// stored notes that records of an epoch were stored up to a position.
func (l *line) stored(epoch, position uint64, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight -= n
	l.last = progress{epoch, position}
	if end := len(l.news) - 1; end >= 0 && l.news[end].epoch == epoch {
		l.news[end] = l.last
		return
	}
	l.news = append(l.news, l.last)
}

// acks returns what to tell the agent. heldBack asks for credit alone: it is told only to an agent that has none or
// little, when there is more.
func (l *line) acks(heldBack bool) []*apiv1.Ack {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.news) == 0 {
		if heldBack && l.granted < minCredit && int(l.committer.credit()) > l.granted {
			return []*apiv1.Ack{l.tell(l.last)}
		}
		return nil
	}
	acks := make([]*apiv1.Ack, len(l.news))
	for i, p := range l.news {
		acks[i] = l.tell(p)
	}
	l.news = nil
	return acks
}

// tell is the account as the agent shall know it. The caller holds mu.
func (l *line) tell(p progress) *apiv1.Ack {
	credit := l.committer.credit()
	l.granted = int(credit)
	return &apiv1.Ack{Lane: l.lane, Epoch: p.epoch, Acked: p.acked, Credit: credit}
}
