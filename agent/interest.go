// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/exfil"
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
	a.narrowing.Lock()
	defer a.narrowing.Unlock()
	interest, live := a.watches.Containers, a.pipeline.tails.Classes()
	usual := interest.All | a.policy.Union() | live
	interest.All |= a.policy.Bits(c) | live
	dlp, waf := a.inspection.Asked(c.Cgroup)
	if dlp {
		interest.All |= exfil.Classes()
	}
	if waf {
		// Who serves a request.
		interest.All |= 1 << wire.TypeAccept
	}
	err := a.sensor.ClearInterest(c.Cgroup)
	if interest.All != usual {
		err = a.sensor.SetInterest(c.Cgroup, interest)
	}
	if err != nil {
		a.log.Error("interest not set", "container", c.ID, "error", err)
	}
}

// refocus sets the filter of a container of which other things are asked for than before, or that is gone.
func (a *Agent) refocus(cgroup uint64) {
	if c, _ := a.registry.Lookup(cgroup); c != nil {
		a.narrow(c)
		return
	}
	if err := a.sensor.ClearInterest(cgroup); err != nil {
		a.log.Error("interest not cleared", "cgroup", cgroup, "error", err)
	}
}

// watchLabels asks for the reading of labelled files. Names that are watched already stay what they are.
func (a *Agent) watchLabels() error {
	for _, name := range a.labels.Names() {
		if slices.Contains(a.watches.ReadNames, name) {
			continue
		}
		if err := a.sensor.WatchName(name, wire.WatchRead); err != nil {
			return fmt.Errorf("watch labelled files: %w", err)
		}
	}
	return nil
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
