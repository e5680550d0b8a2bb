// SPDX-License-Identifier: Apache-2.0

package container

import (
	"maps"
	"slices"
	"strings"
)

// Bounds on what a pod's author can make the agent keep.
const (
	maxInterned   = 16384
	maxField      = 512
	maxLabels     = 64
	maxLabelValue = 256
)

// interner keeps one copy of strings that many containers share. It is bounded: when full it starts over, and strings
// handed out before stay valid.
type interner struct {
	m map[string]string
}

// string returns the kept copy of s, cut to maxField bytes and detached from the buffer that s came in.
func (in *interner) string(s string) string {
	if s == "" {
		return ""
	}
	if len(s) > maxField {
		s = s[:maxField]
	}
	if kept, ok := in.m[s]; ok {
		return kept
	}
	if in.m == nil || len(in.m) >= maxInterned {
		in.m = make(map[string]string)
	}
	s = strings.Clone(s)
	in.m[s] = s
	return s
}

// labels copies m with interned keys and values. What exceeds the bounds is left out and counted.
func (in *interner) labels(m map[string]string) (kept map[string]string, omitted int) {
	if len(m) == 0 {
		return nil, 0
	}
	kept = make(map[string]string, min(len(m), maxLabels))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		v := m[k]
		if len(kept) == maxLabels || len(k) > maxField || len(v) > maxLabelValue {
			omitted++
			continue
		}
		kept[in.string(k)] = in.string(v)
	}
	return kept, omitted
}
