// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Execs, at the kernel's own security decision: what the policy of the container does not list is refused before the
// process is changed. Asked of a script, then of its interpreter. What is let pass is reported when it has been done
// (process.bpf.c), which takes over what was found here (checked.h), and judges the arguments.

#include "checked.h"
#include "introduce.h"

// Reports an exec that is refused.
__inline void refused_send(struct scratch *s, struct linux_binprm *bprm, const struct hf_process *process,
			   const struct exec_case *c)
{
	struct hf_file_op *record = (struct hf_file_op *)s->bytes;
	struct file *file = LOAD1(bprm, file);
	struct told_key key = {
		.origin = origin_now(process),
		.subject = c->subject,
		.object = c->file.hash[0],
		.policy = c->policy.id,
		.type = HF_EXECUTE,
		.reason = (__u8)c->reason,
	};

	count_verdict(&c->policy, c->signal, VERDICT_BLOCK);
	if (told(&key)) {
		count_normal(HF_EXECUTE);
		scratch_release(s);
		return;
	}
	head_fill(s, HF_EXECUTE, sizeof(*record), process);
	__builtin_memset((char *)record + sizeof(struct hf_head), 0, sizeof(*record) - sizeof(struct hf_head));
	record->file = c->file.is;
	record->path_len = (__u16)text_path(s, &file->f_path);
	record->target_len = (__u16)text_kernel_str(s, READ1(bprm, filename), TEXT_MAX);
	head_verdict(&record->head, HF_F_BLOCKED, c->signal, c->reason);
	record_send(s, RING_URGENT);
}

__inline bool is_script(struct linux_binprm *bprm)
{
	char first[2] = {};

	bpf_probe_read_kernel(first, sizeof(first), &bprm->buf);
	return first[0] == '#' && first[1] == '!';
}

// Judges ahead of the exec, and hands on what was found of the file that the process is to run, which is no script. Where
// nothing can be handed on, the use of what lists the file is counted when it is judged again; that of a script is counted
// here, since nobody asks about it again.
__inline void judge_early(struct scratch *s, struct hf_process *process, __u64 origin, struct exec_case *c,
			  struct linux_binprm *bprm, bool forced)
{
	bool script = is_script(bprm), gives = forced && process;

	exec_judge(c, script, script || gives);
	if (gives && !script && c->verdict != VERDICT_BLOCK)
		checked_give(s, process, origin, c, LOAD1(bprm, file));
}

SEC("lsm/bprm_check_security")
int on_exec_check(__u64 *ctx)
{
	struct linux_binprm *bprm = ARG(ctx, 0, struct linux_binprm *);
	struct hf_process *process;
	struct exec_case c = {};
	struct scratch *s;
	struct root root;
	__u64 origin;
	bool forced;

	if (!judges())
		return 0;
	process = process_now();
	forced = in_force();
	checked_forget(process, forced);
	if (!exec_enforced(process, &c.policy, &c.subject))
		return 0;
	s = scratch_claim();
	if (!s)
		return -EPERM;
	origin = origin_now(process);
	root = root_note(origin, current_task());
	if (root.first && process)
		process->flags |= HF_PROCESS_FIRST;
	c.verdict = VERDICT_BLOCK;
	c.signal = HF_SIGNAL_PROCESS;
	c.reason = HF_REASON_EXECUTABLE;
	s->size = sizeof(struct hf_file_op);
	if (exec_object(s, origin, root.device, LOAD1(bprm, file), &c))
		judge_early(s, process, origin, &c, bprm, forced);
	if (c.verdict != VERDICT_BLOCK) {
		scratch_release(s);
		return 0;
	}
	refused_send(s, bprm, process, &c);
	return -EPERM;
}

char __license[] SEC("license") = "Dual BSD/GPL";
