// SPDX-License-Identifier: Apache-2.0

package guard

import "testing"

func TestSince(t *testing.T) {
	of := map[string]uint16{"grown": 1, "as before": 1, "new": 1, "made anew": 1, "never used": 1}
	now := map[string]uint64{"grown": 7, "as before": 4, "new": 2, "made anew": 3, "of others": 100}
	before := map[string]uint64{"grown": 5, "as before": 4, "made anew": 9, "of others": 1}
	if got := since(of, now, before); got != 2+2+3 {
		t.Errorf("%d, want 7", got)
	}
}
