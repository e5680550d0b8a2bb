// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What the policy of a container says of an exec, whatever hook sees it: of the file, by who runs it and where it comes
// from, and of the arguments.

#pragma once

#include "hash.h"
#include "place.h"

// What is judged, and the judgement.
struct exec_case {
	struct hf_policy policy;
	// The executable before the exec.
	__u64 subject;
	// The hash of the file's name.
	__u64 object[2];
	__u32 source;
	// Out: the flag of hf_flag, HF_F_BLOCKED where it is to be refused, and why.
	__u32 verdict;
	__u32 signal;
	__u32 reason;
};

// Whether what the process runs concerns its container: not the runtime on its way into it.
__inline bool exec_concerns(struct task_struct *task, __u64 subject)
{
	return subject != HF_EXE_RUNTIME || in_own_root(address_of(task));
}

// Names the file in the case. False when there is no room for the name.
__inline bool exec_object(struct scratch *s, __u64 origin, struct file *file, struct exec_case *c)
{
	__u32 length = place_append(s, origin, (__u64)READ1(file, f_path.mnt), (__u64)READ1(file, f_path.dentry));
	struct hashed *text;

	if (!hash_text(s->slot, s->size, length))
		return false;
	text = hashed_of(s->slot);
	if (!text)
		return false;
	c->object[0] = text->hash[0];
	c->object[1] = text->hash[1];
	return true;
}

// Why the file may not be run; 0 if it may. A script is not listed for itself: its interpreter is, with the script among
// its arguments.
__inline __u32 exec_reason(const struct exec_case *c, bool script)
{
	__u32 bits = allowed(&c->policy, HF_ALLOW_EXEC, c->subject, c->object[0], c->object[1], c->source);

	if (bits & c->source)
		return HF_REASON_NONE;
	if (c->source == HF_SOURCE_MEMORY)
		return HF_REASON_FILELESS;
	if (c->source == HF_SOURCE_UPPER)
		return HF_REASON_DRIFT;
	if (script)
		return HF_REASON_NONE;
	if (bits)
		return HF_REASON_DRIFT;
	if (allowed(&c->policy, HF_ALLOW_ARGUMENTS, subject_of(c->object[0]), 0, 0, 0))
		return HF_REASON_PARENT;
	return HF_REASON_EXECUTABLE;
}

// Judges the file; counts are the caller's.
__inline void exec_judge(struct exec_case *c, bool script)
{
	bool drift = c->source & (HF_SOURCE_MEMORY | HF_SOURCE_UPPER);

	c->reason = exec_reason(c, script);
	c->verdict = VERDICT_NONE;
	c->signal = HF_SIGNAL_PROCESS;
	if (!c->reason)
		return;
	if (drift)
		c->signal = stronger(&c->policy, HF_SIGNAL_PROCESS, HF_SIGNAL_PROTECT);
	c->verdict = verdict_of(&c->policy, c->signal);
}

// Judges the arguments that stand at the offset in the buffer. What could not be read is not listed.
__inline void arguments_judge(struct scratch *s, struct exec_case *c, __u32 at, __u32 length)
{
	__u64 exe = subject_of(c->object[0]);
	struct hashed *text;

	if (!mode_of(&c->policy, HF_SIGNAL_PROCESS) || allowed(&c->policy, HF_ALLOW_ARGUMENTS, exe, 0, 0, 1))
		return;
	if (length && hash_shape(s->slot, at, length)) {
		text = hashed_of(s->slot);
		if (text && allowed(&c->policy, HF_ALLOW_ARGUMENTS, exe, text->hash[0], text->hash[1], 1))
			return;
	}
	c->reason = HF_REASON_ARGUMENTS;
	c->signal = HF_SIGNAL_PROCESS;
	c->verdict = verdict_of(&c->policy, HF_SIGNAL_PROCESS);
}

// Whether execs of the current process are enforced, by what, and of which executable they are execs.
__inline bool exec_enforced(struct hf_policy *policy, __u64 *subject)
{
	struct hf_process *process = process_now();

	*subject = subject_in(process);
	if (!policy_of(origin_now(process), policy) || !exec_concerns(current_task(), *subject))
		return false;
	return mode_of(policy, stronger(policy, HF_SIGNAL_PROCESS, HF_SIGNAL_PROTECT)) == HF_MODE_ENFORCE;
}
