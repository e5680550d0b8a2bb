// SPDX-License-Identifier: Apache-2.0

// Package metrics serves the agent's state to Prometheus and to probes. It keeps no counters of its own: at each scrape
// it asks for the health report that the collector gets too, so that the two never disagree. docs/metrics.md lists every
// metric.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// Source is what the metrics are made from.
type Source struct {
	Health func() *apiv1.Health
	// Connected reports whether the collector is connected; nil when the agent works alone.
	Connected func() bool
	// Counters are further counts by name and help text.
	Counters func() []Counter
	// Histograms are distributions by name and help text; nil for none.
	Histograms func() []Histogram
}

// Histogram is a distribution: Buckets counts by upper bound those that were at most that much.
type Histogram struct {
	Name, Help string
	Count      uint64
	Sum        float64
	Buckets    map[float64]uint64
}

// Counter is a count of its own.
type Counter struct {
	Name, Help string
	Value      float64
	// Labels are names and values in turn; counters of one name have the same names.
	Labels []string
	// Gauge says that it is a present value and no count.
	Gauge bool
}

var (
	events     = desc("events_total", "Events read from the kernel, by class.", "class")
	counted    = desc("kernel_counted_total", "Events that went no further than the kernel because nothing asked for them, by class.", "class")
	losses     = desc("losses_total", "What was lost or could not be done, by cause.", "cause")
	lag        = desc("lag_seconds", "Delay from the kernel's time stamp to user space since the last report, by quantile.", "quantile")
	containers = desc("containers", "Containers known.")
	processes  = desc("processes", "Processes known.")
	spoolBytes = desc("spool_bytes", "Size of a spool on disk, by lane.", "lane")
	spoolItems = desc("spool_backlog_records", "Records in a spool that the collector has not acknowledged, by lane.", "lane")
	connected  = desc("collector_connected", "1 while the collector is connected.")
	capability = desc("capability", "1 if the signal is seen on this kernel, else 0.", "signal", "mechanism")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("holdfast_agent_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector: what there is depends on the kernel, so nothing is promised.
func (s Source) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (s Source) Collect(to chan<- prometheus.Metric) {
	h := s.Health()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	byLabel := func(d *prometheus.Desc, values map[string]uint64) {
		for label, n := range values {
			to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), label)
		}
	}
	byLabel(events, h.Events)
	byLabel(counted, h.Counted)
	byLabel(losses, h.Losses)
	gauge(lag, float64(h.LagP50Ns)/1e9, "0.5")
	gauge(lag, float64(h.LagP99Ns)/1e9, "0.99")
	gauge(containers, float64(h.Containers))
	gauge(processes, float64(h.Processes))
	for _, spool := range h.Spools {
		lane := "alerts"
		if spool.Lane == apiv1.Lane_LANE_RECORDS {
			lane = "records"
		}
		gauge(spoolBytes, float64(spool.Bytes), lane)
		gauge(spoolItems, float64(spool.Records), lane)
	}
	for _, c := range h.Capabilities {
		gauge(capability, one(c.See == apiv1.Support_SUPPORT_YES), c.Signal, c.Mechanism)
	}
	if s.Connected != nil {
		gauge(connected, one(s.Connected()))
	}
	for _, c := range s.Counters() {
		var names, values []string
		for i := 0; i+1 < len(c.Labels); i += 2 {
			names, values = append(names, c.Labels[i]), append(values, c.Labels[i+1])
		}
		kind := prometheus.CounterValue
		if c.Gauge {
			kind = prometheus.GaugeValue
		}
		to <- prometheus.MustNewConstMetric(desc(c.Name, c.Help, names...), kind, c.Value, values...)
	}
	if s.Histograms != nil {
		for _, h := range s.Histograms() {
			to <- prometheus.MustNewConstHistogram(desc(h.Name, h.Help), h.Count, h.Sum, h.Buckets)
		}
	}
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// Serve answers /metrics, /healthz (the process lives) and /readyz (ready gives no error) until the context ends.
func Serve(ctx context.Context, listen string, source Source, ready func() error, log *slog.Logger) error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(source, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError)}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("serve metrics: %w", err)
	}
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		MaxHeaderBytes: 16 << 10,
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics on %s: %w", listen, err)
	}
	return nil
}
