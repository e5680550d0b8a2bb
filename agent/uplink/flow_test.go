// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/agent/spool"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// incoming gives the batches of a lane that a stream brings, until it ends.
func incoming(s apiv1.Uplink_ConnectServer, lane apiv1.Lane, into chan<- *apiv1.Batch) error {
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if b := m.GetBatch(); b != nil && b.GetLane() == lane {
			into <- b
		}
	}
}

// TestCredit gives credit bit by bit. The agent never has more in flight than that, and rests without it.
func TestCredit(t *testing.T) {
	authority := newCA(t)
	batches := make(chan *apiv1.Batch, 100)
	streams := make(chan apiv1.Uplink_ConnectServer, 1)
	p := &peer{connect: func(s apiv1.Uplink_ConnectServer) error {
		if _, err := accept(s, 0); err != nil {
			return err
		}
		streams <- s
		return incoming(s, apiv1.Lane_LANE_ALERTS, batches)
	}}
	servePeer(t, p, authority.server())
	r := newRig(t, p.address, authority.node("node-1"), nil)
	r.timing.health = time.Hour
	const total = 100
	r.appendTo(r.alerts, total, 10)
	r.run()
	s := <-streams
	epoch := r.alerts.Epoch()

	before := cpuTime(t)
	select {
	case b := <-batches:
		t.Fatalf("%d records came without credit", len(b.GetRecords()))
	case <-time.After(300 * time.Millisecond):
	}
	if used := cpuTime(t) - before; used > 150*time.Millisecond {
		t.Errorf("%s of processor time went into waiting for credit", used)
	}

	acked, came := uint64(0), uint64(0)
	for _, credit := range []uint32{1, 3, 0, 7, 2, 1000} {
		if err := acknowledge(s, apiv1.Lane_LANE_ALERTS, epoch, acked, credit); err != nil {
			t.Fatal(err)
		}
		want := min(acked+uint64(credit), total)
		for came < want {
			b := <-batches
			if b.GetFirst() != came+1 {
				t.Fatalf("batch begins at %d, expected %d", b.GetFirst(), came+1)
			}
			came += uint64(len(b.GetRecords()))
		}
		if came > want {
			t.Fatalf("%d records came with an acknowledgement of %d and a credit of %d", came, acked, credit)
		}
		select {
		case b := <-batches:
			t.Fatalf("%d records beyond the credit of %d", len(b.GetRecords()), credit)
		case <-time.After(30 * time.Millisecond):
		}
		if got := r.Stats().Alerts; got.Credit != uint64(credit) || got.InFlight != came-acked {
			t.Errorf("stats: %+v, expected credit %d and %d in flight", got, credit, came-acked)
		}
		acked = came
	}
	if err := acknowledge(s, apiv1.Lane_LANE_ALERTS, epoch, acked, 1); err != nil {
		t.Fatal(err)
	}
	wait.Until(t, patience, func() error {
		if st := r.alerts.Stats(); st.Acked != total || st.Backlog != 0 {
			return fmt.Errorf("spool: %+v", st)
		}
		return nil
	})
}

// cpuTime is what this process has used so far.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestMistakenAcknowledgements acknowledges what was never sent. The spool forgets nothing but what was.
func TestMistakenAcknowledgements(t *testing.T) {
	authority := newCA(t)
	batches := make(chan *apiv1.Batch, 100)
	var epoch atomic.Uint64
	p := &peer{connect: func(s apiv1.Uplink_ConnectServer) error {
		if _, err := accept(s, 2); err != nil {
			return err
		}
		for _, e := range []uint64{0, 1, epoch.Load() + 1} {
			if err := acknowledge(s, apiv1.Lane_LANE_ALERTS, e, 1<<60, 2); err != nil {
				return err
			}
		}
		return incoming(s, apiv1.Lane_LANE_ALERTS, batches)
	}}
	servePeer(t, p, authority.server())
	r := newRig(t, p.address, authority.node("node-1"), nil)
	epoch.Store(r.alerts.Epoch())
	r.appendTo(r.alerts, 10, 10)
	r.run()
	came := 0
	for came < 2 {
		came += len((<-batches).GetRecords())
	}
	if s := r.alerts.Stats(); s.Acked != 0 {
		t.Errorf("spool: %+v", s)
	}
	if s := r.Stats(); !s.Connected || s.Alerts.InFlight != 2 {
		t.Errorf("stats: %+v", s)
	}
}

// TestTooMuchAcknowledged acknowledges more than this stream has sent, as a collector does that has stored it all on an
// earlier one. What was sent is done with; the rest is sent.
func TestTooMuchAcknowledged(t *testing.T) {
	authority := newCA(t)
	var sent atomic.Int32
	p := &peer{connect: func(s apiv1.Uplink_ConnectServer) error {
		if _, err := accept(s, 4); err != nil {
			return err
		}
		for {
			m, err := s.Recv()
			if err != nil {
				return err
			}
			if b := m.GetBatch(); b != nil {
				sent.Add(int32(len(b.GetRecords())))
				if err := acknowledge(s, b.GetLane(), b.GetEpoch(), 1000, 4); err != nil {
					return err
				}
			}
		}
	}}
	servePeer(t, p, authority.server())
	r := newRig(t, p.address, authority.node("node-1"), nil)
	r.appendTo(r.alerts, 50, 10)
	r.run()
	wait.Until(t, patience, func() error {
		if st := r.alerts.Stats(); st.Backlog != 0 || sent.Load() != 50 {
			return fmt.Errorf("%d were sent: %+v", sent.Load(), st)
		}
		return nil
	})
}

// TestResent ends streams before anything is acknowledged. Everything comes again, from the first on, and hello says how
// far it was acknowledged.
func TestResent(t *testing.T) {
	authority := newCA(t)
	var streams atomic.Int32
	var mistakes atomic.Value
	p := &peer{connect: func(s apiv1.Uplink_ConnectServer) error {
		n := streams.Add(1)
		hello, err := accept(s, 100)
		if err != nil {
			return err
		}
		// Each stream before acknowledged ten of twenty.
		want := uint64(0)
		if n > 1 {
			want = 10
		}
		for _, p := range hello.GetPositions() {
			if p.GetLane() == apiv1.Lane_LANE_ALERTS && p.GetAcked() != want {
				mistakes.Store(fmt.Sprintf("stream %d: hello says %d, expected %d", n, p.GetAcked(), want))
			}
		}
		for next := want + 1; ; {
			m, err := s.Recv()
			if err != nil {
				return err
			}
			b := m.GetBatch()
			if b == nil {
				continue
			}
			if b.GetFirst() != next {
				mistakes.Store(fmt.Sprintf("stream %d: batch begins at %d, expected %d", n, b.GetFirst(), next))
			}
			if next += uint64(len(b.GetRecords())); next <= 20 {
				continue
			}
			if n == 1 {
				return acknowledge(s, b.GetLane(), b.GetEpoch(), 10, 100)
			}
			if n < 4 {
				return nil
			}
			if err := acknowledge(s, b.GetLane(), b.GetEpoch(), 20, 100); err != nil {
				return err
			}
		}
	}}
	servePeer(t, p, authority.server())
	r := newRig(t, p.address, authority.node("node-1"), nil)
	r.appendTo(r.alerts, 20, 100<<10) // several batches
	r.run()
	wait.Until(t, patience, func() error {
		if st := r.alerts.Stats(); st.Acked != 20 {
			return fmt.Errorf("spool: %+v; %v", st, r.Stats().LastError)
		}
		return nil
	})
	if m := mistakes.Load(); m != nil {
		t.Error(m)
	}
	if s := r.Stats(); s.Streams != 4 || s.Alerts.Sent != 20+10+10+10 {
		t.Errorf("stats: %+v", s)
	}
}

// TestAlertsFirst lets a collector that has a long line of records before it stop reading. An alert that comes then
// passes by what has not been handed to the connection.
func TestAlertsFirst(t *testing.T) {
	authority := newCA(t)
	read := make(chan struct{})
	before := make(chan int, 1)
	p := &peer{connect: func(s apiv1.Uplink_ConnectServer) error {
		if _, err := accept(s, 1<<20); err != nil {
			return err
		}
		select {
		case <-read:
		case <-s.Context().Done():
			return s.Context().Err()
		}
		for records := 0; ; {
			m, err := s.Recv()
			if err != nil {
				return err
			}
			switch b := m.GetBatch(); {
			case b == nil:
			case b.GetLane() == apiv1.Lane_LANE_ALERTS:
				before <- records
				return nil
			default:
				records += len(b.GetRecords())
			}
		}
	}}
	servePeer(t, p, authority.server())
	r := newRig(t, p.address, authority.node("node-1"), nil)
	const total = 4000
	r.appendTo(r.records, total/2, 1000)
	r.run()
	r.appendTo(r.records, total/2, 1000)
	// Nobody reads: what was sent stops growing.
	var last uint64
	since := time.Now()
	wait.Until(t, patience, func() error {
		if now := r.Stats().Records.Sent; now != last {
			last, since = now, time.Now()
		}
		if last == 0 || time.Since(since) < 50*time.Millisecond {
			return fmt.Errorf("%d records were sent, the last a moment ago", last)
		}
		return nil
	})
	r.appendTo(r.alerts, 1, 10)
	wait.Until(t, patience, func() error {
		if r.Stats().Alerts.Sent == 0 {
			return errors.New("the alert was not taken from its spool")
		}
		return nil
	})
	close(read)
	// One batch of records may be waiting in front of the connection.
	if n := <-before; uint64(n) > last || n >= total {
		t.Errorf("%d records came before the alert; %d had been sent when it came up", n, last)
	} else {
		t.Logf("%d of %d records came before the alert", n, total)
	}
}

// TestTooLarge has a record in the spool that no message can carry. It is given up by name, and the rest goes on.
func TestTooLarge(t *testing.T) {
	authority := newCA(t)
	got := make(chan *apiv1.Batch, 10)
	p := &peer{connect: func(s apiv1.Uplink_ConnectServer) error {
		if _, err := accept(s, 100); err != nil {
			return err
		}
		return incoming(s, apiv1.Lane_LANE_ALERTS, got)
	}}
	servePeer(t, p, authority.server())
	dir := t.TempDir()
	large, err := spool.Open(spool.Config{Dir: dir + "/large", MaxRecordBytes: 8 << 20, BufferBytes: 32 << 20, SegmentBytes: 32 << 20})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, p.address, authority.node("node-1"), func(c *Config) { c.Alerts = large })
	r.appendTo(large, 1, 10)
	r.appendTo(large, 1, 5<<20)
	r.appendTo(large, 1, 10)
	if err := large.Close(); err != nil {
		t.Fatal(err)
	}
	if large, err = spool.Open(spool.Config{Dir: dir + "/large", MaxRecordBytes: 8 << 20, BufferBytes: 32 << 20, SegmentBytes: 32 << 20}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := large.Close(); err != nil {
			t.Error(err)
		}
	})
	r.cfg.Alerts = large
	r.run()
	records, lost := uint64(0), uint64(0)
	for records+lost < 3 {
		b := <-got
		records += uint64(len(b.GetRecords()))
		for _, l := range b.GetLosses() {
			lost += l.GetLast() - l.GetFirst() + 1
			if l.GetFirst() != 2 || l.GetCause() != spool.CauseTooLarge.String() {
				t.Errorf("loss: %v", l)
			}
		}
	}
	if s := r.Stats().Alerts; records != 2 || lost != 1 || s.TooLarge != 1 || s.Lost != 1 {
		t.Errorf("%d records, %d lost: %+v", records, lost, s)
	}
}
