// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Execs, at the kernel's own security decision: what the policy of the container does not list is refused before the
// process is changed. Asked of a script, then of its interpreter. What is let pass is counted and reported when it has
// been done (process.bpf.c), and judged again there, with its arguments.

#include "execverdict.h"

// Reports an exec that is refused.
__inline void refused_send(struct scratch *s, struct linux_binprm *bprm, const struct exec_case *c)
{
	struct hf_file_op *record = (struct hf_file_op *)s->bytes;
	struct file *file = READ1(bprm, file);
	struct told_key key = {
		.origin = record->head.origin,
		.subject = c->subject,
		.object = c->object[0],
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

SEC("lsm/bprm_check_security")
int on_exec_check(__u64 *ctx)
{
	struct linux_binprm *bprm = ARG(ctx, 0, struct linux_binprm *);
	struct task_struct *task = current_task();
	struct file *file = READ1(bprm, file);
	struct hf_file_op *record;
	struct exec_case c = {};
	struct scratch *s;
	__u64 origin;

	if (!judges() || !exec_enforced(&c.policy, &c.subject))
		return 0;
	s = record_begin(HF_EXECUTE, sizeof(*record));
	if (!s)
		return -EPERM;
	record = (struct hf_file_op *)s->bytes;
	__builtin_memset((char *)record + sizeof(struct hf_head), 0, sizeof(*record) - sizeof(struct hf_head));
	origin = record->head.origin;
	root_note(origin, task);
	read_file(&record->file, READ1(file, f_inode));
	c.source = source_of(origin, &record->file);
	c.verdict = VERDICT_BLOCK;
	c.signal = HF_SIGNAL_PROCESS;
	c.reason = HF_REASON_EXECUTABLE;
	if (exec_object(s, origin, file, &c))
		exec_judge(&c, is_script(bprm));
	if (c.verdict != VERDICT_BLOCK) {
		scratch_release(s);
		return 0;
	}
	refused_send(s, bprm, &c);
	return -EPERM;
}

char __license[] SEC("license") = "Dual BSD/GPL";
