// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Who a task is: its identity, its cgroup, and the container that its lineage was born in.
//
// Lineage: a child has its parent's origin. A process of the host takes the origin of the container cgroup it is in at
// fork or exec, which is how runtimes start containers and exec sessions; a process that has an origin keeps it
// wherever it moves. So leaving the cgroup, CLONE_INTO_CGROUP, setns and containers within containers change nothing.

#pragma once

#include "record.h"

__inline struct task_struct *current_task(void)
{
	return (struct task_struct *)bpf_get_current_task();
}

__inline __u64 task_cgroup(struct task_struct *task)
{
	return READ4(task, cgroups, dfl_cgrp, kn, id);
}

__inline __u64 task_start(struct task_struct *task)
{
	return READ2(task, group_leader, start_boottime);
}

__inline __u64 container_of_cgroup(__u64 cgroup)
{
	__u64 *container = bpf_map_lookup_elem(&container_by_cgroup, &cgroup);

	return container ? *container : 0;
}

// A process as the map has it; NULL for one that it had no room for. A program asks once and hands the answer on.
__inline struct hf_process *process_of(__u32 tgid)
{
	return bpf_map_lookup_elem(&process_by_tgid, &tgid);
}

__inline struct hf_process *process_now(void)
{
	return process_of(bpf_get_current_pid_tgid() >> 32);
}

// The container that the current process belongs to, 0 for the host. The entry may be NULL. The cgroup is asked for only
// where the lineage does not say.
__inline __u64 origin_now(const struct hf_process *process)
{
	if (likely(process && process->origin))
		return process->origin;
	return container_of_cgroup(bpf_get_current_cgroup_id());
}

// The same for the process of any task.
__inline __u64 origin_of(const struct hf_process *process, struct task_struct *task)
{
	if (likely(process && process->origin))
		return process->origin;
	return container_of_cgroup(task_cgroup(task));
}

// Whether a process of the container is not in its cgroup, nor in one within.
__inline bool is_stray(__u64 origin, __u64 cgroup)
{
	return origin && cgroup != origin && container_of_cgroup(cgroup) != origin;
}

__inline void read_cred(struct hf_cred *to, const struct cred *cred, struct task_struct *task)
{
	to->uid = READ1(cred, uid.val);
	to->gid = READ1(cred, gid.val);
	to->euid = READ1(cred, euid.val);
	to->egid = READ1(cred, egid.val);
	to->suid = READ1(cred, suid.val);
	to->fsuid = READ1(cred, fsuid.val);
	to->loginuid = field_exists(struct task_struct, loginuid) ? READ1(task, loginuid.val) : ~0u;
	to->userns = READ2(cred, user_ns, ns.inum);
	to->effective = READ1(cred, cap_effective.val);
	to->permitted = READ1(cred, cap_permitted.val);
	to->inheritable = READ1(cred, cap_inheritable.val);
}

// The pid that the task has in the innermost pid namespace, and that namespace.
__inline __u32 read_ns_pid(struct task_struct *task, __u32 *space)
{
	struct pid *pid = READ2(task, group_leader, thread_pid);
	unsigned int level = READ1(pid, level);
	struct upid upid = {};

	bpf_probe_read_kernel(&upid, sizeof(upid), &pid->numbers[level & 31]);
	*space = READ1(upid.ns, ns.inum);
	return (__u32)upid.nr;
}

__inline void read_spaces(struct hf_spaces *to, struct task_struct *task)
{
	struct nsproxy *spaces = READ1(task, nsproxy);

	to->mnt = READ2(spaces, mnt_ns, ns.inum);
	to->net = READ2(spaces, net_ns, ns.inum);
	to->ipc = READ2(spaces, ipc_ns, ns.inum);
	to->uts = READ2(spaces, uts_ns, ns.inum);
	to->cgroup = READ2(spaces, cgroup_ns, ns.inum);
	to->user = READ3(task, cred, user_ns, ns.inum);
	to->ns_pid = read_ns_pid(task, &to->pid);
}

// Fills the head for a record about the current task, whose entry may be NULL. The record's fixed part must be size bytes.
__inline void head_fill(struct scratch *s, __u32 type, __u32 size, const struct hf_process *process)
{
	struct hf_head *head = (struct hf_head *)s->bytes;
	__u64 ids = bpf_get_current_pid_tgid();

	s->size = size;
	s->current = 1;
	head->type = (__u16)type;
	head->flags = 0;
	head->signal = HF_SIGNAL_NONE;
	head->reason = HF_REASON_NONE;
	head->result = 0;
	head->time = bpf_ktime_get_boot_ns();
	head->tgid = ids >> 32;
	head->tid = (__u32)ids;
	head->start = likely(process) ? process->start : task_start(current_task());
	head->cgroup = bpf_get_current_cgroup_id();
	head->origin = likely(process && process->origin) ? process->origin : container_of_cgroup(head->cgroup);
	if (is_stray(head->origin, head->cgroup))
		head->flags |= HF_F_STRAYED;
}

// Claims a buffer and fills the head for the current task, whose entry may be NULL; NULL (counted) when none is free.
__inline struct scratch *record_begin_of(__u32 type, __u32 size, const struct hf_process *process)
{
	struct scratch *s = scratch_claim();

	if (s)
		head_fill(s, type, size, process);
	return s;
}

// The same where the entry was not asked for yet.
__inline struct scratch *record_begin(__u32 type, __u32 size)
{
	struct scratch *s = scratch_claim();

	if (s)
		head_fill(s, type, size, process_now());
	return s;
}

// The classes that are wanted of a container; NULL for none.
__inline const struct hf_interest *interest_of(__u64 origin)
{
	const struct hf_interest *interest = NULL;
	__u32 index = origin != 0;

	if (origin)
		interest = bpf_map_lookup_elem(&interest_by_container, &origin);
	return interest ? interest : bpf_map_lookup_elem(&interest_default, &index);
}

enum wanted { WANT_NOT, WANT_WATCHED, WANT_ALL };

// Whether events of a type are wanted of a container, all of them or those that match something watched. The caller
// counts what it does not send, by count_normal.
__inline enum wanted wanted_of(__u32 type, __u64 origin)
{
	const struct hf_interest *interest = interest_of(origin);
	__u64 bit = 1ull << (type & 63);

	if (!interest)
		return WANT_NOT;
	if (interest->all & bit)
		return WANT_ALL;
	return interest->watched & bit ? WANT_WATCHED : WANT_NOT;
}

// The same for the current task, by its lineage.
__inline enum wanted wanted(__u32 type)
{
	return wanted_of(type, origin_now(process_now()));
}
