// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/guard"
	"github.com/holdfast-project/holdfast/agent/metrics"
	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/report"
	"github.com/holdfast-project/holdfast/agent/sensor"
	"github.com/holdfast-project/holdfast/agent/spool"
	"github.com/holdfast-project/holdfast/agent/wire"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Version is the agent's version: the module's where it was built as one, else the commit.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version
}

// hello introduces the agent to the collector. The uplink adds the positions of the spools.
func (a *Agent) hello() *apiv1.Hello {
	var name unix.Utsname
	release := ""
	if err := unix.Uname(&name); err == nil {
		release = unix.ByteSliceToString(name.Release[:])
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		a.log.Warn("boot id not read", "error", err)
	}
	return &apiv1.Hello{
		Node: a.cfg.Node, AgentVersion: Version(), KernelRelease: release, Machine: runtime.GOARCH,
		BootId: strings.TrimSpace(string(boot)), Capabilities: capabilities(a.capabilities()),
	}
}

func capabilities(list []probe.Capability) []*apiv1.Capability {
	out := make([]*apiv1.Capability, 0, len(list))
	for _, c := range list {
		out = append(out, &apiv1.Capability{
			Signal: c.Signal, See: support(c.See), Block: support(c.Block), Mechanism: c.Mechanism, Reason: c.Reason,
		})
	}
	return out
}

func support(s probe.Support) apiv1.Support {
	switch s {
	case probe.Yes:
		return apiv1.Support_SUPPORT_YES
	case probe.No:
		return apiv1.Support_SUPPORT_NO
	default:
		return apiv1.Support_SUPPORT_UNKNOWN
	}
}

// health tells the collector how the agent is.
func (a *Agent) health() *apiv1.Health {
	c := &a.pipeline.counts
	p50, p99 := a.pipeline.lag.quantiles()
	h := &apiv1.Health{
		TimeNs: wallNow(), StartNs: a.started,
		Events: map[string]uint64{}, Losses: a.losses(), Counted: map[string]uint64{},
		LagP50Ns: p50, LagP99Ns: p99,
		Containers: uint32(len(a.registry.Snapshot())), Processes: uint32(c.processes.Load()),
		RssBytes:     residentBytes(),
		Capabilities: capabilities(a.capabilities()),
		Spools: []*apiv1.SpoolState{
			spoolState(apiv1.Lane_LANE_ALERTS, a.alerts), spoolState(apiv1.Lane_LANE_RECORDS, a.records),
		},
		Workloads: a.kept(), Switches: a.switches(), Opaque: a.opaque(),
	}
	for t := range c.events {
		if n := c.events[t].Load(); n > 0 {
			h.Events[event.Name(wire.Type(t))] = n
		}
	}
	counted, err := a.sensor.Counted()
	if err != nil {
		a.log.Error("kernel counts not read", "error", err)
	}
	for t, n := range counted {
		h.Counted[event.Name(t)] = n
	}
	report.Valid(h)
	return h
}

// maxOpaque is how many processes whose TLS is not seen are told of.
const maxOpaque = 64

// opaque lists processes of inspected containers whose TLS is not seen.
func (a *Agent) opaque() []*apiv1.OpaqueProcess {
	list := a.inspection.opaque()
	slices.SortFunc(list, func(x, y sensor.Opaque) int {
		return cmp.Or(cmp.Compare(x.Container, y.Container), cmp.Compare(x.Pid, y.Pid))
	})
	told := make([]*apiv1.OpaqueProcess, 0, min(len(list), maxOpaque))
	for _, o := range list[:min(len(list), maxOpaque)] {
		m := &apiv1.OpaqueProcess{Pid: o.Pid, Reason: o.Reason}
		if c, _ := a.registry.Lookup(o.Container); c != nil {
			m.Container = c.ID
			if key, ok := report.Key(c); ok {
				m.Container = key.String()
			}
		}
		// What it runs now; one that has ended meanwhile has none.
		m.Executable, _ = os.Readlink(fmt.Sprintf("/proc/%d/exe", o.Pid))
		told = append(told, m)
	}
	return told
}

// capabilities are the sensor's, what the rights of the process let be done beside them, and where the names of containers
// come from.
func (a *Agent) capabilities() []probe.Capability {
	var list []probe.Capability
	select {
	case <-a.attached:
		list = slices.Clone(a.sensor.Capabilities())
	default:
	}
	return append(append(list, guard.Capabilities(a.rights)...), a.named()...)
}

func spoolState(lane apiv1.Lane, s *spool.Spool) *apiv1.SpoolState {
	stats := s.Stats()
	return &apiv1.SpoolState{
		Lane: lane, Records: stats.Backlog, Bytes: uint64(stats.Bytes), Last: stats.Durable, Acked: stats.Acked, Epoch: stats.Epoch,
	}
}

// serveMetrics answers Prometheus and probes until the context ends.
func (a *Agent) serveMetrics(ctx context.Context) error {
	source := metrics.Source{Health: a.health, Counters: func() []metrics.Counter {
		c := &a.pipeline.counts
		return append([]metrics.Counter{
			{Name: "alerts_total", Help: "Alerts put into the spool.", Value: float64(c.alerts.Load())},
			{Name: "alerts_folded_total", Help: "Deeds that were not reported because an equal one had just been.", Value: float64(c.folded.Load())},
			{Name: "socket_owners_unknown_total", Help: "Owners of sockets that were told of without their ancestry, since they do what is listed.", Value: float64(c.owners.Load())},
			{Name: "findings_total", Help: "Findings in what containers send and get, in whatever mode.", Value: float64(c.findings.Load())},
			{Name: "findings_excepted_total", Help: "Findings that an exception lets be.", Value: float64(c.excepted.Load())},
			{Name: "labelled_reads_total", Help: "Labelled files that were seen to be opened for reading.", Value: float64(a.pipeline.exfil.Stats().Read)},
			{Name: "content_bytes_total", Help: "Bytes read of what containers send and get.", Value: float64(a.inspection.stats().read.Bytes)},
			{Name: "recorded_total", Help: "Recorded events put into the spool.", Value: float64(c.recorded.Load())},
		}, slices.Concat(a.pluginCounters(), a.clusterCounters(), a.toldCounters(), a.thoroughCounters())...)
	}, Histograms: func() []metrics.Histogram { return []metrics.Histogram{policyWindows(a.guard.Windows())} }}
	if a.uplink != nil {
		source.Connected = func() bool { return a.uplink.Stats().Connected }
	}
	return metrics.Serve(ctx, a.cfg.MetricsListen, source, a.ready, a.log)
}

// toldCounters are the events that were read of each workload.
func (a *Agent) toldCounters() []metrics.Counter {
	var list []metrics.Counter
	a.pipeline.told.each(func(key profile.Key, class string, n uint64) {
		list = append(list, metrics.Counter{
			Name: "workload_events_total", Help: "Events read of a workload, by class: what of its doing was not known.",
			Value: float64(n), Labels: []string{"workload", key.String(), "class", class},
		})
	})
	return list
}

// policyWindows is how long containers were there before something held for them.
func policyWindows(w guard.Windows) metrics.Histogram {
	h := metrics.Histogram{
		Name: "policy_window_seconds", Help: "Time from a container's cgroup to its policy in force.",
		Count: w.Count, Sum: w.Sum.Seconds(), Buckets: map[float64]uint64{},
	}
	for bound, n := range w.AtMost {
		h.Buckets[bound.Seconds()] = n
	}
	return h
}

// ready says what keeps the agent from doing its work.
func (a *Agent) ready() error {
	select {
	case <-a.attached:
	default:
		return errors.New("the kernel programs are not attached yet")
	}
	for name, s := range map[string]*spool.Spool{"alerts": a.alerts, "records": a.records} {
		if err := s.Stats().DiskErr; err != nil {
			return fmt.Errorf("the spool of %s cannot be written: %w", name, err)
		}
	}
	return nil
}
