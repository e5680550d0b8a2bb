// SPDX-License-Identifier: Apache-2.0

package container

import (
	"net/netip"
	"time"
)

// State says how much is known of the container behind a cgroup.
type State uint8

const (
	// StateUnknown is a cgroup that was never reported: its birth record is still on its way or was lost.
	StateUnknown State = iota
	// StatePending is a container whose sources have not answered yet.
	StatePending
	// StateResolved is a full identity. The host is always resolved.
	StateResolved
	// StateUnattributed is a container that no source named in time: only what its cgroup path says is known. A late
	// answer still turns it into StateResolved.
	StateUnattributed
)

// String returns the state in lower case, for logs and JSON.
func (s State) String() string {
	switch s {
	case StatePending:
		return "pending"
	case StateResolved:
		return "resolved"
	case StateUnattributed:
		return "unattributed"
	default:
		return "unknown"
	}
}

// Kind is what a Container value stands for.
type Kind uint8

const (
	// KindHost is the node itself: everything that was not born in a container.
	KindHost Kind = iota
	// KindContainer is an ordinary container.
	KindContainer
	// KindSandbox is the container that holds a pod's namespaces (pause).
	KindSandbox
)

// String returns the kind in lower case, for logs and JSON.
func (k Kind) String() string {
	switch k {
	case KindContainer:
		return "container"
	case KindSandbox:
		return "sandbox"
	default:
		return "host"
	}
}

// Container is one identity. A published Container never changes: the Registry replaces the pointer. Holders may keep it
// for as long as they like (a process that outlives its container keeps its name), and must not write to its maps.
type Container struct {
	State State
	Kind  Kind

	// Cgroup is the cgroup id of the container's own directory, 0 for the host. CgroupPath is its path below the
	// cgroup2 mount.
	Cgroup     uint64
	CgroupPath string

	// ID is the runtime's id. Name is the Kubernetes container name, else the name a runtime front end gave it, else
	// the id.
	ID   string
	Name string

	// Image is the reference as the user wrote it, ImageDigest the manifest or index digest ("sha256:…"), ImageID the
	// config digest. Each may be empty.
	Image       string
	ImageDigest string
	ImageID     string

	// Pod, PodUID, Namespace and SandboxID are empty outside Kubernetes.
	Pod       string
	PodUID    string
	Namespace string
	SandboxID string

	// WorkloadKind is Deployment, StatefulSet, DaemonSet, Job, CronJob, ReplicaSet, Pod, Container or Host; Workload is
	// its name.
	WorkloadKind string
	Workload     string

	// Node is the name of the node the agent runs on.
	Node string

	// Runtime is containerd, docker, cri-o, podman or another name taken from the cgroup; RuntimeNamespace is
	// containerd's namespace (k8s.io, moby, default).
	Runtime          string
	RuntimeNamespace string

	// Labels are the container's, PodLabels and Annotations the pod's. They are bounded in number and size, and may be
	// nil.
	Labels      map[string]string
	PodLabels   map[string]string
	Annotations map[string]string
	// OwnerAnnotations are those of the workload's object, NamespaceLabels and NamespaceAnnotations the namespace's, as
	// Kubernetes tells them; nil where it has not.
	OwnerAnnotations     map[string]string
	NamespaceLabels      map[string]string
	NamespaceAnnotations map[string]string
	// Commands are what the kubelet runs in the container as probes and hooks, by the pod's specification.
	Commands [][]string

	// Resolvers are the DNS servers that the runtime was told to write into the pod's resolv.conf: what stands there now may
	// have been written by the container itself. Nil where that is not known.
	Resolvers []netip.Addr

	Snapshotter string
	SnapshotKey string

	// InitPID is the container's first process in the runtime's pid namespace, 0 before it started.
	InitPID uint32
	// Created is when the runtime created the container, or when its cgroup appeared.
	Created time.Time
}

// Birth is a cgroup2 directory as the kernel or a walk reports it. Cgroup ids are the inodes of the directories.
type Birth struct {
	Cgroup uint64
	// Parent is 0 for the root of the hierarchy.
	Parent uint64
	// Name is the last component of the path, empty for the root.
	Name string
	At   time.Time
}

// PlaceKind is where in the tree a cgroup stands.
type PlaceKind uint8

const (
	// PlaceUnknown is a cgroup whose parent is not known (yet).
	PlaceUnknown PlaceKind = iota
	// PlaceHost belongs to no container.
	PlaceHost
	// PlacePod is a pod's directory, or one in it that is not a container's. What runs there belongs to the host.
	PlacePod
	// PlaceContainer is a container's own directory.
	PlaceContainer
	// PlaceNested is a directory inside a container.
	PlaceNested
)

// Placement is the answer to a birth. Container is the cgroup id of the container that the cgroup is or lies in, 0 where
// there is none.
type Placement struct {
	Kind      PlaceKind
	Container uint64
}
