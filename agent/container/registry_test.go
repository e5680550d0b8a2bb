// SPDX-License-Identifier: Apache-2.0

package container

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/tests/wait"
)

func newRegistry(t testing.TB, cfg Config) *Registry {
	t.Helper()
	if cfg.Node == "" {
		cfg.Node = "node-1"
	}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newFeed(t testing.TB, r *Registry, name string, rank Rank) *Feed {
	t.Helper()
	f, err := r.Feed(name, rank)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// root and podDir are births that all tests here begin with.
func seed(r *Registry) {
	r.Born(Birth{Cgroup: 1})
	r.Born(Birth{Cgroup: 2, Parent: 1, Name: "kubepods"})
	r.Born(Birth{Cgroup: 3, Parent: 2, Name: "pod" + uidA})
}

// podRecord is a record as the containerd source makes it of a kubelet's container, with strings of its own.
func podRecord(i int) Record {
	pod := fmt.Sprintf("web-6d4cf56db6-%05d", i/4)
	labels := map[string]string{
		"app": strings.Clone("web"), "io.cri-containerd.kind": strings.Clone("container"),
		"io.kubernetes.pod.name": pod, "io.kubernetes.pod.namespace": strings.Clone("shop"),
		"io.kubernetes.pod.uid": podUIDOf(i), "io.kubernetes.container.name": strings.Clone("app"),
	}
	id := fmt.Sprintf("%064x", i)
	return Record{
		Key: Key{"k8s.io", id}, Runtime: "containerd", Name: "app",
		Image: strings.Clone("registry.example/acme/web:1.2.3"), ImageDigest: "sha256:" + strings.Clone(hexA),
		Pod: pod, PodUID: podUIDOf(i), Namespace: "shop", SandboxID: fmt.Sprintf("%064x", 1_000_000+i/4),
		Labels: labels, PodLabels: map[string]string{"app": "web", "pod-template-hash": "6d4cf56db6"},
		Annotations: map[string]string{"prometheus.io/scrape": "true"},
		Snapshotter: "overlayfs", SnapshotKey: id,
		CgroupsPath: "/kubepods/burstable/pod" + podUIDOf(i) + "/" + id, HasSpec: true,
		Created: time.Unix(int64(i), 0),
	}
}

func podUIDOf(i int) string { return fmt.Sprintf("11111111-2222-3333-4444-%012d", i/4) }

func TestLookupAllocatesNothing(t *testing.T) {
	r := newRegistry(t, Config{})
	seed(r)
	newFeed(t, r, "containerd", RankRuntime).Put(podRecord(0))
	r.Born(Birth{Cgroup: 10, Parent: 3, Name: fmt.Sprintf("%064x", 0)})
	if c, state := r.Lookup(10); state != StateResolved || c.Workload != "web" {
		t.Fatalf("lookup: %s %+v", state, c)
	}
	if n := testing.AllocsPerRun(1000, func() { r.Lookup(10); r.Lookup(0); r.Lookup(99) }); n != 0 {
		t.Errorf("Lookup allocates %v times", n)
	}
	b := NewAddressBook()
	b.Set("x", "k", netip.MustParseAddr("10.0.0.1"), Endpoint{Kind: EndpointPod, Name: "web", Namespace: "shop"})
	four, mapped := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("::ffff:10.0.0.1")
	if n := testing.AllocsPerRun(1000, func() { b.Lookup(four); b.Lookup(mapped) }); n != 0 {
		t.Errorf("AddressBook.Lookup allocates %v times", n)
	}
}

// TestMemoryPerContainer bounds what a container costs: with 500 of them the registry has to be a small part of the
// agent's 80 MiB.
// TestResolversAreTold: of containers that had their names before the DNS servers of their pod were known, it is told again.
func TestResolversAreTold(t *testing.T) {
	var told []string
	r := newRegistry(t, Config{OnResolved: func(cgroup uint64, c *Container) {
		told = append(told, fmt.Sprint(cgroup, c.Resolvers))
	}})
	seed(r)
	daemon, cri := newFeed(t, r, "containerd", RankRuntime), newFeed(t, r, "cri", RankCRI)
	for i := range 2 {
		daemon.Put(podRecord(i))
		r.Born(Birth{Cgroup: uint64(10 + i), Parent: 3, Name: fmt.Sprintf("%064x", i)})
	}
	pod := podRecord(0)
	sandbox := Record{
		Key: Key{"k8s.io", pod.SandboxID}, Sandbox: true, Pod: pod.Pod, PodUID: pod.PodUID, Namespace: pod.Namespace,
		Resolvers: []netip.Addr{netip.MustParseAddr("10.0.0.53")},
	}
	cri.Put(sandbox)
	cri.Put(sandbox)
	want := []string{"10 []", "11 []", "10 [10.0.0.53]", "11 [10.0.0.53]"}
	if !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

func TestMemoryPerContainer(t *testing.T) {
	const containers, limit = 2000, 8 << 10
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	r := newRegistry(t, Config{})
	runtimeFeed, criFeed := newFeed(t, r, "containerd", RankRuntime), newFeed(t, r, "cri", RankCRI)
	r.Born(Birth{Cgroup: 1})
	r.Born(Birth{Cgroup: 2, Parent: 1, Name: "kubepods"})
	r.Born(Birth{Cgroup: 3, Parent: 2, Name: "burstable"})
	for i := range containers {
		r.Born(Birth{Cgroup: uint64(100_000 + i/4), Parent: 3, Name: "pod" + podUIDOf(i)})
		runtimeFeed.Put(podRecord(i))
		r.Born(Birth{Cgroup: uint64(1000 + i), Parent: uint64(100_000 + i/4), Name: fmt.Sprintf("%064x", i)})
		criFeed.Put(podRecord(i))
	}
	each := (heap() - before) / containers
	t.Logf("%d bytes a container", each)
	if each > limit {
		t.Errorf("a container costs %d bytes, more than %d", each, limit)
	}
	if s := r.Stats(); s.ResolvedAtBirth != containers {
		t.Errorf("resolved at birth: %d of %d", s.ResolvedAtBirth, containers)
	}
	runtime.KeepAlive(r)
}

// TestBounds floods each of the registry's stores and checks that it stays within its limits and says so.
func TestBounds(t *testing.T) {
	r := newRegistry(t, Config{MaxCgroups: 5000, MaxRecords: 100})
	f := newFeed(t, r, "containerd", RankRuntime)
	seed(r)
	r.Born(Birth{Cgroup: 10, Parent: 3, Name: hexA})
	for i := range uint64(20_000) {
		// Inside a container, without a parent, and at the host.
		r.Born(Birth{Cgroup: 1_000_000 + i, Parent: 10, Name: "x"})
		r.Born(Birth{Cgroup: 2_000_000 + i, Parent: 999, Name: "x"})
		r.Born(Birth{Cgroup: 3_000_000 + i, Parent: 1, Name: "x"})
		r.Missing(4_000_000 + i)
		if i%2 == 0 {
			r.Gone(3_000_000 + i)
		}
	}
	for i := range 1000 {
		f.Put(podRecord(i))
	}
	s := r.Stats()
	if s.Cgroups > 5000 || s.Records > 100 || s.Pods > 100 {
		t.Errorf("bounds not kept: %+v", s)
	}
	if s.DroppedCgroups == 0 || s.DroppedRecords != 900 || s.EvictedEarly == 0 {
		t.Errorf("losses not counted: %+v", s)
	}
	if c, _ := r.Lookup(10); c == nil || c.ID != hexA {
		t.Errorf("the container is lost: %+v", c)
	}
	big := podRecord(0)
	big.Labels = map[string]string{"long": strings.Repeat("x", maxLabelValue+1)}
	for i := range 2 * maxLabels {
		big.Labels[fmt.Sprint(i)] = "v"
	}
	f.Put(big)
	if n := r.Stats().OmittedLabels - s.OmittedLabels; n != maxLabels+1 {
		t.Errorf("%d labels omitted, want %d", n, maxLabels+1)
	}
}

// TestRetainedContainersAreNotPushedOut checks that a container that makes and removes cgroups in a loop does not push
// ended containers out before their time.
func TestRetainedContainersAreNotPushedOut(t *testing.T) {
	r := newRegistry(t, Config{})
	seed(r)
	r.Born(Birth{Cgroup: 10, Parent: 3, Name: hexA})
	r.Born(Birth{Cgroup: 11, Parent: 3, Name: hexB})
	r.Gone(11)
	for i := range uint64(3 * maxRetired) {
		if p := r.Born(Birth{Cgroup: 100 + i, Parent: 10, Name: "x"}); p != (Placement{PlaceNested, 10}) {
			t.Fatalf("birth %d: %+v", i, p)
		}
		if c, _ := r.Lookup(100 + i); c == nil || c.ID != hexA {
			t.Fatalf("cgroup %d: %+v", i, c)
		}
		r.Gone(100 + i)
	}
	if c, _ := r.Lookup(11); c == nil || c.ID != hexB {
		t.Errorf("the ended container is forgotten")
	}
}

// TestConcurrentUse has readers on the hot path while cgroups and records come and go, under Run.
func TestConcurrentUse(t *testing.T) {
	resolved := make(chan uint64, 10_000)
	r := newRegistry(t, Config{
		Deadline: 10 * time.Second, Grace: time.Millisecond,
		OnResolved: func(cgroup uint64, _ *Container) { resolved <- cgroup },
	})
	f := newFeed(t, r, "containerd", RankRuntime)
	seed(r)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	for range 2 {
		wg.Go(func() {
			for i := uint64(0); ctx.Err() == nil; i++ {
				if c, state := r.Lookup(1000 + i%500); (c == nil) != (state == StateUnknown) {
					t.Errorf("lookup: %v %s", c, state)
				}
			}
		})
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			select {
			case q := <-f.Queries():
				var i int
				if _, err := fmt.Sscanf(q.ID, "%x", &i); err != nil {
					t.Error(err)
				}
				f.Put(podRecord(i))
			case <-ctx.Done():
			}
		}
	})
	for i := range 500 {
		cgroup := uint64(1000 + i)
		r.Born(Birth{Cgroup: cgroup, Parent: 3, Name: fmt.Sprintf("%064x", i), At: time.Now()})
	}
	for range 500 {
		select {
		case cgroup := <-resolved:
			if c, state := r.Lookup(cgroup); state != StateResolved || c.Pod == "" {
				t.Errorf("cgroup %d: %s", cgroup, state)
			}
			r.Gone(cgroup)
		case <-time.After(10 * time.Second):
			t.Fatal("containers stay pending")
		}
	}
	wait.True(t, time.Minute, "those that are gone are forgotten", func() bool { return r.Stats().Cgroups <= 3 })
	if s := r.Stats(); s.Cgroups != 3 || s.Pending != 0 || s.Resolved != 500 {
		t.Errorf("left behind: %+v", s)
	}
	cancel()
	wg.Wait()
}

func TestRunDeadlineAndWalk(t *testing.T) {
	resolved := make(chan *Container, 4)
	r := newRegistry(t, Config{
		Deadline:   20 * time.Millisecond,
		OnResolved: func(_ uint64, c *Container) { resolved <- c },
		Walk: func(context.Context) ([]Birth, error) {
			return []Birth{{Cgroup: 1}, {Cgroup: 2, Parent: 1, Name: "kubepods"}, {Cgroup: 50, Parent: 2, Name: "late"}}, nil
		},
	})
	newFeed(t, r, "containerd", RankRuntime).Up()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	next := func() *Container {
		select {
		case c := <-resolved:
			return c
		case <-time.After(10 * time.Second):
			t.Fatal("nothing happened")
			return nil
		}
	}
	r.Missing(50)
	if c := next(); c.Kind != KindHost {
		t.Errorf("found by the walk: %+v", c)
	}
	r.Born(Birth{Cgroup: 60, Parent: 2, Name: hexA})
	if c := next(); c.State != StateUnattributed || c.ID != hexA {
		t.Errorf("after the deadline: %+v", c)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, cfg := range []Config{{}, {Node: "n", Deadline: -1}, {Node: "n", MaxCgroups: -1}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("New(%+v) succeeds", cfg)
		}
	}
	r := newRegistry(t, Config{})
	if _, err := r.Feed("x", ranks); err == nil {
		t.Error("a feed with an unknown rank is accepted")
	}
	if err := r.Scan(t.Context()); err == nil {
		t.Error("a scan without a walk succeeds")
	}
}

func TestSources(t *testing.T) {
	r := newRegistry(t, Config{})
	f := newFeed(t, r, "containerd", RankRuntime)
	want := func(state, reason string) {
		t.Helper()
		if s := r.Sources(); len(s) != 1 || s[0].State != state || s[0].Reason != reason || s[0].Name != "containerd" {
			t.Errorf("sources: %+v", s)
		}
	}
	want("connecting", "")
	f.Off("no socket")
	want("off", "no socket")
	f.Up()
	want("up", "")
	f.Connecting("closed")
	want("connecting", "closed")
}

func TestAddressBook(t *testing.T) {
	b := NewAddressBook()
	host := Endpoint{Kind: EndpointHost, Name: "eth0", Interface: "eth0"}
	pod := Endpoint{Kind: EndpointPod, Name: "web", Namespace: "shop"}
	node, podIP, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80::1%eth0")
	b.Set("netlink", "2", node, host)
	b.Set("netlink", "2", six, host)
	b.Set("cri", "sandbox", node, pod)
	b.Set("cri", "sandbox", podIP, pod)
	check := func(a string, want Endpoint) {
		t.Helper()
		if got, ok := b.Lookup(netip.MustParseAddr(a)); got != want || ok != (want != Endpoint{}) {
			t.Errorf("%s: %+v, %v; want %+v", a, got, ok, want)
		}
	}
	check("192.0.2.1", host)
	check("fe80::1", host)
	check("10.0.0.1", pod)
	check("::ffff:10.0.0.1", pod)
	b.Rename("netlink", "2", Endpoint{Kind: EndpointHost, Name: "lan", Interface: "lan"})
	check("192.0.2.1", Endpoint{Kind: EndpointHost, Name: "lan", Interface: "lan"})
	// The address went to another pod before the end of the first was reported.
	next := Endpoint{Kind: EndpointPod, Name: "api", Namespace: "shop"}
	b.Set("cri", "other", podIP, next)
	b.ReleaseAll("cri", "sandbox")
	check("10.0.0.1", next)
	b.Release("cri", "sandbox", podIP)
	check("10.0.0.1", next)
	b.ReleaseAll("cri", "")
	check("10.0.0.1", Endpoint{})
	if n, _ := b.Len(); n != 2 {
		t.Errorf("%d addresses left", n)
	}
}

func BenchmarkLookup(b *testing.B) {
	r := newRegistry(b, Config{})
	seed(r)
	newFeed(b, r, "containerd", RankRuntime).Put(podRecord(0))
	r.Born(Birth{Cgroup: 10, Parent: 3, Name: fmt.Sprintf("%064x", 0)})
	for b.Loop() {
		r.Lookup(10)
	}
}
