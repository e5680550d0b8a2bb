// SPDX-License-Identifier: Apache-2.0

// Package mode decides which mode holds for a container and a signal: by what people set (on the collector, on this node, by
// annotations of the pod, in the agent's policy file), by the defaults, and by the brakes, which take a workload out of
// enforcement where enforcing does harm. docs/modes.md describes both.
//
// The package is pure: the time is an argument of every call. A Controller must not be used concurrently.
package mode
