// SPDX-License-Identifier: Apache-2.0

// Package guard keeps containers to their profiles. It joins what learns (package learn), what decides how strict to be
// (Modes), what turns profiles into entries (package policy) and what puts them in force (package enforce): a container
// that appears gets its workload's policy and modes; what is learned joins the policy within a moment, is kept on disk and
// is given to the uplink; what the collector sends takes its place.
//
// What a workload is allowed is the collector's effective profile and what this node has observed since the collector
// heard of it last; without a collector, all that the node has observed; and in both cases what the policy file says on
// top. So an agent goes on learning and enforcing while the collector is away.
//
// A Guard may be used concurrently. Run owns one goroutine beside its caller's and joins it.
package guard
