// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"testing"
	"unsafe"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/mode"
	"github.com/holdfast-project/holdfast/agent/proc"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
)

const contacts = `apiVersion: holdfast.dev/v1alpha1
kind: Profile
metadata: {namespace: shop, kind: Deployment, name: web, container: app}
processes:
  - path: /usr/bin/curl
    egress:
      - {cidr: 192.0.2.0/24, protocol: tcp, port: 443}
      - {name: backup.example, protocol: tcp, port: 443}
`

// TestHolds asks of destinations in every mode that a container may have.
func TestHolds(t *testing.T) {
	documents, err := profile.Decode("contacts", []byte(contacts))
	if err != nil {
		t.Fatal(err)
	}
	key := documents[0].Profile.Key
	c := &container.Container{
		Cgroup: 7, ID: "app", Namespace: key.Namespace, WorkloadKind: key.Kind, Workload: key.Name, Name: key.Container, Kind: container.KindContainer,
	}
	for _, test := range []struct {
		mode            profile.Mode
		state           profile.State
		judges          bool
		listed, foreign bool
	}{
		{profile.ModeOff, profile.StateStable, false, false, false},
		{profile.ModeLearn, profile.StateLearning, false, true, true},
		{profile.ModeLearn, profile.StateStable, true, true, false},
		{profile.ModeMonitor, profile.StateLearning, true, true, false},
		{profile.ModeEnforce, profile.StateLearning, true, true, false},
	} {
		g, err := New(Config{Node: "node", Dir: t.TempDir(), Defaults: profile.Modes{profile.SignalEgress: test.mode}})
		if err != nil {
			t.Fatal(err)
		}
		w := g.workloadOf(key)
		if w.matcher, err = profile.NewMatcher(documents[0].Profile); err != nil {
			t.Fatal(err)
		}
		w.states = map[profile.Signal]profile.State{profile.SignalEgress: test.state}
		g.members[c.Cgroup] = &member{container: c, workload: w}
		if _, err := g.modes.Start(mode.Container{Container: c, Key: key}, g.now()); err != nil {
			t.Fatal(err)
		}
		if got := g.Judges(7, profile.SignalEgress); got != test.judges {
			t.Errorf("%s, %s: judges %v", test.mode, test.state, got)
		}
		for _, to := range []struct {
			last  uint8
			names []string
			want  bool
		}{{2, nil, test.listed}, {113, nil, test.foreign}, {113, []string{"backup.example"}, test.listed}} {
			if got := g.Holds(flowTo(t, c, to.last), to.names); got != to.want {
				t.Errorf("%s, %s: to %d by %v: held %v", test.mode, test.state, to.last, to.names, got)
			}
		}
		if g.Judges(8, profile.SignalEgress) {
			t.Error("a container that nobody knows is judged")
		}
	}
}

// flowTo is a flow of the container's curl to 192.0.2.1 or, by the last number, to 203.0.113.1.
func flowTo(t *testing.T, c *container.Container, last uint8) *event.Event {
	t.Helper()
	n := wire.Net{Head: wire.Head{Type: uint16(wire.TypeFlow), Origin: c.Cgroup}, Family: 2, Protocol: 6, RemotePort: 443, Remote: [16]uint8{192, 0, 2, 1}}
	if last == 113 {
		n.Remote = [16]uint8{203, 0, 113, 1}
	}
	words := make([]uint64, unsafe.Sizeof(n)/8)
	raw := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), unsafe.Sizeof(n))
	copy(raw, unsafe.Slice((*byte)(unsafe.Pointer(&n)), unsafe.Sizeof(n)))
	ev := new(event.Event)
	if err := ev.Decode(raw); err != nil {
		t.Fatal(err)
	}
	ev.Process, ev.Container = &proc.Process{Image: &proc.Image{Exe: "/usr/bin/curl"}}, c
	return ev
}
