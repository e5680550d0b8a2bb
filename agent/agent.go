// SPDX-License-Identifier: Apache-2.0

// Package agent puts the agent together: sensor, process table, container registry, rules, spools, uplink. New builds
// all parts and starts none; Run starts them as one group, waits for the first that ends, and ends the rest. What each
// part does stands in its own package; the way of an event through them is in pipeline.go.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/oklog/run"

	"github.com/holdfast-project/holdfast/agent/config"
	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/container/cgroup"
	"github.com/holdfast-project/holdfast/agent/container/containerd"
	"github.com/holdfast-project/holdfast/agent/container/kube"
	"github.com/holdfast-project/holdfast/agent/container/nri"
	"github.com/holdfast-project/holdfast/agent/content"
	"github.com/holdfast-project/holdfast/agent/detect"
	"github.com/holdfast-project/holdfast/agent/enforce"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/exfil"
	"github.com/holdfast-project/holdfast/agent/guard"
	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/record"
	"github.com/holdfast-project/holdfast/agent/sensor"
	"github.com/holdfast-project/holdfast/agent/spool"
	"github.com/holdfast-project/holdfast/agent/tail"
	"github.com/holdfast-project/holdfast/agent/uplink"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// Agent is a built agent.
type Agent struct {
	cfg      config.Config
	log      *slog.Logger
	sensor   *sensor.Sensor
	registry *container.Registry
	book     *container.AddressBook
	policy   *record.Policy
	alerts   *spool.Spool
	records  *spool.Spool
	uplink   *uplink.Uplink
	pipeline *pipeline
	enforcer *enforce.Enforcer
	guard    *guard.Guard
	watches  detect.Watches
	sources  []runner
	runtime  *containerd.Source
	// inspection reads what is sent and received, where modes ask for it; labels say which files matter then.
	inspection *inspection
	labels     *exfil.Labels
	// thorough is nil where no workload is chosen for it.
	thorough *thorough
	// narrowing is held while the filter of a container is set.
	narrowing sync.Mutex
	// plugin is nil where NRI is not to be used, cluster where Kubernetes is not.
	plugin  *nri.Source
	cluster *kube.Source
	started int64
	// rights are what the process may do beside root's user id.
	rights probe.Rights
	// attached is closed when the programs are.
	attached chan struct{}
}

// runner is a part that runs until its context ends.
type runner interface {
	Run(ctx context.Context) error
}

// New builds the agent. On an error nothing is left behind.
func New(cfg config.Config, log *slog.Logger) (*Agent, error) {
	a := &Agent{
		cfg: cfg, log: log, watches: detect.Watch(), book: container.NewAddressBook(),
		policy: record.New(cfg.Record), started: wallNow(), attached: make(chan struct{}),
	}
	if err := a.build(); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

func (a *Agent) build() error {
	kernel, err := probe.Run()
	if err != nil {
		return err
	}
	a.rights = kernel.Rights
	tree, err := cgroup.Open(a.cfg.CgroupRoot)
	if err != nil {
		return fmt.Errorf("find the cgroup2 hierarchy: %w", err)
	}
	if err := a.openSpools(); err != nil {
		return err
	}
	a.sensor, err = sensor.New(sensor.Config{
		BulkRing: a.cfg.RingBytes, MaxProcesses: a.cfg.MaxProcesses, MaxCgroups: a.cfg.MaxCgroups,
		CgroupRoot: tree.Root(), PinDir: pinDir(a.cfg), WhenDead: whenDead(a.cfg.WhenDead), DeadAfter: a.cfg.DeadAfter,
		Logger: a.log,
	}, kernel)
	if err != nil {
		return err
	}
	if err := a.buildRegistry(tree); err != nil {
		return err
	}
	if a.labels, err = readLabels(a.cfg.DLPLabels); err != nil {
		return err
	}
	a.inspection = newInspection(a)
	if err := a.buildThorough(); err != nil {
		return err
	}
	if err := a.buildGuard(); err != nil {
		return err
	}
	a.buildPipeline()
	return a.buildUplink()
}

// pinDir is empty when nothing is to outlive the agent.
func pinDir(cfg config.Config) string {
	if cfg.NoPin {
		return ""
	}
	return cfg.PinDir
}

func whenDead(setting string) wire.WhenDead {
	switch setting {
	case "monitor":
		return wire.WhenDeadMonitor
	case "release":
		return wire.WhenDeadRelease
	default:
		return wire.WhenDeadKeep
	}
}

func (a *Agent) openSpools() error {
	if err := os.MkdirAll(a.cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	var err error
	a.alerts, err = spool.Open(spool.Config{
		Dir: filepath.Join(a.cfg.DataDir, "alerts"), MaxBytes: a.cfg.AlertSpoolBytes, Policy: spool.DropOldest,
		Log: a.log.With("spool", "alerts"),
	})
	if err != nil {
		return fmt.Errorf("open the spool of alerts: %w", err)
	}
	a.records, err = spool.Open(spool.Config{
		Dir: filepath.Join(a.cfg.DataDir, "records"), MaxBytes: a.cfg.RecordSpoolBytes, Policy: spool.DropNewest,
		Log: a.log.With("spool", "records"),
	})
	if err != nil {
		return fmt.Errorf("open the spool of recorded events: %w", err)
	}
	return nil
}

// resolvedQueue bounds the messages from the registry to the pipeline. When it is full, the pipeline looks at every
// container that it waits for.
const resolvedQueue = 4096

func (a *Agent) buildRegistry(tree *cgroup.Tree) error {
	resolved := make(chan uint64, resolvedQueue)
	a.pipeline = &pipeline{
		log: a.log, resolved: resolved, alerts: a.alerts, records: a.records, policy: a.policy, book: a.book, tails: tail.New(),
		found: make(chan content.Found, maxFindings),
	}
	var err error
	a.registry, err = container.New(container.Config{
		Node: a.cfg.Node, Deadline: a.cfg.PendingTimeout, MaxCgroups: int(a.cfg.MaxCgroups), Walk: tree.Walk,
		OnResolved: func(cgroup uint64, c *container.Container) {
			a.narrow(c)
			a.keep(c)
			a.pipeline.post(cgroup)
		},
		OnExpected: func(c *container.Container) { a.guard.Expect(c) },
		OnPlaced: func(cgroup, of uint64) {
			if err := a.sensor.PlaceCgroup(cgroup, of); err != nil {
				a.log.Error("cgroup not placed", "error", err)
			}
		},
		Logger: a.log.With("part", "registry"),
	})
	if err != nil {
		return err
	}
	a.pipeline.registry = a.registry
	return a.buildSources()
}

func (a *Agent) buildPipeline() {
	p := a.pipeline
	p.engine = detect.New(detect.Config{Explain: func(ev *event.Event) string { return p.guard.Explain(ev) }})
	p.inspection = a.inspection
	p.exfil = exfil.New(exfil.Config{World: a.inspection, Labels: a.labels})
	p.exceptions = a.labels.Exceptions()
	p.cmdline, p.running, p.executable = commandLine, a.sensor.Process, p.guard.Executable
	p.offset = wallNow() - int64(bootNow())
}

func (a *Agent) buildUplink() error {
	if a.cfg.Collector == "" {
		a.log.Warn("no collector is set: alerts stay on disk", "directory", a.cfg.DataDir)
		return nil
	}
	var err error
	a.uplink, err = uplink.New(uplink.Config{
		Address: a.cfg.Collector, Node: a.cfg.Node, DataDir: a.cfg.DataDir, JoinTokenFile: a.cfg.JoinTokenFile,
		ServiceAccountTokenFile: a.cfg.ServiceAccountTokenFile, CollectorCAFile: a.cfg.CollectorCAFile,
		Alerts: a.alerts, Records: a.records, Hello: a.hello, Health: a.health, OnRecordPolicy: a.setRecordPolicy,
		OnModes: a.setModes, Profiles: a.guard,
		Tails: a.pipeline.tails, OnTails: func(uint64) { a.refilter() }, Logger: a.log.With("part", "uplink"),
	})
	return err
}

// Run works until the context ends or a part fails. It returns nil after an orderly end. Everything that is not
// pinned is detached, and the spools are synced, when it returns.
func (a *Agent) Run(ctx context.Context) error {
	err := a.run(ctx)
	return errors.Join(err, a.close())
}

func (a *Agent) run(ctx context.Context) error {
	if err := a.applyInterest(); err != nil {
		return err
	}
	if a.uplink != nil {
		// Containers that are there are kept to what the collector said last.
		a.uplink.Recall()
	}
	var group run.Group
	for _, part := range append(a.sources, a.alerts, a.records, a.guard, a.enforcer) {
		add(ctx, &group, part.Run)
	}
	add(ctx, &group, a.sense)
	add(ctx, &group, a.flows)
	add(ctx, &group, a.inspect)
	add(ctx, &group, a.settle)
	add(ctx, &group, a.watchLosses)
	if a.thorough != nil {
		add(ctx, &group, a.thorough.stage.Run)
	}
	if a.plugin != nil {
		add(ctx, &group, a.plug)
	}
	if a.uplink != nil {
		add(ctx, &group, a.report)
	}
	if a.cfg.MetricsListen != "" {
		add(ctx, &group, a.serveMetrics)
	}
	// The group ends with the context even if every part is idle.
	add(ctx, &group, func(ctx context.Context) error {
		<-ctx.Done()
		return nil
	})
	err := group.Run()
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return nil
	}
	return err
}

// runtimePatience is how long the agent waits for the runtime's first list of containers before it looks at the cgroups
// that are there already. Without a runtime, containers are known by their cgroups alone.
const runtimePatience = 3 * time.Second

// sense attaches the programs and reads them until the context ends.
func (a *Agent) sense(ctx context.Context) error {
	err := a.sensor.Start(func() error {
		patience, cancel := context.WithTimeout(ctx, runtimePatience)
		defer cancel()
		select {
		case <-a.runtime.Ready():
		case <-patience.Done():
		}
		return a.registry.Scan(ctx)
	})
	if err != nil {
		return err
	}
	a.reportCapabilities()
	a.pipeline.follows(bootNow(), a.cfg.MaxProcesses)
	if err := trim(); err != nil {
		a.log.Warn("memory of the start was not given back", "error", err)
	}
	close(a.attached)
	a.guard.Watching()
	err = a.sensor.Run(ctx, a.pipeline)
	// No record comes any more that a finding could wait for.
	a.pipeline.tellFindings(math.MaxUint64)
	return err
}

// flowInterval is how often flows that go on are reported.
const flowInterval = 10 * time.Second

// flows has the kernel side report running flows, once it is attached.
func (a *Agent) flows(ctx context.Context) error {
	select {
	case <-a.attached:
		return a.sensor.RunFlows(ctx, flowInterval)
	case <-ctx.Done():
		return nil
	}
}

// settle forgets the containers of the agent before that are gone, once those that are there have had time to be named.
func (a *Agent) settle(ctx context.Context) error {
	named := time.NewTimer(runtimePatience + 2*a.cfg.PendingTimeout)
	defer named.Stop()
	select {
	case <-ctx.Done():
		return nil
	case <-named.C:
	}
	err := a.guard.Settled(func(cgroup uint64) bool {
		_, state := a.registry.Lookup(cgroup)
		return state != container.StateUnknown
	})
	if err != nil {
		a.log.Error("policies of containers that are gone", "error", err)
	}
	<-ctx.Done()
	return nil
}

// report speaks to the collector, once there is something to say of the kernel.
func (a *Agent) report(ctx context.Context) error {
	select {
	case <-a.attached:
		return a.uplink.Run(ctx)
	case <-ctx.Done():
		return nil
	}
}

// add gives a part to the group, with a context of its own that the group ends.
func add(ctx context.Context, group *run.Group, part func(context.Context) error) {
	ctx, cancel := context.WithCancel(ctx)
	group.Add(func() error { return part(ctx) }, func(error) { cancel() })
}

// close gives everything back. The spools write what they hold.
func (a *Agent) close() error {
	var errs []error
	if a.enforcer != nil {
		errs = append(errs, a.enforcer.Close())
	}
	if a.inspection != nil {
		errs = append(errs, a.inspection.close())
	}
	if a.sensor != nil {
		errs = append(errs, a.sensor.Close())
	}
	for _, s := range []*spool.Spool{a.alerts, a.records} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

func (a *Agent) reportCapabilities() {
	for _, c := range slices.Concat(a.sensor.Capabilities(), guard.Capabilities(a.rights)) {
		a.log.Info("capability", "signal", c.Signal, "see", c.See.String(), "block", c.Block.String(),
			"mechanism", c.Mechanism, "reason", c.Reason)
	}
}
