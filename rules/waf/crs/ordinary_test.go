// SPDX-License-Identifier: Apache-2.0

package crs_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/holdfast-project/holdfast/rules/waf/crs"
	"github.com/holdfast-project/holdfast/tests/traffic"
)

// TestOrdinaryTraffic prints what the rules take for attacks in ordinary traffic that is full of what looks like them: what who
// chooses a workload has to expect, and may exclude. It fails where that is more than it was.
func TestOrdinaryTraffic(t *testing.T) {
	const paranoia1 = 60 // of a hundred
	n := 500
	if testing.Short() {
		n = 100
	}
	e := engine(t, crs.Config{})
	generator, attacks, rules := traffic.New(7), 0, map[int]int{}
	for range n {
		result, err := e.Inspect(generator.Request())
		if err != nil {
			t.Fatal(err)
		}
		if !result.Attack {
			continue
		}
		attacks++
		for _, id := range ids(result) {
			rules[id]++
		}
	}
	t.Logf("%d of %d ordinary requests reach the threshold", attacks, n)
	for _, id := range slices.SortedFunc(maps.Keys(rules), func(a, b int) int { return rules[b] - rules[a] })[:min(10, len(rules))] {
		t.Logf("  rule %d in %d", id, rules[id])
	}
	if attacks*100 > paranoia1*n {
		t.Errorf("more than %d of 100", paranoia1)
	}
}
