// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the whole line on real containers: deeds in CRI pods on one side, what the holdfast command reads
// from the collector's store on the other. Agent, collector and command are the programs that users run. Each test logs
// the figures that it has measured.
//
// Tests take as long as fits into every run of the suite; with HOLDFAST_LONG=1 they take as long as is claimed in the
// documentation. The package has no code of its own but tests.
package e2e
