// SPDX-License-Identifier: Apache-2.0

package mode

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/rules/profile"
)

func testContainer(n uint64, name string) Container {
	return Container{
		Key:       profile.Key{Namespace: "a", Kind: "Deployment", Name: name, Container: "c"},
		Container: &container.Container{Cgroup: n, Namespace: "a", Workload: name, Name: "c"},
	}
}

func TestParseAnnotations(t *testing.T) {
	enforce := profile.ModeEnforce
	for _, c := range []struct {
		in   map[string]string
		want profile.Modes
		bad  string
	}{
		{nil, profile.Modes{}, ""},
		{map[string]string{"holdfast.dev/mode": "enforce"}, profile.Modes{"process": enforce, "file": enforce, "egress": enforce, "protect": enforce}, ""},
		{map[string]string{"holdfast.dev/mode.file": "enforce", "holdfast.dev/mode": "off"}, profile.Modes{"process": "off", "file": enforce, "egress": "off", "protect": "off"}, ""},
		{map[string]string{"holdfast.dev/mode": " off", "holdfast.dev/mode.file": "enforce"}, profile.Modes{"file": enforce}, `"holdfast.dev/mode" is ignored`},
		{map[string]string{"holdfast.dev/mode": ""}, profile.Modes{}, `"holdfast.dev/mode" is ignored`},
		{map[string]string{"holdfast.dev/mode.": "off"}, profile.Modes{}, `"holdfast.dev/mode." is ignored`},
		{map[string]string{"holdfast.dev/mode.\x1b[2J": "off"}, profile.Modes{}, `"holdfast.dev/mode.\x1b[2J" is ignored`},
		{map[string]string{"holdfast.dev/modes": "off", "mode": "off"}, profile.Modes{}, ""},
	} {
		got, err := ParseAnnotations(c.in)
		if !maps.Equal(got, c.want) {
			t.Errorf("%q: %v, want %v", c.in, got, c.want)
		}
		if (err == nil) != (c.bad == "") || err != nil && !strings.Contains(err.Error(), c.bad) {
			t.Errorf("%q: error %v, want %s", c.in, err, c.bad)
		}
	}
}

func FuzzParseAnnotations(f *testing.F) {
	f.Add("holdfast.dev/mode", "enforce", "holdfast.dev/mode.file", "off")
	f.Fuzz(func(t *testing.T, name, value, other, otherValue string) {
		modes, err := ParseAnnotations(map[string]string{name: value, other: otherValue})
		for signal, m := range modes {
			if _, bad := profile.ParseSignal(string(signal)); bad != nil {
				t.Errorf("signal %q", signal)
			}
			if _, bad := profile.ParseMode(string(m)); bad != nil {
				t.Errorf("mode %q", m)
			}
		}
		if err != nil && strings.ContainsFunc(strings.ReplaceAll(err.Error(), "\n", ""), func(r rune) bool { return r < ' ' }) {
			t.Errorf("control characters in %q", err)
		}
	})
}

func TestLimits(t *testing.T) {
	c, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1700000000, 0)
	if _, err := c.Start(testContainer(1, "w"), now); err != nil {
		t.Fatal(err)
	}
	one := []Setting{{ID: 1, Mode: profile.ModeEnforce, Author: "ann", Set: now}}
	if switches, err := c.SetCollector(one, now); len(switches) != 4 || err != nil {
		t.Fatalf("%d switches, %v", len(switches), err)
	}
	if _, err := c.SetCollector(make([]Setting, MaxSettings+1), now); err == nil || !strings.Contains(err.Error(), "those before stay") {
		t.Errorf("too many settings: %v", err)
	}
	if got := c.Modes(1)[profile.SignalFile]; got != profile.ModeEnforce {
		t.Errorf("after too many settings, the mode is %s", got)
	}
	for i := range MaxContainers - 1 {
		one := testContainer(uint64(i+2), fmt.Sprint(i))
		c.containers[one.Cgroup] = &running{subject: subject{Container: one}, modes: profile.Modes{}}
	}
	if _, err := c.Start(testContainer(1<<40, "last"), now); err == nil || c.Modes(1<<40) != nil {
		t.Errorf("too many containers: %v", err)
	}
	if _, err := c.Start(testContainer(1, "w"), now); err != nil {
		t.Errorf("one that is known: %v", err)
	}
}

// TestForgets fills the controller with workloads that come and go.
func TestForgets(t *testing.T) {
	c, err := New(Config{Defaults: profile.Modes{profile.SignalProcess: profile.ModeEnforce}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1700000000, 0)
	for i := range maxTracks + 1000 {
		at := track{profile.Key{Name: fmt.Sprint(i)}, profile.SignalProcess}
		c.tracks[at] = &tracked{enforced: now}
		if i < 10 {
			c.tracks[at].hold(now, "tried")
		}
		c.blocked[at.key] = now
	}
	if _, err := c.Start(testContainer(1, "runs"), now); err != nil {
		t.Fatal(err)
	}
	c.Tick(now.Add(time.Hour))
	held := 0
	for _, tracked := range c.tracks {
		if !tracked.held.IsZero() {
			held++
		}
	}
	runs := c.tracks[track{testContainer(1, "runs").Key, profile.SignalProcess}]
	if n := len(c.tracks); n != maxTracks || held != 10 || runs == nil {
		t.Errorf("%d signals are remembered, %d of them held, %v of what runs", n, held, runs)
	}
	if n := len(c.Snapshot(now).Signals); n > maxTracks {
		t.Errorf("a snapshot of %d signals, more than are taken back", n)
	}
	if len(c.blocked) != 0 {
		t.Errorf("%d workloads are remembered as blocked", len(c.blocked))
	}
}

func TestNewRefuses(t *testing.T) {
	for want, cfg := range map[string]Config{
		`default modes: unknown signal "gpu"`:          {Defaults: profile.Modes{"gpu": profile.ModeOff}},
		`default modes: file: unknown mode "block"`:    {Defaults: profile.Modes{"file": "block"}},
		`state of modes: a//b/: unknown signal "gpu"`:  {State: State{Signals: []SignalState{{Key: profile.Key{Namespace: "a", Name: "b"}, Signal: "gpu"}}}},
		`state of modes: ///: unknown mode "up"`:       {State: State{Signals: []SignalState{{Signal: "file", Promoted: "up"}}}},
		`state of modes: 65537 signals, at most 65536`: {State: State{Signals: make([]SignalState, maxTracks+1)}},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func BenchmarkSettings(b *testing.B) {
	c, err := New(Config{})
	if err != nil {
		b.Fatal(err)
	}
	now := time.Unix(1700000000, 0)
	for i := range 300 {
		if _, err := c.Start(testContainer(uint64(i+1), fmt.Sprint(i/3)), now); err != nil {
			b.Fatal(err)
		}
	}
	settings := make([]Setting, 200)
	for i := range settings {
		settings[i] = Setting{ID: uint64(i), Workload: fmt.Sprintf("a/%d", i), Mode: profile.ModeLearn, Set: now}
	}
	for b.Loop() {
		settings[0].Mode = map[bool]profile.Mode{true: profile.ModeLearn, false: profile.ModeMonitor}[settings[0].Mode == profile.ModeMonitor]
		if _, err := c.SetCollector(settings, now); err != nil {
			b.Fatal(err)
		}
	}
}
