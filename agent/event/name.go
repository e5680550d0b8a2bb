// SPDX-License-Identifier: Apache-2.0

package event

import "github.com/holdfast-project/holdfast/agent/wire"

// names are the class names of docs/events.md.
var names = [wire.TypeLimit]string{
	wire.TypeFork: "fork", wire.TypeExec: "exec", wire.TypeExit: "exit", wire.TypeTask: "task",
	wire.TypeCgroupMkdir: "cgroup_mkdir", wire.TypeCgroupRmdir: "cgroup_rmdir", wire.TypeCgroupAttach: "cgroup_attach",
	wire.TypeOpen: "open", wire.TypeCreate: "create", wire.TypeUnlink: "unlink", wire.TypeRename: "rename",
	wire.TypeLink: "link", wire.TypeSymlink: "symlink", wire.TypeChmod: "chmod", wire.TypeChown: "chown",
	wire.TypeTruncate: "truncate", wire.TypeMount: "mount", wire.TypeMmapExec: "mmap_exec", wire.TypeExecute: "execute",
	wire.TypeConnect: "connect", wire.TypeSendto: "sendto", wire.TypeBind: "bind", wire.TypeListen: "listen",
	wire.TypeAccept: "accept", wire.TypeSocket: "socket", wire.TypeDns: "dns", wire.TypeFlow: "flow",
	wire.TypePassedSocket: "passed_socket",
	wire.TypePtrace:       "ptrace", wire.TypeSetns: "setns", wire.TypeUnshare: "unshare", wire.TypeModule: "module",
	wire.TypeBpf: "bpf", wire.TypeCred: "cred", wire.TypeMemfd: "memfd", wire.TypeIoUring: "io_uring",
	wire.TypeContent: "content",
}

// recorded reports whether events of a type can be recorded and watched: what was sent never leaves the node.
func recorded(t wire.Type) bool { return names[t] != "" && t != wire.TypeContent }

// Name gives the class name of a type, or unknown.
func Name(t wire.Type) string {
	if t >= wire.TypeLimit || names[t] == "" {
		return "unknown"
	}
	return names[t]
}

// Parse gives the type of the name of a class that can be recorded.
func Parse(name string) (wire.Type, bool) {
	for t, n := range names {
		if n == name && recorded(wire.Type(t)) {
			return wire.Type(t), true
		}
	}
	return 0, false
}

// Names lists the names of the classes that can be recorded, in the order of their types.
func Names() []string {
	var list []string
	for t, n := range names {
		if recorded(wire.Type(t)) {
			list = append(list, n)
		}
	}
	return list
}

// counterNames are the causes of docs/metrics.md.
var counterNames = [wire.Counters]string{
	wire.CounterRingUrgentFull: "ring_urgent_full", wire.CounterRingBulkFull: "ring_bulk_full",
	wire.CounterScratchBusy: "scratch_busy", wire.CounterProcessMapFull: "process_map_full",
	wire.CounterCgroupMapFull: "cgroup_map_full", wire.CounterSocketMapFull: "socket_map_full",
	wire.CounterFlowMapFull: "flow_map_full", wire.CounterUserRead: "user_read",
	wire.CounterPathTooDeep: "path_too_deep", wire.CounterPathRead: "path_read", wire.CounterArgvRead: "argv_read",
	wire.CounterPacketRead: "packet_read", wire.CounterProcessUnknown: "process_unknown",
	wire.CounterSocketUnknown: "socket_unknown", wire.CounterArgvHashPartial: "argv_hash_partial",
	wire.CounterAdmitFull: "admit_full", wire.CounterQuestionLost: "question_lost",
	wire.CounterRingContentFull: "ring_content_full", wire.CounterContentRead: "content_read",
}

// CounterName gives the cause that a counter of the kernel side counts.
func CounterName(c wire.Counter) string {
	if c >= wire.Counters || counterNames[c] == "" {
		return "other"
	}
	return counterNames[c]
}
