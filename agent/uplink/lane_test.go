// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/agent/spool"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// TestEpochsOutOfOrder acknowledges a later epoch before an earlier one. The spool must not forget the earlier one's
// records for it: it takes an acknowledgement for all that lies before.
func TestEpochsOutOfOrder(t *testing.T) {
	s := openSpool(t, t.TempDir(), "alerts")
	for range 3 {
		if _, err := s.Append([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	var b spool.Batch
	for b.Last < 3 {
		if err := s.Next(t.Context(), &b, 10, 1000); err != nil {
			t.Fatal(err)
		}
	}
	l := newLane(apiv1.Lane_LANE_ALERTS, s, &laneCounts{}, &Uplink{log: slog.New(slog.DiscardHandler)})
	earlier, now := s.Epoch()+1, s.Epoch()
	l.takeOff(&apiv1.Batch{Epoch: earlier, First: 10, Records: [][]byte{{1}, {2}}})
	l.takeOff(&apiv1.Batch{Epoch: earlier, First: 12, Records: [][]byte{{3}}})
	l.takeOff(&apiv1.Batch{Epoch: now, First: 1, Records: [][]byte{{4}, {5}, {6}}})
	for i, step := range []struct {
		epoch, acked      uint64
		inFlight, spooled uint64
	}{
		{now, 3, 6, 0},
		{earlier, 11, 4, 0}, // the first batch of the earlier epoch alone
		{earlier, 12, 0, 3},
	} {
		err := l.landed(&apiv1.Ack{Lane: apiv1.Lane_LANE_ALERTS, Epoch: step.epoch, Acked: step.acked, Credit: 5})
		// The spool never had the epoch that this test calls the earlier one.
		if (err != nil) != (i == 1) {
			t.Errorf("step %d: %v", i, err)
		}
		if got := s.Stats().Acked; l.inFlight != step.inFlight || got != step.spooled {
			t.Errorf("step %d: %d in flight, %d acknowledged in the spool; expected %d and %d", i, l.inFlight, got, step.inFlight, step.spooled)
		}
	}
}

// TestRoom checks that batches are counted where records are not: a collector with boundless credit does not make the
// agent hold boundless accounts.
func TestRoom(t *testing.T) {
	l := newLane(apiv1.Lane_LANE_RECORDS, openSpool(t, t.TempDir(), "records"), &laneCounts{}, &Uplink{log: slog.New(slog.DiscardHandler)})
	l.credit = 1 << 32
	for i := range uint64(maxFlight) {
		if n, ok := l.room(t.Context()); n != maxRecords || !ok {
			t.Fatalf("room for %d after %d batches", n, i)
		}
		l.takeOff(&apiv1.Batch{Epoch: 1, Losses: []*apiv1.SpoolLoss{{First: i + 1, Last: i + 1}}})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if n, ok := l.room(ctx); ok {
		t.Errorf("room for %d after %d batches", n, maxFlight)
	}
}

// FuzzIdentity checks that whatever is in the file, reading it ends in an identity that can be written and read again, or
// in an error.
func FuzzIdentity(f *testing.F) {
	authority := newCA(f)
	text, err := authority.node("node-1").encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(text[:len(text)-100])
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		id, err := decodeIdentity(text)
		if err != nil {
			return
		}
		again, err := id.encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodeIdentity(again); err != nil || !back.leaf.Equal(id.leaf) || back.node != id.node {
			t.Errorf("read back %v: %v", back, err)
		}
	})
}

// FuzzToken checks that a token that is taken is one, and that an error never tells of it.
func FuzzToken(f *testing.F) {
	f.Add("hfj_id_secret_" + fmt.Sprintf("%064x", 7))
	f.Add("hfa_id_secret")
	f.Add("hfj_a_b_c")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := parseToken(text)
		if err == nil && (token.text != text || len(text) < len("hfj_x_x_")+64) {
			t.Errorf("%q is taken as %q", text, token.text)
		}
		if err != nil && len(text) > 20 && strings.Contains(err.Error(), text) {
			t.Errorf("%q tells the token", err)
		}
	})
}
