// SPDX-License-Identifier: Apache-2.0

// Package kube tells the agent what Kubernetes knows of the node's pods and of the cluster's addresses.
//
// It watches the pods of its own node, all namespaces (metadata only), Services and EndpointSlices. It follows the owners
// of a pod upwards, by metadata-only requests that are remembered, to the workload at the top, and gives that to the
// container registry together with labels, annotations, and the commands that the kubelet runs in the pod's containers.
// For egress it keeps a compact table of addresses: whom an address belongs to (Source.Lookup, Source.Owner), and which
// addresses a service or a workload has now (Source.Service, Source.Workload). Objects are not kept, only what is used of
// them; every table has a bound.
//
// While the API server is away the package goes on from what it knows: nothing is forgotten and nothing is renamed. It
// tries again with growing pauses that have jitter, and Status says since when.
//
// New starts nothing. Run owns all goroutines and joins them before it returns.
package kube
