// SPDX-License-Identifier: Apache-2.0

// Package cleanup takes away what an agent leaves on a node beside its pinned programs, and waits until that is done on
// every node of a Kubernetes cluster. It is for the end of an installation: a running agent uses none of it.
//
// The wait asks the API server for one DaemonSet and its pods with the standard library alone, so that clean-up depends on
// nothing that may already be gone. It starts no goroutine.
package cleanup
