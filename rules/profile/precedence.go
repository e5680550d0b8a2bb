// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"cmp"
	"strings"
	"time"
)

// Setting is what tells which of two mode settings about the same workload and signal counts.
type Setting struct {
	// Workload is the pattern over namespace/workload/container.
	Workload string
	// Set is when it was made; of two made at once the one with the higher ID is the newer.
	Set time.Time
	ID  uint64
	// Until is when it ends by itself, zero for never.
	Until time.Time
}

// Compare orders settings, the one that counts first. Settings with an end go before all others, the newest first, so that
// who breaks the glass is obeyed. Of the others the most specific goes first, and of those that are alike the newest.
func (s Setting) Compare(o Setting) int {
	newest := cmp.Or(o.Set.Compare(s.Set), cmp.Compare(o.ID, s.ID))
	switch {
	case s.Until.IsZero() != o.Until.IsZero():
		if o.Until.IsZero() {
			return -1
		}
		return 1
	case !s.Until.IsZero():
		return newest
	default:
		return cmp.Or(cmp.Compare(specific(o.Workload), specific(s.Workload)), newest)
	}
}

// NamesOne reports whether a pattern names one workload: its namespace and its name, with or without the container.
func NamesOne(pattern string) bool { return specific(pattern) >= oneWorkload }

// oneWorkload is how specific a pattern is that names one workload.
const oneWorkload = 4

// specific says how specific a pattern is: by how many of its parts are names, and more if they name one workload.
func specific(pattern string) int {
	part := strings.Split(pattern, "/")
	names := 0
	for _, p := range part {
		if p != "" && !strings.ContainsAny(p, `*?[\`) {
			names++
		}
	}
	if len(part) >= 2 && !strings.ContainsAny(part[0]+part[1], `*?[\`) {
		return oneWorkload + names
	}
	return names
}
