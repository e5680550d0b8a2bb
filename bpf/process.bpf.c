// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The life of processes: fork, exec, exit. These programs keep the process map, on which every other object relies for
// lineage, and report to the agent what no policy lists (docs/decisions/0008). A process that lived quietly is introduced
// when something is told of it (introduce.h).

#include "checked.h"
#include "exec.h"

SEC("tp_btf/sched_process_fork")
int on_fork(__u64 *ctx)
{
	struct task_struct *parent = ARG(ctx, 0, struct task_struct *);
	struct task_struct *child = ARG(ctx, 1, struct task_struct *);
	struct hf_process process = {}, *known;
	struct hf_fork *record;
	struct scratch *s;
	__u32 tgid = LOAD1(child, tgid);
	__u64 cgroup;
	bool strayed;

	if ((__u32)LOAD1(child, pid) != tgid || !in_force())
		return 0;
	// 1. the child's place in the lineage
	known = process_of(LOAD1(parent, tgid));
	cgroup = LOAD4(child, cgroups, dfl_cgrp, kn, id);
	process.start = LOAD1(child, start_boottime);
	process.origin = origin_of(known, parent);
	process.exe = exe_in(known);
	process.flags = known ? known->flags & (HF_PROCESS_LOUD | HF_PROCESS_SOURCE) : 0;
	if (!process.origin)
		process.origin = container_of_cgroup(cgroup);
	if (bpf_map_update_elem(&process_by_tgid, &tgid, &process, BPF_ANY) < 0)
		count(HF_C_PROCESS_MAP_FULL);
	// 2. the report. CLONE_INTO_CGROUP: the child is born elsewhere, which no move between cgroups shows.
	strayed = is_stray(process.origin, cgroup);
	if (!strayed && !fork_told(&process)) {
		count_normal(HF_FORK);
		return 0;
	}
	s = record_begin_of(HF_FORK, sizeof(*record), known);
	if (!s)
		return 0;
	record = (struct hf_fork *)s->bytes;
	record->child_tgid = tgid;
	record->child_start = process.start;
	record->child_cgroup = cgroup;
	record->child_origin = process.origin;
	record->child_ns_pid = read_ns_pid(child, &(__u32){ 0 });
	if (strayed)
		record->head.flags |= HF_F_STRAYED;
	if (record_send(s, RING_BULK))
		told_of(tgid);
	return 0;
}

// Names the new executable, for what it will do, and judges it when something holds for the container, unless both were
// done ahead of the exec. False: there is nothing to judge.
__inline bool exec_place(struct scratch *s, struct task_struct *task, struct hf_process *process, struct exec_case *c)
{
	struct file *exe = LOAD2(task, mm, exe_file);
	__u64 origin = process ? process->origin : container_of_cgroup(task_cgroup(task));
	bool counted = false;
	struct root root;

	c->subject = process ? process->exe : HF_EXE_ANY;
	if (!origin || !exe)
		return false;
	s->size = sizeof(struct hf_exec);
	if (process && checked_take(s, process, LOAD1(task, tgid), exe, c, &counted)) {
		exec_note(process, c, false);
		return true;
	}
	if (!exec_concerns(task, c->subject))
		return false;
	root = root_note(origin, task);
	if (!exec_object(s, origin, root.device, exe, c))
		return false;
	if (process)
		exec_note(process, c, root.first);
	if (!policy_of(origin, &c->policy))
		return false;
	exec_judge(c, false, !counted);
	return true;
}

// Does what the policy says, and counts it: here nothing can be refused, but a process that is killed now runs no
// instruction of the new program.
__inline void exec_settle(struct exec_case *c)
{
	if (!c->verdict) {
		if (mode_of(&c->policy, HF_SIGNAL_PROCESS))
			count_known(&c->policy, HF_SIGNAL_PROCESS);
		return;
	}
	count_verdict(&c->policy, c->signal, c->verdict);
	if (c->verdict == VERDICT_BLOCK) {
		bpf_send_signal(SIGKILL);
		c->verdict = HF_F_KILLED;
	}
}

// Reports the exec.
__inline void exec_tell(struct scratch *s, struct task_struct *task, struct linux_binprm *bprm,
			struct hf_process *process, const struct exec_case *c)
{
	struct hf_exec *record = (struct hf_exec *)s->bytes;

	head_fill(s, HF_EXEC, sizeof(*record), process);
	exec_fill(s, task);
	record->exec_time = record->head.time;
	record->before = process ? c->subject : 0;
	exec_names(s, task, LOAD1(bprm, filename), LOAD1(bprm, interp));
	exec_argv(s, task);
	if (c->verdict)
		head_verdict(&record->head, c->verdict, c->signal, c->reason);
	if (record_send(s, c->verdict & ~HF_F_LEARN ? RING_URGENT : RING_BULK) && process)
		process_told(process);
}

SEC("tp_btf/sched_process_exec")
int on_exec(__u64 *ctx)
{
	struct task_struct *task = ARG(ctx, 0, struct task_struct *);
	struct linux_binprm *bprm = ARG(ctx, 2, struct linux_binprm *);
	__u32 tgid = LOAD1(task, tgid);
	struct hf_process *process = process_of(tgid);
	struct exec_case c = {};
	struct scratch *s;

	// Where another version of this program has handled the exec already, the new program would be judged as started by
	// itself.
	if (!in_force() || (process && done_before(process->exec_time)))
		return 0;
	process = exec_lineage(task, tgid, process);
	s = scratch_claim();
	if (!s) {
		// What cannot be judged is not let pass.
		if (exec_enforced(process, &c.policy, &c.subject))
			bpf_send_signal(SIGKILL);
		return 0;
	}
	if (exec_place(s, task, process, &c)) {
		if (!c.verdict)
			arguments_judge(s, &c, task);
		exec_settle(&c);
		if (exec_quiet(task, process, &c)) {
			count_normal(HF_EXEC);
			scratch_release(s);
			return 0;
		}
	}
	exec_tell(s, task, bprm, process, &c);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int on_exit(__u64 *ctx)
{
	struct task_struct *task = ARG(ctx, 0, struct task_struct *);
	const struct hf_process *process;
	struct hf_exit *record;
	struct scratch *s = NULL;
	__u32 tgid = LOAD1(task, tgid);
	bool told;

	// Runs after the thread is taken off the count of living ones (kernel/exit.c, do_exit).
	if (LOAD2(task, signal, live.counter) > 0 || !in_force())
		return 0;
	process = process_of(tgid);
	if (!process)
		return 0;
	told = process->flags & HF_PROCESS_TOLD;
	if (told)
		s = record_begin_of(HF_EXIT, sizeof(*record), process);
	// Threads that end together may all find that none lives: the one that takes the process off the map reports.
	if (bpf_map_delete_elem(&process_by_tgid, &tgid) < 0) {
		if (s)
			scratch_release(s);
		return 0;
	}
	if (!told)
		count_normal(HF_EXIT);
	if (!s)
		return 0;
	record = (struct hf_exit *)s->bytes;
	record->status = (__u32)LOAD1(task, exit_code);
	record->pad = 0;
	record_put(s, RING_BULK);
	return 0;
}

char __license[] SEC("license") = "Dual BSD/GPL";
