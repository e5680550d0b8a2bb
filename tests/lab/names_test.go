// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// TestNames has a pod look up names: one that exists, also without its domain, and one that does not.
func TestNames(t *testing.T) {
	l := start(t, Config{Memory: true})
	ctx := within(t, time.Minute)
	names, err := l.ServeNames(ctx, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	names.Set("Db.shop.Example", netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8::7"))
	if err := l.Load(ctx, Busybox); err != nil {
		t.Fatal(err)
	}
	pod, err := l.RunPod(ctx, PodConfig{Name: "asks", Searches: []string{"shop.example"}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := pod.Run(ctx, ContainerConfig{Name: "main", Image: BusyboxImage, Command: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		found bool
	}{{"db.shop.example", true}, {"db", true}, {"db2.shop.example", false}} {
		res, err := c.Exec(ctx, "nslookup", test.name)
		if err != nil {
			t.Fatal(err)
		}
		found := strings.Contains(res.Stdout, "203.0.113.7") && strings.Contains(res.Stdout, "2001:db8::7")
		if found != test.found {
			t.Errorf("%s: %+v", test.name, res)
		}
	}
}
