// SPDX-License-Identifier: Apache-2.0

package effect

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/detect"
	"github.com/holdfast-project/holdfast/agent/enforce"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/policy"
	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/proc"
	"github.com/holdfast-project/holdfast/agent/report"
	"github.com/holdfast-project/holdfast/agent/sensor"
	"github.com/holdfast-project/holdfast/agent/wire"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/rig/heard"
)

// rig is what an agent is made of, as far as verdicts go, with the one policy of this test, and the records that came.
type rig struct {
	sensor   *sensor.Sensor
	enforcer *enforce.Enforcer
	policy   uint32
	root     string // where cgroup2 is mounted
	image    string // the folder that all containers are made from
	family   probe.Family
	can      map[string]probe.Capability

	*heard.Log
}

// newRig starts a sensor with what the agent watches, and puts the profile in force for nobody yet.
func newRig(t *testing.T) *rig {
	t.Helper()
	kernel, err := probe.Run()
	must(t, err)
	r := &rig{root: cgroupRoot(t), family: kernel.Best(), can: map[string]probe.Capability{}, Log: heard.New()}
	r.sensor, err = sensor.New(sensor.Config{CgroupRoot: r.root}, kernel)
	must(t, err)
	t.Cleanup(func() { must(t, r.sensor.Close()) })
	must(t, r.sensor.Start(func() error { return nil }))
	r.watch(t)
	for _, c := range r.sensor.Capabilities() {
		r.can[c.Signal] = c
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.sensor.Run(ctx, r) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
	r.compile(t)
	r.image = newImage(t)
	return r
}

// watch asks for what the agent's rules ask for.
func (r *rig) watch(t *testing.T) {
	t.Helper()
	watches := detect.Watch()
	for _, name := range watches.ReadNames {
		must(t, r.sensor.WatchName(name, wire.WatchRead|wire.WatchProtect))
	}
	for _, path := range watches.WritePaths {
		must(t, r.sensor.WatchPath(path, wire.WatchWrite))
	}
	for _, address := range watches.Addresses {
		must(t, r.sensor.WatchAddress(netip.PrefixFrom(address, address.BitLen())))
	}
	must(t, r.sensor.SetDefaultInterest(watches.Host, watches.Containers))
}

// compile makes a policy of the profile.
func (r *rig) compile(t *testing.T) {
	t.Helper()
	const file = "testdata/profile.yaml"
	text, err := os.ReadFile(file)
	must(t, err)
	allowed, err := profile.DecodeOne(file, text)
	must(t, err)
	r.enforcer, err = enforce.New(enforce.Config{Maps: r.sensor.Policies()})
	must(t, err)
	t.Cleanup(func() { must(t, r.enforcer.Close()) })
	set, err := policy.Compile(allowed, policy.Options{
		Hasher: r.enforcer.Hasher(), Resolvers: []netip.Addr{netip.MustParseAddr(resolverAddr)},
	})
	must(t, err)
	r.policy, err = r.enforcer.Create()
	must(t, err)
	must(t, r.enforcer.Apply(r.policy, set))
}

func cgroupRoot(t *testing.T) string {
	t.Helper()
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		if err := unix.Statfs(dir, &fs); err == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir
		}
	}
	t.Fatal("no cgroup2 is mounted")
	return ""
}

// told gives the events of a container on which its policy said something, and forgets all that came so far.
func (r *rig) told(t *testing.T, container uint64) []*event.Event {
	t.Helper()
	r.Wait(t, r.root)
	found := r.verdicts(container)
	r.Forget(func(e *event.Event) bool { return e.Head.Origin == container || e.Head.Origin == 0 })
	return found
}

func (r *rig) verdicts(container uint64) []*event.Event {
	return r.Find(func(e *event.Event) bool {
		return e.Head.Origin == container && wire.Flag(e.Head.Flags)&report.VerdictFlags != 0
	})
}

// alertOf is the alert that the agent makes of an event. Who acts is not looked up here, but for its number.
func alertOf(t *testing.T, e *event.Event) *apiv1.Alert {
	t.Helper()
	e.Process = &proc.Process{
		PID: e.Head.Tgid, Start: e.Head.Start, Origin: e.Head.Origin, Execs: 1, Image: &proc.Image{Exe: string(e.Exe())},
	}
	if e.Exec() == nil {
		e.Process.Image = &proc.Image{}
	}
	matches := detect.New(detect.Config{}).Match(e)
	if len(matches) != 1 {
		t.Fatalf("%s for %s makes %d alerts, want 1", event.Name(e.Type), report.ReasonName(wire.Reason(e.Head.Reason)), len(matches))
	}
	return detect.Alert(matches[0], e)
}

// lines shows events, one a line.
func lines(events []*event.Event) string {
	var text strings.Builder
	for _, e := range events {
		path := ""
		if e.Exec() != nil || e.File() != nil {
			path = " " + string(e.Path())
		}
		fmt.Fprintf(&text, "\n\t%s%s: flags %#x, signal %s, %s", event.Name(e.Type), path, e.Head.Flags,
			report.SignalOf(wire.Signal(e.Head.Signal)), report.ReasonName(wire.Reason(e.Head.Reason)))
	}
	return text.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
