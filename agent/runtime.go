// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/container/cgroup"
	"github.com/holdfast-project/holdfast/agent/container/containerd"
	"github.com/holdfast-project/holdfast/agent/container/cri"
	"github.com/holdfast-project/holdfast/agent/container/netlink"
	"github.com/holdfast-project/holdfast/agent/container/nri"
	"github.com/holdfast-project/holdfast/agent/metrics"
	"github.com/holdfast-project/holdfast/agent/probe"
)

// buildSources makes what tells the registry of containers and the address book of addresses.
func (a *Agent) buildSources() error {
	runtimeFeed, err := a.registry.Feed("containerd", container.RankRuntime)
	if err != nil {
		return err
	}
	a.runtime, err = containerd.New(containerd.Config{
		Socket: a.cfg.ContainerdSocket, Feed: runtimeFeed, CgroupOf: cgroup.PathOf, Logger: a.log.With("part", "containerd"),
	})
	if err != nil {
		return err
	}
	criFeed, err := a.registry.Feed("cri", container.RankCRI)
	if err != nil {
		return err
	}
	pods, err := cri.New(cri.Config{Socket: a.cfg.ContainerdSocket, Feed: criFeed, Book: a.book, Logger: a.log.With("part", "cri")})
	if err != nil {
		return err
	}
	links, err := netlink.New(netlink.Config{Book: a.book, Logger: a.log.With("part", "netlink")})
	if err != nil {
		return err
	}
	a.sources = []runner{a.registry, a.runtime, pods, links}
	if err := a.buildCluster(); err != nil {
		return err
	}
	return a.buildPlugin()
}

// buildPlugin makes the runtime's plugin, unless there is to be none.
func (a *Agent) buildPlugin() error {
	if a.cfg.NRISocket == "" {
		return nil
	}
	feed, err := a.registry.Feed("nri", container.RankNRI)
	if err != nil {
		return err
	}
	a.plugin, err = nri.New(nri.Config{
		Socket: a.cfg.NRISocket, Feed: feed, Wait: a.cfg.NRIWait, Logger: a.log.With("part", "nri"),
		Ready: func(ctx context.Context, c *container.Container) error { return a.guard.Await(ctx, c) },
	})
	return err
}

// plug is the runtime's plugin once programs are attached: before, there is nothing that a container should wait for.
func (a *Agent) plug(ctx context.Context) error {
	select {
	case <-a.attached:
		return a.plugin.Run(ctx)
	case <-ctx.Done():
		return nil
	}
}

// named says, for each source of names, whether it works, and whether a container's policy is in force before its first
// program.
func (a *Agent) named() []probe.Capability {
	var list []probe.Capability
	before := probe.Capability{
		Signal: "verdict before first exec", See: probe.Yes, Block: probe.No, Mechanism: "cgroup and containerd's event",
		Reason: "NRI is not used: set nri-socket",
	}
	for _, source := range a.registry.Sources() {
		c := probe.Capability{Signal: "names from " + source.Name, See: probe.No, Block: probe.No, Mechanism: source.State, Reason: source.Reason}
		if source.State == "up" {
			c.See = probe.Yes
		}
		list = append(list, c)
		if source.Name != "nri" {
			continue
		}
		if before.Reason = source.Reason; source.State == "up" {
			before.Block, before.Mechanism = probe.Yes, "nri"
			before.Reason = "containers that the runtime tells no plugin of: in containerd those outside Kubernetes"
		}
	}
	return append(list, append(a.clusterNamed(), before)...)
}

// pluginCounters are what the runtime's plugin has counted.
func (a *Agent) pluginCounters() []metrics.Counter {
	if a.plugin == nil {
		return nil
	}
	s := a.plugin.Stats()
	return []metrics.Counter{
		{Name: "nri_sessions_total", Help: "Sessions with the runtime's NRI.", Value: float64(s.Connects)},
		{Name: "nri_announced_total", Help: "Containers that were made or started while the runtime waited.", Value: float64(s.Announced)},
		{Name: "nri_ready_total", Help: "Those of them whose policy was in force when the runtime went on.", Value: float64(s.Ready)},
		{Name: "nri_late_total", Help: "Those whose policy was not in force when the time was over.", Value: float64(s.Late)},
		{Name: "nri_failed_total", Help: "Those whose policy could not be put in force, or that there was no room for.", Value: float64(s.Failed + s.Unknown)},
		{Name: "nri_bad_messages_total", Help: "Requests of the runtime that could not be read.", Value: float64(s.BadMessages)},
		{Name: "nri_waited_seconds_total", Help: "For how long containers were held up in all.", Value: s.Waited.Seconds()},
	}
}
