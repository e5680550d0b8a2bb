// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/sensor/objects"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// builtin are the objects of bpf/.
func builtin() build { return build{loaders: objectLoaders, digest: objects.Digest()} }

// objectLoaders names them.
var objectLoaders = map[string]func() (*ebpf.CollectionSpec, error){
	"process": objects.LoadProcess,
	"cgroup":  objects.LoadCgroup,
	"task":    objects.LoadTask,

	"file_lsm": objects.LoadFileLsm,
	"security": objects.LoadSecurity,
	"syscall":  objects.LoadSyscall,

	"network":      objects.LoadNetwork,
	"network_lsm":  objects.LoadNetworkLsm,
	"network_send": objects.LoadNetworkSend,
	"network_sys":  objects.LoadNetworkSys,
	"packet":       objects.LoadPacket,
	"flow":         objects.LoadFlow,
	"socket":       objects.LoadSocket,

	"exec_lsm": objects.LoadExecLsm,
	"text":     objects.LoadText,
}

// signal is something the agent can see, with the ways to see it, best first. The first way whose programs all load and
// attach is taken.
type signal struct {
	name string
	ways []way
}

// way is a set of programs that together show a signal.
type way struct {
	// needs says what the kernel lacks for this way that a load would not show; nil when there is no such thing.
	needs func(*btf.Spec) error
	// Programs as object/name.
	programs []string
	// mechanism is the text for the capability table.
	mechanism string
	// unseen says what this way cannot see; empty if it sees all.
	unseen string
	// block says whether this way also enforces what policies say, on the family that it is attached with.
	block probe.Support
	// calls is the class that the program of system calls is made to report when the way is taken; 0 for none.
	calls wire.Type
}

// lifecycle is attached before everything else: the identity of what follows rests on it.
var lifecycle = []signal{
	{"cgroup", []way{{
		programs:  []string{"cgroup/on_cgroup_mkdir", "cgroup/on_cgroup_rmdir", "cgroup/on_cgroup_attach"},
		mechanism: "tp_btf cgroup_mkdir, cgroup_rmdir, cgroup_attach_task",
		block:     probe.No,
	}}},
}

// signals are attached in this order.
var signals = []signal{
	{"fork", []way{{programs: []string{"process/on_fork"}, mechanism: "tp_btf sched_process_fork", block: probe.No}}},
	{"exec", []way{{
		programs: []string{"process/on_exec"}, mechanism: "tp_btf sched_process_exec, SIGKILL", block: probe.Yes,
	}}},
	{"exit", []way{{programs: []string{"process/on_exit"}, mechanism: "tp_btf sched_process_exit", block: probe.No}}},
}

// execSignals are the verdicts on an exec: of the file, and of its arguments, which are whole only when it is done.
var execSignals = []signal{
	{"execute", []way{
		{programs: []string{"exec_lsm/on_exec_check"}, mechanism: "lsm bprm_check_security", block: probe.Yes},
		{
			programs: []string{"process/on_exec"}, mechanism: "tp_btf sched_process_exec, SIGKILL",
			unseen: "where a script comes from (its interpreter and arguments are seen)", block: probe.Yes,
		},
	}},
	{"arguments", []way{{
		programs: []string{"process/on_exec"}, mechanism: "tp_btf sched_process_exec, SIGKILL", block: probe.Yes,
	}}},
}

// taskIterator reports the processes that were there before.
const taskIterator = "task/on_task"
