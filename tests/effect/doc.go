// SPDX-License-Identifier: Apache-2.0

// Package effect tests what enforcement is for: that a deed which a profile does not list has no effect. It has tests
// only. They make containers (a cgroup, an overlay as root, mounts and a network of their own), let a profile in YAML hold
// for them by the agent's own way (rules/profile, agent/policy, agent/enforce, agent/sensor), and do some sixty deeds of
// the attack catalogue in them, each three times: without a mode, which proves that the deed works on this kernel; in
// monitor, where it must work and be reported as one that enforce would block; and in enforce, where the effect itself is
// looked for (the file, the bytes at a sink, the mark that is the first act of every planted program) and must be absent.
//
// What the agent says beforehand that it cannot block on this kernel is held against it, too: such a deed must be reported
// in enforce as it is in monitor. The page docs/effects.md lists the deeds with what becomes of them on each kind of
// kernel; the test compares.
package effect
