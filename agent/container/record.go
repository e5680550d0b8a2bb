// SPDX-License-Identifier: Apache-2.0

package container

import (
	"cmp"
	"net/netip"
	"time"
)

// Rank orders sources: see the package comment for which wins where.
type Rank uint8

const (
	// RankRuntime is the container runtime itself.
	RankRuntime Rank = iota
	// RankNRI is the runtime's own word to its plugins, before it makes a container.
	RankNRI
	// RankCRI is the runtime as Kubernetes sees it.
	RankCRI

	ranks
)

// Key names a container among all runtimes of a node. Ids are unique within a runtime namespace only.
type Key struct {
	RuntimeNamespace string
	ID               string
}

// Record is what one source knows of one container. Empty fields mean "not known here".
type Record struct {
	Key
	Runtime string
	Sandbox bool

	Name        string
	Image       string
	ImageDigest string
	ImageID     string

	Pod       string
	PodUID    string
	Namespace string
	SandboxID string

	// Labels are the container's. PodLabels and Annotations are the pod's and reach every container of it, whichever
	// container's record brings them.
	Labels      map[string]string
	PodLabels   map[string]string
	Annotations map[string]string
	// Resolvers are the DNS servers that the runtime was told to write into the pod's resolv.conf. They reach every
	// container of the pod, too.
	Resolvers []netip.Addr

	Snapshotter string
	SnapshotKey string
	// CgroupsPath is the field of the OCI spec, as it stands there. HasSpec says that the spec was read, so that an empty
	// CgroupsPath means the runtime's default.
	CgroupsPath string
	HasSpec     bool

	InitPID uint32
	Created time.Time
}

// intern replaces every string by its kept copy and bounds the maps. It returns how many labels were left out.
func (in *interner) record(r *Record) (omitted int) {
	for _, f := range []*string{
		&r.RuntimeNamespace, &r.Runtime, &r.Image, &r.ImageDigest, &r.ImageID, &r.Name,
		&r.Pod, &r.PodUID, &r.Namespace, &r.SandboxID, &r.Snapshotter, &r.ID, &r.SnapshotKey,
	} {
		*f = in.string(*f)
	}
	var n int
	r.Labels, n = in.labels(r.Labels)
	omitted += n
	r.PodLabels, n = in.labels(r.PodLabels)
	omitted += n
	r.Annotations, n = in.labels(r.Annotations)
	return omitted + n
}

// merge joins the records of all sources into one.
func merge(parts *[ranks]*Record) Record {
	var out Record
	for _, p := range parts {
		if p == nil {
			continue
		}
		out.Key = p.Key
		out.Sandbox = out.Sandbox || p.Sandbox
		out.Runtime = cmp.Or(out.Runtime, p.Runtime)
		out.Name = cmp.Or(out.Name, p.Name)
		out.Image = cmp.Or(out.Image, p.Image)
		out.Pod = cmp.Or(out.Pod, p.Pod)
		out.PodUID = cmp.Or(out.PodUID, p.PodUID)
		out.Namespace = cmp.Or(out.Namespace, p.Namespace)
		out.SandboxID = cmp.Or(out.SandboxID, p.SandboxID)
		out.Snapshotter = cmp.Or(out.Snapshotter, p.Snapshotter)
		out.SnapshotKey = cmp.Or(out.SnapshotKey, p.SnapshotKey)
		out.InitPID = cmp.Or(out.InitPID, p.InitPID)
		out.ImageDigest = cmp.Or(p.ImageDigest, out.ImageDigest)
		out.ImageID = cmp.Or(p.ImageID, out.ImageID)
		if out.Labels == nil {
			out.Labels = p.Labels
		}
		if out.Created.IsZero() {
			out.Created = p.Created
		}
		if p.HasSpec && !out.HasSpec {
			out.CgroupsPath, out.HasSpec = p.CgroupsPath, true
		}
	}
	return out
}
