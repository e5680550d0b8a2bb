// SPDX-License-Identifier: Apache-2.0

// Package nri tests, on a containerd with NRI, that what holds for a container is in force before its first program runs,
// and that containers start whatever becomes of the agent. Debian's containerd has no NRI: one is built from its Go
// modules, whose versions stand in containerd.mod, and kept in the cache of the kernels' tests. make test-nri runs the
// tests; without a containerd in the cache and without -build they are skipped.
package nri
