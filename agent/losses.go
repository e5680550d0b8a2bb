// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/spool"
)

// losses gathers everything that was lost or could not be done, by cause as docs/metrics.md lists them.
func (a *Agent) losses() map[string]uint64 {
	losses := map[string]uint64{}
	note := func(cause string, n uint64) {
		if n > 0 {
			losses[cause] += n
		}
	}
	kernel, err := a.sensor.Counters()
	if err != nil {
		a.log.Error("kernel counters not read", "error", err)
	}
	for cause, n := range kernel {
		note("kernel_"+event.CounterName(cause), n)
	}
	c := &a.pipeline.counts
	stats := a.sensor.Stats()
	note("ring_urgent_gap", stats.Gaps[0])
	note("ring_bulk_gap", stats.Gaps[1])
	note("record_malformed", stats.Malformed+c.malformed.Load())
	note("process_unknown", c.stubs.Load())
	note("process_table_full", c.tableFull.Load())
	note("parking_full", c.parkedOver.Load())
	note("dns_stream_incomplete", c.dnsLost.Load())
	note("late_verdict_untold", a.pipeline.late.lost())
	note("finding_untold", c.findingsLost.Load())
	joined := a.pipeline.exfil.Stats()
	note("label_flow_full", joined.Full)
	note("label_forgotten", joined.Forgotten)
	note("label_file_unread", a.inspection.heads.missed.Load())
	inspected := a.inspection.stats()
	note("content_skipped_bytes", inspected.read.Skipped)
	thorough := a.thoroughStats()
	note("waf_crs_full", thorough.Full+inspected.read.RequestsFull)
	note("waf_crs_cut", thorough.Cut)
	note("waf_crs_failed", thorough.Failed)
	note("content_record_gap", inspected.taken.Gaps)
	note("content_not_reset", inspected.taken.Unreset)
	note("content_file_refused", inspected.taken.Refused)
	note("content_program_unlooked", inspected.taken.Unlooked)
	for cause, n := range inspected.read.GivenUp {
		note("content_"+cause, n)
	}
	for reason, n := range inspected.read.Opaque {
		note("content_opaque_"+strings.ReplaceAll(reason.String(), "-", "_"), n)
	}
	registry := a.registry.Stats()
	note("container_unattributed", registry.Unattributed)
	note("cgroup_dropped", registry.DroppedCgroups)
	note("container_record_dropped", registry.DroppedRecords)
	for lane, s := range map[string]*spool.Spool{"alerts": a.alerts, "records": a.records} {
		note("spool_"+lane, s.Stats().LostTotal())
	}
	return losses
}

// lossInterval is how often it is looked for new losses: several times between two assessments of what is learned.
const lossInterval = 2 * time.Second

// watchLosses tells those who learn of each cause that has counted since it was looked last, until the context ends.
// What the kernel side had counted when the programs were attached is the agent's before; what was lost between the two
// agents, the reader of the rings finds anew.
func (a *Agent) watchLosses(ctx context.Context) error {
	select {
	case <-a.attached:
	case <-ctx.Done():
		return nil
	}
	last := map[string]uint64{}
	for cause, n := range a.losses() {
		if strings.HasPrefix(cause, "kernel_") {
			last[cause] = n
		}
	}
	ticker := time.NewTicker(lossInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
		now := a.losses()
		for cause, n := range now {
			if n > last[cause] {
				a.guard.Lost(cause)
			}
		}
		last = now
	}
}
