// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The processes that were there before the agent: an iterator that enters each into the process map and reports it as
// HF_TASK, in the shape of an exec. The argument vector is in another process's memory, which an iterator of 5.10
// cannot read; the agent takes it from /proc, this once.

#include "execverdict.h"
#include "introduce.h"

struct bpf_iter_meta {
	__u64 seq_num;
} __core;

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} __core;

// Whether the mount is one of the task's own namespace. The runtime's own program, on its way into a container, is not.
__inline bool is_own_mount(struct task_struct *task, struct vfsmount *mnt)
{
	struct mount *mount = (struct mount *)((char *)mnt - field_offset(struct mount, mnt));

	return READ1(mount, mnt_ns) == READ2(task, nsproxy, mnt_ns);
}

// Whether the task runs from memory and was started by a process of the same container. A file in memory has no mount of
// its own; the copy of itself that the runtime runs is started by the runtime.
__inline bool is_own_memory(struct task_struct *task, const struct hf_file *file, __u64 origin)
{
	return file->flags & (HF_FILE_MEMFD | HF_FILE_DELETED) &&
	       container_of_cgroup(task_cgroup(READ1(task, real_parent))) == origin;
}

// Names the executable of a container's process that is there already, if it is one of the container's files: else it may
// still be the runtime's.
__inline void task_place(struct scratch *s, struct task_struct *task, __u32 tgid, __u64 origin)
{
	struct hf_exec *record = (struct hf_exec *)s->bytes;
	struct hf_process *process = process_of(tgid);
	struct file *exe = LOAD2(task, mm, exe_file);
	struct exec_case c = {};
	struct root root;

	if (!origin || !process || !exe || process->exe != HF_EXE_RUNTIME || !in_own_root(address_of(task)))
		return;
	root = root_note(origin, task);
	if (record->file.device != root.device && !is_own_mount(task, READ1(exe, f_path.mnt)) &&
	    !is_own_memory(task, &record->file, origin))
		return;
	if (!exec_object(s, origin, root.device, exe, &c))
		return;
	process->exe = subject_of(c.file.hash[0]);
	process->flags |= c.file.source;
}

SEC("iter/task")
int on_task(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct hf_process process = {}, *known;
	struct hf_exec *record;
	struct scratch *s;
	__u32 tgid;

	if (!task)
		return 0;
	tgid = READ1(task, tgid);
	if ((__u32)READ1(task, pid) != tgid || READ1(task, flags) & PF_KTHREAD)
		return 0;
	// 1. the process map, unless a fork or exec was quicker
	process.start = task_start(task);
	process.exe = HF_EXE_RUNTIME;
	process.origin = container_of_cgroup(task_cgroup(task));
	process.nsmnt = READ3(task, nsproxy, mnt_ns, ns.inum);
	process.caps = READ2(task, cred, cap_effective.val);
	bpf_map_update_elem(&process_by_tgid, &tgid, &process, BPF_NOEXIST);
	// 2. the report
	s = record_begin(HF_TASK, sizeof(*record));
	if (!s)
		return 0;
	record = (struct hf_exec *)s->bytes;
	record->head.tgid = tgid;
	record->head.tid = tgid;
	record->head.start = process.start;
	record->head.cgroup = task_cgroup(task);
	record->head.origin = origin_of(process_of(tgid), task);
	record->head.flags = 0;
	record->argv_hash = 0;
	record->argv_size = 0;
	record->argv_len = 0;
	exec_fill(s, task);
	exec_names(s, task, NULL, NULL);
	task_place(s, task, tgid, record->head.origin);
	known = process_of(tgid);
	record->exec_time = known ? known->exec_time : 0;
	record->before = known ? known->exe : 0;
	if (record_put(s, RING_BULK) && known)
		process_told(known);
	return 0;
}

char __license[] SEC("license") = "Dual BSD/GPL";
