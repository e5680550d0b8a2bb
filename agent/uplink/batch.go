// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"github.com/holdfast-project/holdfast/agent/spool"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// Bounds of one batch.
const (
	maxRecords = 500
	maxLosses  = 250
	// maxBytes is how much is taken from the spool for one batch; a record beyond it travels alone.
	maxBytes = 512 << 10
	// maxRecord is the largest record that a message has room for.
	maxRecord = maxMessage - 64<<10
)

// split makes messages of what the spool gave out. In a message, records have consecutive sequences; the losses beside
// them lie before or behind. A record that no message can carry becomes a loss. The messages refer to the batch's memory.
func split(lane apiv1.Lane, b *spool.Batch) (messages []*apiv1.Batch, tooLarge int) {
	s := splitter{lane: lane, epoch: b.Epoch}
	losses := b.Losses
	for _, r := range b.Records {
		for len(losses) > 0 && losses[0].First < r.Seq {
			s.lose(losses[0])
			losses = losses[1:]
		}
		if len(r.Payload) > maxRecord {
			tooLarge++
			s.lose(spool.Loss{First: r.Seq, Last: r.Seq, Cause: spool.CauseTooLarge})
			continue
		}
		s.add(r)
	}
	for _, loss := range losses {
		s.lose(loss)
	}
	return s.done, tooLarge
}

type splitter struct {
	lane  apiv1.Lane
	epoch uint64
	done  []*apiv1.Batch
	now   *apiv1.Batch
}

func (s *splitter) add(r spool.Record) {
	if s.now == nil || len(s.now.Records) > 0 && s.now.First+uint64(len(s.now.Records)) != r.Seq {
		s.begin(r.Seq)
	}
	if len(s.now.Records) == 0 {
		s.now.First = r.Seq
	}
	s.now.Records = append(s.now.Records, r.Payload)
}

func (s *splitter) lose(l spool.Loss) {
	if s.now == nil || len(s.now.Losses) == maxLosses {
		s.begin(l.First)
	}
	s.now.Losses = append(s.now.Losses, &apiv1.SpoolLoss{First: l.First, Last: l.Last, Cause: l.Cause.String()})
}

func (s *splitter) begin(first uint64) {
	s.now = &apiv1.Batch{Lane: s.lane, Epoch: s.epoch, First: first}
	s.done = append(s.done, s.now)
}

// last is the last sequence that a batch speaks of.
func last(b *apiv1.Batch) uint64 {
	var end uint64
	if n := len(b.Records); n > 0 {
		end = b.First + uint64(n) - 1
	}
	if n := len(b.Losses); n > 0 {
		end = max(end, b.Losses[n-1].Last)
	}
	return end
}
