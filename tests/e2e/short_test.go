// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
)

// accept listens at the pods' gateway and closes what comes; it returns the address.
func accept(t *testing.T, r *rig.Rig) string {
	t.Helper()
	listener, err := r.Lab.Listen(t.Context(), "tcp", netip.AddrPortFrom(r.Lab.Gateway(), 0).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_ = conn.Close()
			}
		}
	}()
	return listener.Addr().String()
}

// story is what a short container did, as the collector has stored it.
type story struct {
	entries, openers, connectors, opens, connects int
	// errs tell of events under another name than the container's.
	errs []error
}

const shortFile = "/etc/passwd"

// add notes one event of the container.
func (s *story) add(e *view.Event, c *lab.Container, digest string) {
	deed := e.Process.Args[1]
	switch {
	case e.Type == "exec" && deed == "short":
		s.entries++
	case e.Type == "exec" && deed == "open":
		s.openers++
	case e.Type == "exec" && deed == "connect":
		s.connectors++
	case e.Type == "open" && deed == "open" && e.File.Path == shortFile:
		s.opens++
	case e.Type == "connect" && deed == "connect":
		s.connects++
	default:
		return
	}
	got := e.Container
	if got == nil {
		s.errs = append(s.errs, fmt.Errorf("%s %s belongs to no container", e.ID, e.Type))
		return
	}
	want := [...]string{c.ID, c.Name, c.Pod.Name, c.Pod.UID, c.Pod.Namespace, digest}
	if have := [...]string{got.ID, got.Name, got.Pod, got.PodUID, got.Namespace, got.ImageDigest}; have != want {
		s.errs = append(s.errs, fmt.Errorf("%s %s: %q, want %q", e.ID, e.Type, have, want))
	}
}

func (s *story) check() error {
	got := [...]int{s.entries, s.openers, s.connectors, s.opens, s.connects}
	if want := [...]int{1, 1, 1, 1, 1}; got != want {
		return errors.Join(append(s.errs, fmt.Errorf("entry, two processes, open, connect: %v, want each once", got))...)
	}
	return errors.Join(s.errs...)
}

// TestShortContainers runs 250 containers, or 1,000 in the long form, that live under a second each, start two
// processes, open a file and connect. Every one of these deeds must be stored, once, under the right names.
func TestShortContainers(t *testing.T) {
	count := 250
	if long() {
		count = 1000
	}
	r := startRig(t, rig.Config{Record: []string{"exec", "open", "connect"}})
	image := attacker(t, r)
	addr := accept(t, r)
	began := time.Now()
	var pods []*lab.Pod
	for i := range 8 {
		pods = append(pods, runPod(t, r, lab.PodConfig{Namespace: "short", Name: fmt.Sprintf("job-%d", i)}))
	}
	burst, err := r.Lab.RunBurst(t.Context(), lab.Burst{
		Count: count, Pods: pods,
		Container: func(n int) lab.ContainerConfig {
			return lab.ContainerConfig{
				Name: fmt.Sprintf("c%d", n), Image: image.Name, Args: []string{"short", shortFile, addr, fmt.Sprintf("tag-%d", n)},
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	lives := make([]time.Duration, 0, count)
	for n, c := range burst.Containers {
		lives = append(lives, c.Status.Finished.Sub(c.Status.Started))
		if c.Status.ExitCode != 0 {
			t.Fatalf("container %d ended with %d: the deeds were not done", n, c.Status.ExitCode)
		}
	}
	slices.Sort(lives)
	t.Logf("%d containers in %s, %.1f/s; lived %s at the median, %s at most",
		count, burst.Took.Round(time.Second), burst.Rate(), lives[count/2].Round(time.Millisecond), lives[count-1].Round(time.Millisecond))
	quiesce(t, r, time.Minute)

	stories := map[string]*story{}
	containers := map[string]*lab.Container{}
	for n, c := range burst.Containers {
		stories[fmt.Sprintf("tag-%d", n)], containers[fmt.Sprintf("tag-%d", n)] = &story{}, c.Container
	}
	stored, unnamed := 0, 0
	err = r.Events(t.Context(), func(e *view.Event) {
		if e.Container == nil && e.Workload.Kind != "Host" {
			unnamed++
		}
		if e.Process == nil || len(e.Process.Args) < 3 {
			return
		}
		tag := e.Process.Args[len(e.Process.Args)-1]
		if s := stories[tag]; s != nil && e.Process.Args[0] != "runc" {
			stored++
			s.add(e, containers[tag], image.Digest)
		}
	}, "--since", since(began), "--type", "exec,open,connect")
	if err != nil {
		t.Fatal(err)
	}
	wrong := 0
	for tag, s := range stories {
		if err := s.check(); err != nil {
			if wrong++; wrong <= 10 {
				t.Errorf("%s: %v", tag, err)
			}
		}
	}
	n := node(t, r)
	t.Logf("%d of %d containers stored exactly as they were run; %d events of theirs; %d events without a name; lost: %v, undelivered: %v",
		count-wrong, count, stored, unnamed, n.Health.Losses, n.Undelivered)
	if n.Lost != 0 || unnamed != 0 {
		t.Errorf("%d events were lost, %d have no name", n.Lost, unnamed)
	}
}
