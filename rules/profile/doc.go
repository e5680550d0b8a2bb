// SPDX-License-Identifier: Apache-2.0

// Package profile is the allowlist of a workload: what its processes run, read, write, contact and listen on, with where
// each entry comes from. It holds the model, its file format, the layers and their merge, how texts become shapes, how
// mature what was learned is, and how a deed is held against it.
//
// The package is pure: no goroutines, no I/O, no clock. What it is given it does not change unless a method says so; a
// Profile may be read concurrently. The agent learns into it and compiles it for the kernel, the collector merges and
// keeps it, the CLI shows, edits and tests it.
package profile
