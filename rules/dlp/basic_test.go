// SPDX-License-Identifier: Apache-2.0

package dlp

import "testing"

func builtinMatcher(t testing.TB) *Matcher {
	t.Helper()
	set, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	m, err := set.Compile(CompileConfig{Key: [32]byte{1, 2, 3}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestBuiltin(t *testing.T) {
	m := builtinMatcher(t)
	states := 0
	for _, d := range m.detectors {
		for _, p := range d.programs {
			states += len(p.accept)
		}
	}
	t.Logf("%d detectors, %d anchors, %d buckets, %d states of patterns, %d states of words", len(m.detectors),
		len(m.anchors), len(m.filter.buckets), states, len(m.words.out))
}
