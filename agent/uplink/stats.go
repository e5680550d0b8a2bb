// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"
)

// Stats is a snapshot for metrics. Counters begin at zero with New.
type Stats struct {
	// Connected says that the collector has welcomed the node and the stream is open; Since is when that changed last,
	// zero before it ever did.
	Connected bool
	Since     time.Time
	// LastError is why the last attempt or stream ended, nil if none did; LastErrorAt is when.
	LastError   error
	LastErrorAt time.Time
	// Streams counts those that the collector welcomed, Failures the attempts and streams that ended in an error,
	// Renewals the new certificates.
	Streams, Failures, Renewals uint64
	// Expires is when the node's certificate ends, zero before enrolment.
	Expires time.Time
	// RTT is the time from handing the last acknowledged batch to the stream until the collector said that it is stored.
	RTT time.Duration

	Alerts, Records LaneStats
}

// LaneStats is about one lane.
type LaneStats struct {
	// Sent and SentBytes count records handed to the stream, repetitions included; Acked counts the records that were
	// acknowledged.
	Sent, SentBytes, Acked uint64
	// Lost counts the sequences that were reported as lost, repetitions included; TooLarge those of them that were records
	// larger than any message may be.
	Lost, TooLarge uint64
	// InFlight is how many records are sent and not acknowledged, Credit how many may be. Both are 0 without a stream.
	InFlight, Credit uint64
}

// counts is what is counted from New on.
type counts struct {
	streams, failures, renewals atomic.Uint64
	rtt                         atomic.Int64
	alerts, records             laneCounts
}

type laneCounts struct {
	sent, bytes, acked, lost, tooLarge, inFlight, credit atomic.Uint64
}

func (c *laneCounts) stats() LaneStats {
	return LaneStats{
		Sent: c.sent.Load(), SentBytes: c.bytes.Load(), Acked: c.acked.Load(), Lost: c.lost.Load(), TooLarge: c.tooLarge.Load(),
		InFlight: c.inFlight.Load(), Credit: c.credit.Load(),
	}
}

// state is what Run last knew.
type state struct {
	connected   bool
	since       time.Time
	lastError   error
	lastErrorAt time.Time
	// told is the text of the failure that was logged last, empty after a success that lasted.
	told string
	// brief says that the last stream ended soon after its welcome: then connecting is no news either.
	brief bool
}

// Stats returns a snapshot. It may be called at any time.
func (u *Uplink) Stats() Stats {
	c := &u.counts
	s := Stats{
		Streams: c.streams.Load(), Failures: c.failures.Load(), Renewals: c.renewals.Load(), RTT: time.Duration(c.rtt.Load()),
		Alerts: c.alerts.stats(), Records: c.records.stats(),
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	s.Connected, s.Since, s.LastError, s.LastErrorAt = u.state.connected, u.state.since, u.state.lastError, u.state.lastErrorAt
	if u.identity != nil {
		s.Expires = u.identity.leaf.NotAfter
	}
	return s
}

// connected notes that the collector has welcomed the node.
func (u *Uplink) connected(ctx context.Context) {
	u.counts.streams.Add(1)
	u.mu.Lock()
	u.state.connected, u.state.since = true, time.Now()
	level := slog.LevelInfo
	if u.state.brief {
		level = slog.LevelDebug
	} else {
		u.state.told = ""
	}
	u.mu.Unlock()
	u.log.Log(ctx, level, "connected to the collector", "address", u.cfg.Address, "node", u.cfg.Node)
}

// disconnected notes that the stream has ended, and why.
func (u *Uplink) disconnected(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.state.brief = !errors.Is(err, errRemake) && time.Since(u.state.since) < u.timing.last
	u.state.connected, u.state.since = false, time.Now()
}

// failed notes why an attempt or a stream ended. The log has it once, until something else goes wrong or right.
func (u *Uplink) failed(err error, wait time.Duration) {
	u.counts.failures.Add(1)
	u.mu.Lock()
	news := u.state.told != err.Error()
	u.state.lastError, u.state.lastErrorAt, u.state.told = err, time.Now(), err.Error()
	u.mu.Unlock()
	if !news {
		u.log.Debug("no line to the collector", "address", u.cfg.Address, "error", err, "again_in", wait)
		return
	}
	u.log.Warn("no line to the collector: alerts wait on disk", "address", u.cfg.Address, "error", err, "again_in", wait)
}
