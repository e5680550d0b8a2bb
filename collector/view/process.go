// SPDX-License-Identifier: Apache-2.0

package view

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// unsetLoginUID is what the kernel holds where nobody has logged in: (uid_t)-1.
const unsetLoginUID = ^uint32(0)

// Process is a process at the time of an event.
type Process struct {
	PID uint32 `json:"pid"`
	TID uint32 `json:"tid,omitempty"`
	// NSPID is the pid that the process sees itself.
	NSPID uint32 `json:"ns_pid,omitempty"`
	// StartNanoseconds on the boot clock is, with PID, the identity of the process.
	StartNanoseconds uint64 `json:"start_ns,string,omitempty"`
	// Exe is the canonical path of the executable, Name the kernel's short name (comm).
	Exe  string `json:"exe"`
	Name string `json:"name"`
	// Cmdline is the argument vector joined by spaces, for people; Args is the vector itself.
	Cmdline       string   `json:"cmdline"`
	Args          []string `json:"args,omitempty"`
	ArgsTruncated bool     `json:"args_truncated,omitempty"`
	// ArgsHash is FNV-1a over what the kernel side read of the vector, in hexadecimal; ArgsBytes its whole length.
	ArgsHash   string `json:"args_hash,omitempty"`
	ArgsBytes  uint32 `json:"args_bytes,omitempty"`
	Script     string `json:"script,omitempty"`
	WorkingDir string `json:"cwd,omitempty"`
	UID        uint32 `json:"uid"`
	GID        uint32 `json:"gid"`
	EUID       uint32 `json:"euid"`
	// LoginUID is left out where nobody has logged in.
	LoginUID *uint32 `json:"loginuid,omitempty"`
	// Capabilities is the effective set, in hexadecimal as /proc/PID/status shows it.
	Capabilities string      `json:"cap_effective,omitempty"`
	TTY          string      `json:"tty,omitempty"`
	Flags        []string    `json:"flags,omitempty"`
	Namespaces   *Namespaces `json:"namespaces,omitempty"`
	// Ancestors has the parent first.
	Ancestors []Process `json:"ancestors,omitempty"`
}

// Namespaces are the inode numbers of a process's namespaces.
type Namespaces struct {
	Mnt    uint32 `json:"mnt"`
	PID    uint32 `json:"pid"`
	Net    uint32 `json:"net"`
	User   uint32 `json:"user"`
	IPC    uint32 `json:"ipc"`
	UTS    uint32 `json:"uts"`
	Cgroup uint32 `json:"cgroup"`
}

// Container is the container that a process was born in.
type Container struct {
	ID               string            `json:"id"`
	Name             string            `json:"name,omitempty"`
	Image            string            `json:"image,omitempty"`
	ImageDigest      string            `json:"image_digest,omitempty"`
	Pod              string            `json:"pod,omitempty"`
	PodUID           string            `json:"pod_uid,omitempty"`
	Namespace        string            `json:"namespace,omitempty"`
	Cgroup           uint64            `json:"cgroup,string,omitempty"`
	Strayed          bool              `json:"strayed,omitempty"`
	RuntimeNamespace string            `json:"runtime_namespace,omitempty"`
	Labels           map[string]string `json:"labels,omitempty"`
}

// hostKind is the kind of the workload that the node's own processes belong to.
const hostKind = "Host"

// Workload is what a container belongs to. The node's own processes belong to the kind Host.
type Workload struct {
	Namespace string `json:"namespace,omitempty"`
	Kind      string `json:"kind,omitempty"`
	Name      string `json:"name,omitempty"`
	Container string `json:"container,omitempty"`
}

// String returns namespace/name/container with empty parts at the end left out, or host.
func (w Workload) String() string {
	if w.Kind == hostKind {
		return "host"
	}
	return strings.TrimRight(w.Namespace+"/"+w.Name+"/"+w.Container, "/")
}

func newProcess(p *apiv1.Process) *Process {
	if p == nil {
		return nil
	}
	process := &Process{
		PID: p.GetPid(), TID: p.GetTid(), NSPID: p.GetNsPid(), StartNanoseconds: p.GetStartNs(),
		Exe: p.GetExe(), Name: p.GetComm(), Cmdline: cmdline(p), Args: p.GetArgv(),
		ArgsTruncated: p.GetArgvTruncated(), ArgsBytes: p.GetArgvBytes(),
		Script: p.GetScript(), WorkingDir: p.GetCwd(), UID: p.GetUid(), GID: p.GetGid(), EUID: p.GetEuid(),
		TTY: p.GetTty(), Flags: p.GetFlags(), Namespaces: newNamespaces(p.GetNamespaces()),
	}
	if hash := p.GetArgvHash(); hash != 0 {
		process.ArgsHash = fmt.Sprintf("%016x", hash)
	}
	if caps := p.GetCapEffective(); caps != 0 {
		process.Capabilities = fmt.Sprintf("%016x", caps)
	}
	if uid := p.GetLoginuid(); uid != unsetLoginUID {
		process.LoginUID = &uid
	}
	for _, ancestor := range p.GetAncestors() {
		process.Ancestors = append(process.Ancestors, *newProcess(ancestor))
	}
	return process
}

// cmdline joins the argument vector. A process that has none (a kernel thread, one seen only by its fork) is called by
// its short name.
func cmdline(p *apiv1.Process) string {
	if len(p.GetArgv()) == 0 {
		return p.GetComm()
	}
	return strings.Join(p.GetArgv(), " ")
}

func newNamespaces(n *apiv1.Namespaces) *Namespaces {
	if n == nil {
		return nil
	}
	return &Namespaces{
		Mnt: n.GetMnt(), PID: n.GetPid(), Net: n.GetNet(), User: n.GetUser(), IPC: n.GetIpc(), UTS: n.GetUts(),
		Cgroup: n.GetCgroup(),
	}
}

// newContainer returns nil for the host, which is no container.
func newContainer(c *apiv1.Container) *Container {
	if c.GetId() == "" {
		return nil
	}
	return &Container{
		ID: c.GetId(), Name: c.GetName(), Image: c.GetImage(), ImageDigest: c.GetImageDigest(), Pod: c.GetPod(),
		PodUID: c.GetPodUid(), Namespace: c.GetNamespace(), Cgroup: c.GetCgroup(), Strayed: c.GetStrayed(),
		RuntimeNamespace: c.GetRuntimeNamespace(), Labels: c.GetLabels(),
	}
}

// newWorkload names a workload as the patterns of store.Filter match it: what has no owner goes by its pod, a container
// without a name by its id.
func newWorkload(c *apiv1.Container) Workload {
	return Workload{
		Namespace: c.GetNamespace(), Kind: c.GetWorkloadKind(),
		Name: cmp.Or(c.GetWorkload(), c.GetPod()), Container: cmp.Or(c.GetName(), c.GetId()),
	}
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
