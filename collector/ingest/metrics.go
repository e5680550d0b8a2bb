// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/store"
)

// metrics count what agents send and what became of it. docs/metrics.md describes each.
type metrics struct {
	records  *prometheus.CounterVec
	lost     *prometheus.CounterVec
	commits  *prometheus.CounterVec
	batches  *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	failures *prometheus.CounterVec
	rejected *prometheus.CounterVec
	enrolled *prometheus.CounterVec
	refused  *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "holdfast", Subsystem: "collector", Name: name, Help: help}, labels)
	}
	m := &metrics{
		records:  counter("records_total", "Records that agents sent, by what became of them.", "lane", "outcome"),
		lost:     counter("records_lost_total", "Records that will never come: named by the agent, or a gap without a word.", "lane", "kind"),
		commits:  counter("commits_total", "Commits that were made.", "lane"),
		batches:  counter("committed_batches_total", "Batches that the commits were made of.", "lane"),
		failures: counter("commit_failures_total", "Commits that went wrong and were tried again, by cause.", "lane", "cause"),
		rejected: counter("rejected_total", "Connections, streams and requests that were rejected, by reason.", "reason"),
		enrolled: counter("certificates_total", "Certificates that were signed for nodes, by what for.", "call"),
		refused:  counter("refused_total", "Nodes that were refused, by what they presented and why.", "credential", "cause"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "holdfast", Subsystem: "collector", Name: "commit_seconds", Help: "Time that a commit took.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}, []string{"lane"}),
	}
	for _, c := range []prometheus.Collector{m.records, m.lost, m.commits, m.batches, m.failures, m.rejected, m.enrolled, m.refused, m.seconds} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) outcome(lane apiv1.Lane, o store.Outcome) {
	name := laneName(lane)
	for outcome, n := range map[string]int{"stored": o.Stored, "quarantined": o.Quarantined, "duplicate": o.Duplicate} {
		m.records.WithLabelValues(name, outcome).Add(float64(n))
	}
	m.lost.WithLabelValues(name, "named").Add(float64(o.Lost))
	m.lost.WithLabelValues(name, "gap").Add(float64(o.Gap))
}

func (m *metrics) commit(lane apiv1.Lane, batches int, took time.Duration) {
	name := laneName(lane)
	m.commits.WithLabelValues(name).Inc()
	m.batches.WithLabelValues(name).Add(float64(batches))
	m.seconds.WithLabelValues(name).Observe(took.Seconds())
}

func (m *metrics) failure(lane apiv1.Lane, err error) {
	cause := "other"
	if errors.Is(err, store.ErrFull) {
		cause = "full"
	}
	m.failures.WithLabelValues(laneName(lane), cause).Inc()
}

func (m *metrics) reject(reason string) { m.rejected.WithLabelValues(reason).Inc() }
