// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// metrics are those of the controller; docs/metrics.md says what each is.
type metrics struct {
	away      prometheus.Gauge
	looked    *prometheus.GaugeVec
	statuses  prometheus.Counter
	failures  *prometheus.CounterVec
	events    *prometheus.CounterVec
	publishes prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	const namespace, subsystem = "holdfast", "collector"
	name := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}
	}
	m := &metrics{
		away: prometheus.NewGauge(prometheus.GaugeOpts(name("kubernetes_away_since_seconds",
			"Since when the API server does not answer as it should, in seconds since 1970; 0 if it does."))),
		looked: prometheus.NewGaugeVec(prometheus.GaugeOpts(name("kubernetes_objects",
			"HoldfastProfile and HoldfastPolicy objects, by what has become of them.")), []string{"kind", "outcome"}),
		statuses: prometheus.NewCounter(prometheus.CounterOpts(name("kubernetes_status_writes_total", "Statuses of objects that were written."))),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts(name("kubernetes_failures_total",
			"What could not be done and is tried again, by what: watch, reconcile, status, authority or event.")), []string{"what"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts(name("kubernetes_events_total",
			"Blocked deeds on pods, by what has become of them: written as an Event, folded into one, or shed.")), []string{"outcome"}),
		publishes: prometheus.NewCounter(prometheus.CounterOpts(name("kubernetes_authority_writes_total",
			"How often the ConfigMap with the authority's certificate was written."))),
	}
	for _, c := range []prometheus.Collector{m.away, m.looked, m.statuses, m.failures, m.events, m.publishes} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of kubernetes: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) failed(what string) { m.failures.WithLabelValues(what).Inc() }

// objects replaces how many objects there are, by kind and outcome.
func (m *metrics) objects(counts map[[2]string]int) {
	m.looked.Reset()
	for labels, n := range counts {
		m.looked.WithLabelValues(labels[0], labels[1]).Set(float64(n))
	}
}

// reach knows since when the API server does not answer as it should, for each thing that is asked of it, and says so once.
type reach struct {
	log     *slog.Logger
	now     func() time.Time
	metrics *metrics

	mu    sync.Mutex
	since map[string]time.Time
}

func newReach(cfg Config, m *metrics) *reach {
	return &reach{log: cfg.Log, now: cfg.Now, metrics: m, since: map[string]time.Time{}}
}

// note takes the outcome of a request: nil, or an error.
func (r *reach) note(what string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	since, failing := r.since[what]
	switch {
	case err != nil && !failing:
		r.since[what] = r.now()
		hint := "going on from what is known, and trying again"
		if apierrors.IsNotFound(err) {
			hint = "are the custom resource definitions of Holdfast installed? trying again"
		}
		r.log.Warn("the API server of Kubernetes does not answer as it should", "asked", what, "hint", hint, "error", err)
	case err == nil && failing:
		r.log.Info("the API server of Kubernetes answers again", "asked", what, "after", r.now().Sub(since).Round(time.Second).String())
		delete(r.since, what)
	}
	away := float64(0)
	for _, t := range r.since {
		if at := float64(t.Unix()); away == 0 || at < away {
			away = at
		}
	}
	r.metrics.away.Set(away)
}
