// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-project/holdfast/agent/policy"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// town is a cluster of one service and one workload.
type town struct {
	told      bool
	addresses []string
	wanted    map[string]int
}

// Service implements policy.Resolver.
func (c *town) Service(_, _ string, _ uint8, port uint16) []policy.Target {
	var list []policy.Target
	for _, prefix := range c.Workload("", "", "") {
		list = append(list, policy.Target{Prefix: prefix, Port: port + 8000})
	}
	return list
}

// Workload implements policy.Resolver.
func (c *town) Workload(string, string, string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range c.addresses {
		list = append(list, netip.MustParsePrefix(text+"/32"))
	}
	return list
}

// Told implements Cluster.
func (c *town) Told(string) bool { return c.told }

// Want implements Cluster.
func (c *town) Want(workload string, wanted bool) {
	if wanted {
		c.wanted[workload]++
	} else {
		c.wanted[workload]--
	}
}

// TestRemember checks that an agent that starts goes on from what names stood for under the one before.
func TestRemember(t *testing.T) {
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	c := &town{told: true, addresses: []string{"10.1.0.1", "10.1.0.2"}}
	r := newRemember(c, dir, log)
	const want = "[{10.1.0.1/32 8080} {10.1.0.2/32 8080}] [10.1.0.1/32 10.1.0.2/32]"
	ask := func() string {
		return fmt.Sprint(r.Service("shop", "cart", 6, 80), r.Workload("shop", "Job", "once"))
	}
	if got := ask(); got != want {
		t.Errorf("what the cluster tells: %s", got)
	}
	r.save()
	c.told, c.addresses = false, nil
	r = newRemember(c, dir, log)
	if got := ask(); got != want || r.count != 4 {
		t.Errorf("after a restart: %s, %d", got, r.count)
	}
	if got := fmt.Sprint(r.Service("shop", "cart", 6, 81)); got != "[]" {
		t.Errorf("a port that nobody asked for: %s", got)
	}
	if r.forget(nil); r.count != 4 {
		t.Errorf("%d are left of what the cluster does not tell yet", r.count)
	}
	c.told, c.addresses = true, []string{"10.1.0.3"}
	if got := ask(); got != "[{10.1.0.3/32 8080}] [10.1.0.3/32]" || r.count != 2 {
		t.Errorf("when the cluster tells again: %s, %d", got, r.count)
	}
	if r.forget(map[string]bool{"service shop/cart": true}); r.count != 1 || len(r.known) != 1 {
		t.Errorf("what nobody refers to: %v, %d", r.known, r.count)
	}
	if err := os.WriteFile(filepath.Join(dir, clusterFile), []byte(`{"service`), 0o600); err != nil {
		t.Fatal(err)
	}
	if r = newRemember(c, dir, log); len(r.known) != 0 {
		t.Errorf("from a broken file: %v", r.known)
	}
}

// TestMoved checks that what refers to a name that has moved is due, nothing else, and that workloads are wanted as long as
// somebody refers to them.
func TestMoved(t *testing.T) {
	c := &town{told: true, wanted: map[string]int{}}
	g, err := New(Config{Node: "node", Dir: t.TempDir(), Services: c})
	if err != nil {
		t.Fatal(err)
	}
	one, two := g.workloadOf(profile.Key{Namespace: "shop", Name: "one"}), g.workloadOf(profile.Key{Namespace: "shop", Name: "two"})
	g.refer(one, []string{"service shop/cart", "workload shop/Job/once"})
	g.refer(two, []string{"workload shop/Job/once"})
	due := func() string {
		text := fmt.Sprint(one.stale, two.stale)
		one.stale, two.stale = false, false
		return text
	}
	for _, step := range []struct {
		moved []string
		want  string
	}{
		{[]string{"service shop/other"}, "false false"},
		{[]string{"a", "service shop/cart"}, "true false"},
		{[]string{"workload shop/Job/once"}, "true true"},
		{nil, "true true"},
	} {
		g.Moved(step.moved)
		if got := due(); got != step.want {
			t.Errorf("%q has moved: due %s, expected %s", step.moved, got, step.want)
		}
	}
	g.refer(one, []string{"service shop/cart"})
	if c.wanted["shop/Job/once"] != 1 {
		t.Errorf("wanted %v", c.wanted)
	}
	g.refer(two, nil)
	g.refer(one, nil)
	if g.Moved(nil); due() != "false false" || c.wanted["shop/Job/once"] != 0 || len(c.wanted) != 1 {
		t.Errorf("wanted %v by nobody", c.wanted)
	}
}
