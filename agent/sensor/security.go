// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// What no program of a way can show.
const (
	unseenAccess = "access through /proc and by pidfd_getfd; of process_vm_readv and writev the target is a number of the " +
		"caller's pid namespace"
	unseenBefore = "the namespaces of before, but for the mount namespace"
	unseenGains  = "user ids and namespaces of before; changes other than by the set*id calls and capset (execs are seen)"
	unseenHuge   = "files of huge pages (memfd_create with MFD_HUGETLB)"
)

// securitySignals are attached in this order.
var securitySignals = []signal{
	{"ptrace", []way{
		{
			programs:  []string{"security/on_access", "security/on_traceme"},
			mechanism: "lsm ptrace_access_check, ptrace_traceme", block: probe.No,
		},
		callWay(unseenAccess, wire.TypePtrace),
	}},
	// unshare first: setns is told from it by what unshare has noted.
	{"unshare", []way{
		{
			programs:  []string{"security/on_unshare", "security/on_unshared", "security/on_clone"},
			mechanism: "fentry and fexit ksys_unshare, tp_btf sched_process_fork", block: probe.No,
		},
		{
			programs:  []string{syscallProgram, "security/on_clone"},
			mechanism: "tp_btf sys_exit, sched_process_fork", unseen: unseenBefore, block: probe.No,
			calls: wire.TypeUnshare,
		},
	}},
	{"cred", []way{
		{programs: []string{"security/on_cred"}, mechanism: "fentry commit_creds", block: probe.No},
		callWay(unseenGains, wire.TypeCred),
	}},
	{"setns", []way{
		{programs: []string{"security/on_switch"}, mechanism: "fentry switch_task_namespaces", block: probe.No},
		callWay(unseenBefore, wire.TypeSetns),
	}},
	{"module", []way{{programs: []string{"security/on_module"}, mechanism: "tp_btf module_load", block: probe.No}}},
	{"bpf", []way{
		{programs: []string{"security/on_bpf"}, mechanism: "lsm bpf", block: probe.No},
		callWay("", wire.TypeBpf),
	}},
	{"memfd", []way{
		{
			programs:  []string{"security/on_memfd"},
			mechanism: "fentry shmem_file_setup", unseen: unseenHuge, block: probe.No,
		},
		callWay("", wire.TypeMemfd),
	}},
	{"io_uring", []way{{
		programs: []string{"security/on_io_uring"}, mechanism: "tp_btf io_uring_create", block: probe.No,
	}}},
}
