// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"bytes"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-project/holdfast/agent/spool"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// FuzzSplit makes a batch of a stretch of sequences, a byte each: a record, a large record, or the beginning of a loss. The
// messages must cover it without a hole and without an overlap, in order, each as the contract wants it.
func FuzzSplit(f *testing.F) {
	f.Add([]byte{0, 0, 0})
	f.Add([]byte{0, 100, 0, 200, 201, 0, 255})
	f.Add(bytes.Repeat([]byte{150}, 600))
	f.Add([]byte{255, 0, 255})
	huge := make([]byte, maxRecord+1)
	f.Fuzz(func(t *testing.T, plan []byte) {
		b := &spool.Batch{Epoch: 7, First: 5}
		next := b.First
		want := map[uint64]string{}
		for _, step := range plan {
			switch {
			case step < 100:
				payload := fmt.Append(nil, "record ", next)
				b.Records = append(b.Records, spool.Record{Seq: next, Payload: payload})
				want[next] = string(payload)
				next++
			case step < 110:
				b.Records = append(b.Records, spool.Record{Seq: next, Payload: huge})
				want[next] = spool.CauseTooLarge.String()
				next++
			default:
				cause, length := spool.CauseEvicted, uint64(step-109)
				if step%2 == 0 {
					cause = spool.CauseCrash
				}
				b.Losses = append(b.Losses, spool.Loss{First: next, Last: next + length - 1, Cause: cause})
				for range length {
					want[next] = cause.String()
					next++
				}
			}
		}
		b.Last = next - 1
		messages, _ := split(apiv1.Lane_LANE_RECORDS, b)
		covered := b.First
		for _, m := range messages {
			covered = checkMessage(t, m, covered, want)
		}
		if covered != next {
			t.Errorf("the messages end before %d, the batch before %d", covered, next)
		}
	})
}

// checkMessage checks one message that should begin at a sequence, and gives the one behind it.
func checkMessage(t *testing.T, m *apiv1.Batch, from uint64, want map[uint64]string) uint64 {
	t.Helper()
	if m.Epoch != 7 || m.Lane != apiv1.Lane_LANE_RECORDS || len(m.Losses) > maxLosses || len(m.Records)+len(m.Losses) == 0 {
		t.Errorf("message %v", m)
	}
	if size := proto.Size(m); size > maxMessage {
		t.Errorf("message of %d bytes", size)
	}
	said := map[uint64]string{}
	say := func(seq uint64, what string) {
		if _, twice := said[seq]; twice {
			t.Errorf("sequence %d is named twice", seq)
		}
		said[seq] = what
	}
	for i, r := range m.Records {
		say(m.First+uint64(i), string(r))
	}
	for _, l := range m.Losses {
		for seq := l.First; seq <= l.Last; seq++ {
			say(seq, l.Cause)
		}
	}
	next := from
	for range said {
		if said[next] != want[next] {
			t.Errorf("sequence %d is %.40q, expected %.40q", next, said[next], want[next])
		}
		next++
	}
	if next-1 != last(m) {
		t.Errorf("the last sequence is %d, expected %d", last(m), next-1)
	}
	return next
}
