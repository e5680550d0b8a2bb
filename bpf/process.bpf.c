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
	struct hf_process *known;
	__u64 cgroup;

	if ((__u32)READ1(child, pid) != tgid || !in_force())
		return 0;
	// 1. the child's place in the lineage
	cgroup = task_cgroup(child);
	process.start = task_start(child);
	known = process_of(parent_tgid);
	process.origin = origin_of(known, parent);
	process.exe = exe_of(parent_tgid);
	process.flags = known ? known->flags & (HF_PROCESS_TOLD - 1) : 0;
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

// Names the new executable, for what it will do, and judges it when something holds for the container. False: there is
// nothing to judge.
__inline bool exec_place(struct scratch *s, struct task_struct *task, struct exec_case *c)
{
	struct hf_exec *record = (struct hf_exec *)s->bytes;
	__u64 origin = record->head.origin;
	__u32 tgid = record->head.tgid;
	struct hf_process *process = bpf_map_lookup_elem(&process_by_tgid, &tgid);

	record->before = process ? process->exe : 0;
	if (!origin)
		return false;
	c->subject = process ? process->exe : HF_EXE_ANY;
	if (!exec_concerns(task, c->subject))
		return false;
	root_note(origin, task);
	c->source = source_of(origin, &record->file);
	if (!exec_object(s, origin, READ2(task, mm, exe_file), c))
		return false;
	if (process) {
		process->exe = subject_of(c->object[0]);
		process->flags = c->source;
	}
	if (!policy_of(origin, &c->policy))
		return false;
	exec_judge(c, false);
	return true;
}

// Judges the arguments and does what the policy says: here nothing can be refused, but a process that is killed now runs
// no instruction of the new program.
__inline void exec_settle(struct scratch *s, struct exec_case *c)
{
	struct hf_exec *record = (struct hf_exec *)s->bytes;
	__u32 at = sizeof(*record) + record->exe_len + record->filename_len + record->interp_len + record->cwd_len;

	if (!c->verdict)
		arguments_judge(s, c, at, record->argv_len > ARGV_PART ? ARGV_PART : record->argv_len);
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
	head_verdict(&record->head, c->verdict, c->signal, c->reason);
}

// Whether another version of this program has handled the exec already: a second time, the new program would be judged as
// started by itself.
__inline bool exec_done(struct task_struct *task)
{
	__u32 tgid = READ1(task, tgid);
	const struct hf_process *known = bpf_map_lookup_elem(&process_by_tgid, &tgid);

	return known && done_before(known->exec_time);
}

SEC("tp_btf/sched_process_exec")
int on_exec(__u64 *ctx)
{
	struct task_struct *task = ARG(ctx, 0, struct task_struct *);
	struct linux_binprm *bprm = ARG(ctx, 2, struct linux_binprm *);
	struct exec_case c = {};
	struct scratch *s;
	bool judged;

	if (!in_force() || exec_done(task))
		return 0;
	exec_lineage(task);
	s = record_begin(HF_EXEC, sizeof(struct hf_exec));
	if (!s) {
		// What cannot be judged is not let pass.
		if (exec_enforced(&c.policy, &c.subject))
			bpf_send_signal(SIGKILL);
		return 0;
	}
	exec_fill(s, task);
	((struct hf_exec *)s->bytes)->exec_time = ((struct hf_exec *)s->bytes)->head.time;
	exec_names(s, task, READ1(bprm, filename), READ1(bprm, interp));
	judged = exec_place(s, task, &c);
	exec_argv(s, task);
	if (judged)
		exec_settle(s, &c);
	record_send(s, c.verdict & ~HF_F_LEARN ? RING_URGENT : RING_BULK);
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
