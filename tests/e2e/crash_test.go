// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// plan is when things happen, counted from the start of the load.
type plan struct {
	// interval is between two deeds; killCollector, killAgent and back are when the collector and the agent are killed and
	// the collector comes back; the deeds go on until end.
	interval, killCollector, killAgent, back, end time.Duration
}

// planted is one deed: its file, and the wall clock before and after.
type planted struct {
	path        string
	began, done time.Time
}

// TestKilled kills the collector, and while it is away the agent, under a load of deeds. Every deed that the agent was
// there for must be stored as one alert.
func TestKilled(t *testing.T) {
	away := lasting(15*time.Second, 5*time.Minute)
	p := plan{
		interval: 10 * time.Millisecond, killCollector: 3 * time.Second, killAgent: 3*time.Second + away/2,
		back: 3*time.Second + away, end: 6*time.Second + away,
	}
	r := startRig(t, rig.Config{})
	image := attacker(t, r)
	began := time.Now()
	count := int(p.end / p.interval)
	pod := runPod(t, r, lab.PodConfig{Namespace: "load", Name: "load"})
	c := run(t, pod, lab.ContainerConfig{
		Name: "load", Image: image.Name, Args: []string{"plant-many", "/usr/bin", strconv.Itoa(count), p.interval.String()},
	})
	gone, watching := crash(t, r, p, time.Now())
	status, err := c.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	log, err := c.Logs()
	if err != nil {
		t.Fatal(err)
	}
	if status.ExitCode != 0 {
		t.Fatalf("the load ended with %d: %s", status.ExitCode, log)
	}
	deeds := parsePlanted(t, log)
	if len(deeds) != count {
		t.Fatalf("%d deeds told of, want %d", len(deeds), count)
	}
	quiesce(t, r, time.Minute)
	alerts, err := r.Alerts(t.Context(), "--since", since(began), "--workload", "load/*")
	if err != nil {
		t.Fatal(err)
	}
	compare(t, deeds, alerts, gone, watching)
}

// crash carries out the plan. It returns when the agent was killed and from when on the next one was watching.
func crash(t *testing.T, r *rig.Rig, p plan, start time.Time) (gone, watching time.Time) {
	t.Helper()
	at := func(when time.Duration) { time.Sleep(time.Until(start.Add(when))) }
	at(p.killCollector)
	if err := r.Collector.Kill(); err != nil {
		t.Fatal(err)
	}
	at(p.killAgent)
	gone = time.Now()
	if err := r.Agent.Kill(); err != nil {
		t.Fatal(err)
	}
	before := strings.Count(r.Agent.Log(1<<20), "msg=capability")
	if err := r.LaunchAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := wait.For(t.Context(), 20*time.Second, func() error {
		if strings.Count(r.Agent.Log(1<<20), "msg=capability") == before {
			return errors.New("the agent has not said what it sees")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	watching = time.Now()
	at(p.back)
	if err := r.StartCollector(t.Context()); err != nil {
		t.Fatal(err)
	}
	return gone, watching
}

func parsePlanted(t *testing.T, log string) []planted {
	t.Helper()
	var deeds []planted
	for line := range strings.Lines(log) {
		var p planted
		var began, done int64
		if _, err := fmt.Sscanf(line, "%s %d %d", &p.path, &began, &done); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		p.began, p.done = time.Unix(0, began), time.Unix(0, done)
		deeds = append(deeds, p)
	}
	return deeds
}

// unread is how long before the agent's death a deed may have been whose record it had not come to read: the longest
// that it leaves records in the kernel's ring, many times over.
const unread = 500 * time.Millisecond

func compare(t *testing.T, deeds []planted, alerts []view.Alert, gone, watching time.Time) {
	t.Helper()
	stored := map[string]int{}
	for _, a := range alerts {
		if a.Event.File == nil {
			t.Errorf("for no deed: %s", a.Output)
			continue
		}
		stored[a.Event.File.Path]++
	}
	var once, twice, missing, unwatched, unwatchedStored int
	for _, d := range deeds {
		n := stored[d.path]
		delete(stored, d.path)
		switch {
		case n > 1:
			twice++
			t.Errorf("%s is stored %d times", d.path, n)
		case d.done.After(gone.Add(-unread)) && d.began.Before(watching):
			unwatched++
			unwatchedStored += n
		case n == 1:
			once++
		default:
			if missing++; missing <= 10 {
				t.Errorf("%s of %s is not stored; the agent was killed at %s and back by %s", d.path, d.began, gone, watching)
			}
		}
	}
	for path := range stored {
		t.Errorf("an alert of %s, which was no deed", path)
	}
	t.Logf("%d deeds: %d stored once, %d twice, %d missing; of %d while no agent was watching (%s) %d are stored",
		len(deeds), once, twice, missing, unwatched, watching.Sub(gone).Round(time.Millisecond), unwatchedStored)
	if once == 0 || unwatched == len(deeds) {
		t.Error("nothing was tested")
	}
}
