// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/fleet"
	"github.com/holdfast-project/holdfast/collector/store"
)

// trimEvery is how often the bounds of the store are looked at.
const trimEvery = 15 * time.Second

// janitor keeps the store within its bounds, records before alerts, and measures it for whoever reads the metrics.
type janitor struct {
	store store.Lines
	fleet *fleet.Fleet
	log   *slog.Logger
	now   func() time.Time

	mu    sync.Mutex
	usage map[string]store.Usage
}

func (j *janitor) run(ctx context.Context) error {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for {
		j.sweep(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sweep looks at both lanes once.
func (j *janitor) sweep(ctx context.Context) {
	for _, lane := range []struct {
		name string
		lane apiv1.Lane
	}{{"records", apiv1.Lane_LANE_RECORDS}, {"alerts", apiv1.Lane_LANE_ALERTS}} {
		if _, err := j.store.Trim(ctx, lane.lane, j.now()); err != nil && ctx.Err() == nil {
			j.log.Error("old days could not be dropped", "lane", lane.name, "error", err)
		}
		usage, err := j.store.Usage(ctx, lane.lane)
		if err != nil {
			j.log.Error("the store could not be measured", "lane", lane.name, "error", err)
			continue
		}
		j.mu.Lock()
		j.usage[lane.name] = usage
		j.mu.Unlock()
	}
}

// descriptions are those of the metrics that the janitor gives.
type descriptions struct {
	bytes, rows, shed, connected, profiles, candidates, troubled, refused *prometheus.Desc
}

func describe() descriptions {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName("holdfast", "collector", name), help, labels, nil)
	}
	return descriptions{
		bytes:      desc("store_bytes", "Disk space that a lane takes.", "lane"),
		rows:       desc("store_rows", "Rows that a lane keeps.", "lane"),
		shed:       desc("store_shed_rows_total", "Rows that were dropped to keep a lane within its bounds.", "lane"),
		connected:  desc("agents_connected", "Agents whose stream is open."),
		profiles:   desc("profiles", "Workloads that have an effective profile."),
		candidates: desc("profile_candidates", "Entries that wait for a person."),
		troubled:   desc("profiles_troubled", "Profiles that leave something out, such as what is too much."),
		refused:    desc("profiles_refused_total", "Observed profiles that agents sent and that were refused."),
	}
}

// Describe is prometheus.Collector.Describe.
func (j *janitor) Describe(out chan<- *prometheus.Desc) {
	d := describe()
	for _, desc := range []*prometheus.Desc{d.bytes, d.rows, d.shed, d.connected, d.profiles, d.candidates, d.troubled, d.refused} {
		out <- desc
	}
}

// Collect is prometheus.Collector.Collect.
func (j *janitor) Collect(out chan<- prometheus.Metric) {
	d := describe()
	out <- prometheus.MustNewConstMetric(d.connected, prometheus.GaugeValue, float64(j.fleet.Connected()))
	c := j.fleet.ProfileCounts()
	out <- prometheus.MustNewConstMetric(d.profiles, prometheus.GaugeValue, float64(c.Profiles))
	out <- prometheus.MustNewConstMetric(d.candidates, prometheus.GaugeValue, float64(c.Candidates))
	out <- prometheus.MustNewConstMetric(d.troubled, prometheus.GaugeValue, float64(c.Troubled))
	out <- prometheus.MustNewConstMetric(d.refused, prometheus.CounterValue, float64(c.Refused))
	j.mu.Lock()
	defer j.mu.Unlock()
	for name, u := range j.usage {
		out <- prometheus.MustNewConstMetric(d.bytes, prometheus.GaugeValue, float64(u.Bytes), name)
		out <- prometheus.MustNewConstMetric(d.rows, prometheus.GaugeValue, float64(u.Rows), name)
		out <- prometheus.MustNewConstMetric(d.shed, prometheus.CounterValue, float64(u.Shed), name)
	}
}
