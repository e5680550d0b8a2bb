// SPDX-License-Identifier: Apache-2.0

// Package account tests enrolment with ServiceAccount tokens: a collector, the agent's own uplink, and a real Kubernetes API
// server between them, which is what makes the tokens and vouches for them. The tests are skipped where the environment
// names no kube-apiserver; see package tests/rig/kube.
package account
