// SPDX-License-Identifier: Apache-2.0

// Package container answers who a cgroup is: the container, pod and workload behind a cgroup id that an event carries.
//
// The kernel reports each cgroup at birth and stamps every event with the cgroup its lineage was born in. The Registry
// keeps the tree of those cgroups, recognises which of them are containers (by what the runtime announced, else by the
// layout of the path), and joins them with records that sources deliver: NRI and containerd announce a container before
// its cgroup exists, CRI adds what Kubernetes knows of it. Lookup, the hot path, allocates nothing.
//
// # Which source wins
//
// Identity (id, names, pod, namespace, image name, snapshot) comes from the container runtime (RankRuntime), because it
// is complete before the first instruction and never changes afterwards; NRI (RankNRI) and then CRI (RankCRI) fill what
// the runtime left empty. Image digests are the other way round: CRI computes them from the image id that the container
// really runs, while the runtime's answer is what the image's name points to at that moment. Pod labels and annotations
// come from CRI when it has them, else from NRI, else from the sandbox's record. The owner comes from SetOwner
// (Kubernetes) when called, else it is derived from the pod's labels and name; see OwnerOf.
//
// # What a path may claim
//
// A cgroup inside a container belongs to that container whatever its name: nothing that a container creates below its
// own cgroup can take another identity. The one exception is a cgroup whose full path the runtime itself announced,
// which covers a runtime that runs in a container.
//
// The package does no I/O and starts no goroutine. Registry.Run drives deadlines and retention for its caller.
package container
