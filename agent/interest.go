// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"net/netip"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/wire"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// What the kernel lets through is what the rules watch, what is recorded and what somebody looks at live. A container whose name is not known yet
// gets whatever any rule of the record policy could ask for; once it has its name, just what is asked for of it.

// applyInterest sets the kernel's filters from the rules and the record policy.
func (a *Agent) applyInterest() error {
	for _, name := range a.watches.ReadNames {
		if err := a.sensor.WatchName(name, wire.WatchRead|wire.WatchProtect); err != nil {
			return err
		}
	}
	for _, path := range a.watches.WritePaths {
		if err := a.sensor.WatchPath(path, wire.WatchWrite); err != nil {
			return err
		}
	}
	for _, address := range a.watches.Addresses {
		if err := a.sensor.WatchAddress(netip.PrefixFrom(address, address.BitLen())); err != nil {
			return err
		}
	}
	return a.applyDefaults()
}

func (a *Agent) applyDefaults() error {
	host, containers, live := a.watches.Host, a.watches.Containers, a.pipeline.tails.Classes()
	host.All |= a.policy.Bits(a.registry.Host()) | live
	containers.All |= a.policy.Union() | live
	return a.sensor.SetDefaultInterest(host, containers)
}

// narrow sets the filter of a container that has its name. It may be called from any goroutine.
func (a *Agent) narrow(c *container.Container) {
	if c == nil || c.Cgroup == 0 {
		return
	}
	interest, live := a.watches.Containers, a.pipeline.tails.Classes()
	interest.All |= a.policy.Bits(c) | live
	err := a.sensor.ClearInterest(c.Cgroup)
	if bits := a.policy.Union() | live; bits&^interest.All != 0 {
		err = a.sensor.SetInterest(c.Cgroup, interest)
	}
	if err != nil {
		a.log.Error("interest not set", "container", c.ID, "error", err)
	}
}

// setRecordPolicy takes a policy from the collector.
func (a *Agent) setRecordPolicy(p *apiv1.RecordPolicy) {
	if err := a.policy.Set(p); err != nil {
		a.log.Warn("record policy", "error", err)
	}
	a.refilter()
}

// refilter brings the kernel's filters in line with the record policy and with those who watch.
func (a *Agent) refilter() {
	if err := a.applyDefaults(); err != nil {
		a.log.Error("interest not set", "error", err)
	}
	for _, c := range a.registry.Snapshot() {
		a.narrow(c)
	}
}
