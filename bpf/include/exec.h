// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The life of a process in the map, and what of it is told: all of it, or, where a policy says what is known, only what is
// not.

#pragma once

#include "execverdict.h"
#include "interest.h"
#include "introduce.h"

// The classes whose being recorded makes a life told.
#define LIFE (1ull << HF_FORK | 1ull << HF_EXEC | 1ull << HF_EXIT)

// Whether the life of a container's processes is told whole: its policy does not say what of it is known, or somebody
// records it.
__inline bool life_told(__u64 origin, const struct hf_policy *policy)
{
	const struct hf_interest *interest;

	if (mode_of(policy, HF_SIGNAL_PROCESS) == HF_MODE_OFF)
		return true;
	if (likely(!(wanted_whole() & LIFE)))
		return false;
	interest = interest_of(origin);
	return interest && interest->all & LIFE;
}

// Whether the birth of the process is told.
__inline bool fork_told(const struct hf_process *process)
{
	const struct hf_policy *policy;

	if (!process->origin || process->exe == HF_EXE_RUNTIME || process->flags & HF_PROCESS_LOUD)
		return true;
	policy = bpf_map_lookup_elem(&policy_by_container, &process->origin);
	return !policy || life_told(process->origin, policy);
}

// Brings the process map up to date and gives the process's entry, NULL when there is no room. A process of the host that
// execs in a container's cgroup becomes the container's.
__inline struct hf_process *exec_lineage(struct task_struct *task, __u32 tgid, struct hf_process *process)
{
	if (unlikely(!process)) {
		struct hf_process fresh = { .start = task_start(task), .exe = HF_EXE_RUNTIME };

		count(HF_C_PROCESS_UNKNOWN);
		if (bpf_map_update_elem(&process_by_tgid, &tgid, &fresh, BPF_ANY) < 0)
			count(HF_C_PROCESS_MAP_FULL);
		process = process_of(tgid);
		if (!process)
			return NULL;
	}
	if (!process->exe)
		process->exe = HF_EXE_RUNTIME;
	if (!process->origin)
		process->origin = container_of_cgroup(task_cgroup(task));
	process->exec_time = bpf_ktime_get_boot_ns();
	process->nsmnt = LOAD3(task, nsproxy, mnt_ns, ns.inum);
	process->caps = LOAD2(task, cred, cap_effective.val);
	return process;
}

// Notes of a process what it runs now, and whether its life is to be told: that of what comes into a container after the
// entry point, and of what runs a file that nobody put into an image or mounted.
__inline void exec_note(struct hf_process *process, const struct exec_case *c, bool first)
{
	__u32 flags = process->flags & ~(__u32)HF_PROCESS_SOURCE;

	if (first)
		flags |= HF_PROCESS_FIRST;
	if (c->file.source & (HF_SOURCE_UPPER | HF_SOURCE_MEMORY))
		flags |= HF_PROCESS_LOUD;
	if (c->subject == HF_EXE_RUNTIME && !(flags & HF_PROCESS_FIRST))
		flags |= HF_PROCESS_LOUD;
	process->exe = subject_of(c->file.hash[0]);
	process->flags = flags | c->file.source;
}

// Whether an exec that was judged goes no further than the kernel: the policy lists it and nobody knows the process.
__inline bool exec_quiet(struct task_struct *task, const struct hf_process *process, const struct exec_case *c)
{
	if (c->verdict || !process || process->flags & (HF_PROCESS_TOLD | HF_PROCESS_LOUD))
		return false;
	if (c->subject == HF_EXE_RUNTIME || life_told(process->origin, &c->policy))
		return false;
	// A program that is given a connection for its input is shown, whatever the policy says.
	return !(stdin_kind(task) & (HF_STDIN_SOCKET | HF_STDIN_UNIX));
}
