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
func (*janitor) descriptions() (bytes, rows, shed, connected *prometheus.Desc) {
	name := func(n string) string { return prometheus.BuildFQName("holdfast", "collector", n) }
	lane := []string{"lane"}
	return prometheus.NewDesc(name("store_bytes"), "Disk space that a lane takes.", lane, nil),
		prometheus.NewDesc(name("store_rows"), "Rows that a lane keeps.", lane, nil),
		prometheus.NewDesc(name("store_shed_rows_total"), "Rows that were dropped to keep a lane within its bounds.", lane, nil),
		prometheus.NewDesc(name("agents_connected"), "Agents whose stream is open.", nil, nil)
}

// Describe is prometheus.Collector.Describe.
func (j *janitor) Describe(out chan<- *prometheus.Desc) {
	bytes, rows, shed, connected := j.descriptions()
	for _, d := range []*prometheus.Desc{bytes, rows, shed, connected} {
		out <- d
	}
}

// Collect is prometheus.Collector.Collect.
func (j *janitor) Collect(out chan<- prometheus.Metric) {
	bytes, rows, shed, connected := j.descriptions()
	out <- prometheus.MustNewConstMetric(connected, prometheus.GaugeValue, float64(j.fleet.Connected()))
	j.mu.Lock()
	defer j.mu.Unlock()
	for name, u := range j.usage {
		out <- prometheus.MustNewConstMetric(bytes, prometheus.GaugeValue, float64(u.Bytes), name)
		out <- prometheus.MustNewConstMetric(rows, prometheus.GaugeValue, float64(u.Rows), name)
		out <- prometheus.MustNewConstMetric(shed, prometheus.CounterValue, float64(u.Shed), name)
	}
}
