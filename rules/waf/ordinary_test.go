// SPDX-License-Identifier: Apache-2.0

package waf_test

import (
	"testing"

	"github.com/holdfast-project/holdfast/rules/waf"
	"github.com/holdfast-project/holdfast/tests/traffic"
)

// ordinary is how many requests the replay has.
const ordinary = 200_000

func TestOrdinaryTraffic(t *testing.T) {
	f := filter(t, waf.Config{})
	g := traffic.New(7)
	n := ordinary
	if testing.Short() {
		n /= 10
	}
	var hits []waf.Hit
	found, size := 0, 0
	for range n {
		r := g.Request()
		size += len(r.Target) + len(r.Body)
		for _, h := range r.Headers {
			size += len(h.Name) + len(h.Value)
		}
		if hits = f.Request(hits[:0], r); len(hits) > 0 {
			if found++; found <= 20 {
				t.Errorf("%s\n  %s %s\n  %.300s", list(hits), r.Method, r.Target, r.Body)
			}
		}
	}
	t.Logf("%d requests, %d MB: %d with hits", n, size>>20, found)
}
