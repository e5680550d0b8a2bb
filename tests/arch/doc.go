// SPDX-License-Identifier: Apache-2.0

// Package arch holds the rules of this source tree that a compiler does not
// know: who may import whom, what product code never calls, how long a file
// may be, what must be documented, and that generated code is fresh.
//
// Rules is the table of them. A rule looks at a Tree, which is the whole
// source tree parsed once, and returns a finding for each place that breaks
// it. There is no way to except a place from a rule: either the place is
// wrong, or the rule is and changes for all. Each rule has, in rules_test.go,
// a sample that breaks it and one that does not.
//
// The package runs nothing and owns no goroutines.
package arch
