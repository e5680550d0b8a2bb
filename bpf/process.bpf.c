// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The life of processes: fork, exec, exit. These programs keep the process map, on which every other object relies for
// lineage, and report every process to the agent, whose process table answers who the ancestors were.

#include "path.h"
#include "exec.h"

SEC("tp_btf/sched_process_fork")
int on_fork(__u64 *ctx)
{
	struct task_struct *parent = ARG(ctx, 0, struct task_struct *);
	struct task_struct *child = ARG(ctx, 1, struct task_struct *);
	struct hf_process process = {};
	struct hf_fork *record;
	struct scratch *s;
	__u32 tgid = READ1(child, tgid), parent_tgid = READ1(parent, tgid);
	__u64 cgroup;

	if ((__u32)READ1(child, pid) != tgid || !in_force())
		return 0;
	// 1. the child's place in the lineage
	cgroup = task_cgroup(child);
	process.start = task_start(child);
	process.origin = origin_of(parent_tgid, task_cgroup(parent));
	if (!process.origin)
		process.origin = container_of_cgroup(cgroup);
	if (bpf_map_update_elem(&process_by_tgid, &tgid, &process, BPF_ANY) < 0)
		count(HF_C_PROCESS_MAP_FULL);
	// 2. the report
	s = record_begin(HF_FORK, sizeof(*record));
	if (!s)
		return 0;
	record = (struct hf_fork *)s->bytes;
	record->child_tgid = tgid;
	record->child_start = process.start;
	record->child_cgroup = cgroup;
	record->child_origin = process.origin;
	record->child_ns_pid = read_ns_pid(child, &(__u32){ 0 });
	// CLONE_INTO_CGROUP: the child is born elsewhere, which no move between cgroups shows.
	if (process.origin && container_of_cgroup(cgroup) != process.origin)
		record->head.flags |= HF_F_STRAYED;
	record_send(s, RING_BULK);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int on_exec(__u64 *ctx)
{
	struct task_struct *task = ARG(ctx, 0, struct task_struct *);
	struct linux_binprm *bprm = ARG(ctx, 2, struct linux_binprm *);
	struct scratch *s;

	if (!in_force())
		return 0;
	exec_lineage(task);
	s = record_begin(HF_EXEC, sizeof(struct hf_exec));
	if (!s)
		return 0;
	exec_fill(s, task);
	exec_names(s, task, READ1(bprm, filename), READ1(bprm, interp));
	exec_argv(s, task);
	record_send(s, RING_BULK);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int on_exit(__u64 *ctx)
{
	struct task_struct *task = ARG(ctx, 0, struct task_struct *);
	struct hf_exit *record;
	struct scratch *s;
	__u32 tgid = READ1(task, tgid);

	// Runs after the thread is taken off the count of living ones (kernel/exit.c, do_exit).
	if (READ2(task, signal, live.counter) > 0 || !in_force())
		return 0;
	s = record_begin(HF_EXIT, sizeof(*record));
	// Threads that end together may all find that none lives: the one that takes the process off the map reports.
	if (bpf_map_delete_elem(&process_by_tgid, &tgid) < 0) {
		if (s)
			scratch_release(s);
		return 0;
	}
	if (!s)
		return 0;
	record = (struct hf_exit *)s->bytes;
	record->status = (__u32)READ1(task, exit_code);
	record->pad = 0;
	record_send(s, RING_BULK);
	return 0;
}

char __license[] SEC("license") = "Dual BSD/GPL";
