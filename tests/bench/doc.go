// SPDX-License-Identifier: Apache-2.0

// Package bench measures parts of Holdfast against plain alternatives, as ratios
// within one interleaved run, so that the figures hold on a machine that does other
// things as well. It has benchmarks only, and starts no goroutine that outlives
// them.
package bench
