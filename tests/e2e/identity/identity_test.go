// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/container/cgroup"
	"github.com/holdfast-project/holdfast/agent/container/containerd"
	"github.com/holdfast-project/holdfast/agent/container/cri"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/wait"
)

func TestMain(m *testing.M) {
	lab.RunHolder()
	os.Exit(m.Run())
}

// node is what an agent has of identity: the registry and its sources.
type node struct {
	reg  *container.Registry
	book *container.AddressBook
	ctrd *containerd.Source
	cri  *cri.Source

	mu sync.Mutex
	// resolved is when each container's cgroup had its name, at birth or later.
	resolved map[uint64]time.Time
	pending  int
}

func startLab(t *testing.T) *lab.Lab {
	t.Helper()
	if missing := lab.Missing(); len(missing) > 0 && os.Getuid() == 0 {
		t.Fatalf("Debian packages are missing: %s", strings.Join(missing, " "))
	}
	l, err := lab.New(lab.Config{Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	err = l.Start(t.Context())
	if errors.Is(err, lab.ErrNotRoot) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(l.ContainerdLog(20))
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// ofThisLab leaves out of a walk what else the machine has, other labs and containers that nobody removed: nobody here can name it.
func ofThisLab(tree *cgroup.Tree, l *lab.Lab) func(context.Context) ([]container.Birth, error) {
	return func(ctx context.Context) ([]container.Birth, error) {
		births, err := tree.Walk(ctx)
		own := map[uint64]bool{}
		return slices.DeleteFunc(births, func(b container.Birth) bool {
			// Parents come before their children; the root has none.
			own[b.Cgroup] = own[b.Parent] || strings.HasPrefix(b.Name, l.Name())
			return !own[b.Cgroup] && b.Parent != 0
		}), err
	}
}

// startNode runs the registry with sources on a socket; withCRI adds the CRI source.
func startNode(t *testing.T, l *lab.Lab, socket string, withCRI bool) *node {
	t.Helper()
	tree, err := cgroup.Open("")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{book: container.NewAddressBook(), resolved: map[uint64]time.Time{}}
	n.reg, err = container.New(container.Config{
		Node: "node-1", Walk: ofThisLab(tree, l),
		OnResolved: func(cgroup uint64, _ *container.Container) { n.note(cgroup) },
	})
	if err != nil {
		t.Fatal(err)
	}
	feed, err := n.reg.Feed("containerd", container.RankRuntime)
	if err != nil {
		t.Fatal(err)
	}
	n.ctrd, err = containerd.New(containerd.Config{Socket: socket, Feed: feed, CgroupOf: cgroup.PathOf})
	if err != nil {
		t.Fatal(err)
	}
	run := []func(context.Context) error{n.reg.Run, n.ctrd.Run}
	if withCRI {
		if feed, err = n.reg.Feed("cri", container.RankCRI); err != nil {
			t.Fatal(err)
		}
		if n.cri, err = cri.New(cri.Config{Socket: socket, Feed: feed, Book: n.book}); err != nil {
			t.Fatal(err)
		}
		run = append(run, n.cri.Run)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, f := range run {
		wg.Go(func() {
			if err := f(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	<-n.ctrd.Ready()
	if withCRI {
		<-n.cri.Ready()
	}
	if err := n.reg.Scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) note(cgroup uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.resolved[cgroup]; !ok {
		n.resolved[cgroup] = time.Now()
	}
}

// born reports a birth and notes whether the container has its name by then.
func (n *node) born(b container.Birth) {
	if p := n.reg.Born(b); p.Kind != container.PlaceContainer {
		return
	}
	if _, state := n.reg.Lookup(b.Cgroup); state == container.StateResolved {
		n.note(b.Cgroup)
		return
	}
	n.mu.Lock()
	n.pending++
	n.mu.Unlock()
}

func (n *node) resolvedAt(cgroup uint64) (time.Time, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	at, ok := n.resolved[cgroup]
	return at, ok
}

// expect compares an identity field by field.
func expect(t *testing.T, c *container.Container, want map[string]string) {
	t.Helper()
	if c == nil {
		t.Error("no container")
		return
	}
	got := map[string]string{
		"state": c.State.String(), "kind": c.Kind.String(), "id": c.ID, "name": c.Name, "image": c.Image,
		"digest": c.ImageDigest, "imageID": c.ImageID, "pod": c.Pod, "uid": c.PodUID, "namespace": c.Namespace,
		"sandbox": c.SandboxID, "workload": c.WorkloadKind + "/" + c.Workload, "node": c.Node,
		"runtime": c.Runtime + "/" + c.RuntimeNamespace, "snapshotter": c.Snapshotter, "pid": fmt.Sprint(c.InitPID),
		"app": c.PodLabels["app"], "note": c.Annotations["note"], "label": c.Labels["tier"],
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s is %q, want %q", k, got[k], v)
		}
	}
}

func runPod(t *testing.T, l *lab.Lab, name string, labels map[string]string) *lab.Pod {
	t.Helper()
	p, err := l.RunPod(t.Context(), lab.PodConfig{
		Namespace: "shop", Name: name, Labels: labels, Annotations: map[string]string{"note": "kept"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// importBusybox imports the test's image and returns it with its digests.
func importBusybox(t *testing.T, l *lab.Lab) *lab.Built {
	t.Helper()
	image, err := lab.NewImage("docker.io/acme/web:1.2", nil, "/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	built, err := image.Build()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.ImportBuilt(t.Context(), built); err != nil {
		t.Fatal(err)
	}
	return built
}

// TestIdentity checks every field of containers that are older than the agent and of one that is younger, their pods'
// addresses, and that all of it ends.
func TestIdentity(t *testing.T) {
	l := startLab(t)
	built := importBusybox(t, l)
	labels := map[string]string{"app": "web", "pod-template-hash": "6d4cf56db6"}
	pod := runPod(t, l, "web-6d4cf56db6-x7x2p", labels)
	config := lab.ContainerConfig{
		Name: "old", Image: built.Name, Command: []string{"sleep", "600"}, Labels: map[string]string{"tier": "front"},
	}
	old, err := pod.Run(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}

	n := startNode(t, l, l.Socket(), true)
	watchBirths(t, n, l)
	config.Name = "young"
	young, err := pod.Run(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*lab.Container{old, young} {
		t.Run(c.Name, func(t *testing.T) {
			status, err := c.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			id, err := c.CgroupID()
			if err != nil {
				t.Fatal(err)
			}
			wait.True(t, patience, "CRI has added the image id", func() bool {
				got, _ := n.reg.Lookup(id)
				return got != nil && got.ImageID != "" && got.InitPID != 0
			})
			got, _ := n.reg.Lookup(id)
			expect(t, got, map[string]string{
				"state": "resolved", "kind": "container", "id": c.ID, "name": c.Name, "image": built.Name,
				"digest": built.Digest, "imageID": built.ConfigDigest, "pod": pod.Name, "uid": pod.UID,
				"namespace": "shop", "sandbox": pod.ID, "workload": "Deployment/web", "node": "node-1",
				"runtime": "containerd/k8s.io", "snapshotter": got.Snapshotter, "pid": fmt.Sprint(status.PID),
				"app": "web", "note": "kept", "label": "front",
			})
			if got.Snapshotter == "" || got.SnapshotKey != c.ID || got.Cgroup != id ||
				got.CgroupPath != strings.TrimPrefix(c.CgroupDir(), l.CgroupRoot()) {
				t.Errorf("identity %+v", got)
			}
			if d := got.Created.Sub(status.Created).Abs(); d > time.Second {
				t.Errorf("created %s off", d)
			}
		})
	}
	t.Run("sandbox", func(t *testing.T) {
		id, err := pod.CgroupID()
		if err != nil {
			t.Fatal(err)
		}
		got, _ := n.reg.Lookup(id)
		expect(t, got, map[string]string{"kind": "sandbox", "id": pod.ID, "pod": pod.Name, "workload": "Deployment/web"})
	})
	t.Run("address", func(t *testing.T) {
		want := container.Endpoint{Kind: container.EndpointPod, Name: pod.Name, Namespace: "shop"}
		if got, _ := n.book.Lookup(pod.IP); got != want {
			t.Errorf("%s: %+v", pod.IP, got)
		}
		second := runPod(t, l, "second", nil)
		want.Name = "second"
		wait.True(t, patience, "the new pod's address is known", func() bool { e, _ := n.book.Lookup(second.IP); return e == want })
		if err := second.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		wait.True(t, patience, "the address is given back", func() bool { _, known := n.book.Lookup(second.IP); return !known })
	})
	t.Run("end", func(t *testing.T) {
		id, err := young.CgroupID()
		if err != nil {
			t.Fatal(err)
		}
		gone := n.reg.Stats().Gone
		if err := young.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		wait.True(t, patience, "the cgroup is gone", func() bool { return n.reg.Stats().Gone > gone })
		if got, _ := n.reg.Lookup(id); got == nil || got.Name != "young" {
			t.Errorf("right after its end: %+v", got)
		}
		n.reg.Advance(time.Now().Add(container.DefaultGrace + time.Second))
		if got, state := n.reg.Lookup(id); state != container.StateUnknown {
			t.Errorf("after the time of grace: %+v", got)
		}
	})
}

// TestShortLived runs 100 containers of a moment each: every one has its name before its process starts.
func TestShortLived(t *testing.T) {
	const count = 100
	l := startLab(t)
	built := importBusybox(t, l)
	n := startNode(t, l, l.Socket(), true)
	watchBirths(t, n, l)
	var pods []*lab.Pod
	for i := range 4 {
		pods = append(pods, runPod(t, l, fmt.Sprintf("job-%d", i), nil))
	}
	result, err := l.RunBurst(t.Context(), lab.Burst{
		Count: count, Pods: pods,
		Container: func(i int) lab.ContainerConfig {
			return lab.ContainerConfig{Name: fmt.Sprintf("c%d", i), Image: built.Name, Command: []string{"true"}}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	byID := map[string]*container.Container{}
	for _, c := range n.reg.Snapshot() {
		byID[c.ID] = c
	}
	late := 0
	for i, c := range result.Containers {
		got := byID[c.ID]
		expect(t, got, map[string]string{
			"state": "resolved", "name": fmt.Sprintf("c%d", i), "pod": c.Pod.Name, "uid": c.Pod.UID, "image": built.Name,
			"digest": built.Digest, "workload": "Pod/" + c.Pod.Name,
		})
		if got == nil {
			continue
		}
		if at, ok := n.resolvedAt(got.Cgroup); !ok || at.After(c.Status.Started) {
			late++
			t.Errorf("container %d: named %s after its start", i, at.Sub(c.Status.Started))
		}
	}
	s := n.reg.Stats()
	t.Logf("%d containers, %.0f/s, %d named before their start, %d at the birth of their cgroup, %d waited",
		count, result.Rate(), count-late, s.ResolvedAtBirth, n.pending)
	if s.Unattributed != 0 || s.Missing != 0 || s.Orphans != 0 || s.DroppedQueries != 0 {
		t.Errorf("losses: %+v", s)
	}
	if cs := n.ctrd.Stats(); cs.Vanished != 0 || cs.BadEvents != 0 || cs.FailedReads != 0 {
		t.Errorf("losses at containerd: %+v", cs)
	}
}
