// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What the policy of a container says of an exec, whatever hook sees it: of the file, by who runs it and where it comes
// from, and of the arguments.

#pragma once

#include "known.h"

// What is judged, and the judgement.
struct exec_case {
	struct hf_policy policy;
	// The executable before the exec.
	__u64 subject;
	// The file that is to run.
	struct named_file file;
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

// Names the file, whose type the verifier knows, in the case. False when there is no room for the name.
__inline bool exec_object(struct scratch *s, __u64 origin, __u32 root, struct file *file, struct exec_case *c)
{
	load_file(&c->file.is, LOAD1(file, f_inode));
	c->file.source = source_in(root, &c->file.is);
	return name_known(s, origin, file, &c->file);
}

// Why the file may not be run; 0 if it may. A script is not listed for itself: its interpreter is, with the script among
// its arguments. Of the hooks that ask about one exec, one counts the use of entries.
__inline __u32 exec_reason(const struct exec_case *c, bool script, bool counts)
{
	__u64 exe = subject_of(c->file.hash[0]);
	__u32 bits = allowed_use(&c->policy, HF_ALLOW_EXEC, c->subject, c->file.hash[0], c->file.hash[1],
				 c->file.source, counts ? c->file.source : 0);

	if (bits & c->file.source)
		return HF_REASON_NONE;
	if (c->file.source == HF_SOURCE_MEMORY)
		return HF_REASON_FILELESS;
	if (c->file.source == HF_SOURCE_UPPER)
		return HF_REASON_DRIFT;
	if (script)
		return HF_REASON_NONE;
	if (bits)
		return HF_REASON_DRIFT;
	if (allowed_use(&c->policy, HF_ALLOW_ARGUMENTS, exe, 0, 0, 0, 0) ||
	    allowed_use(&c->policy, HF_ALLOW_ARGUMENTS, exe, 0, HF_ARGUMENTS_SOME, 0, 0))
		return HF_REASON_PARENT;
	return HF_REASON_EXECUTABLE;
}

// Judges the file; counts of verdicts are the caller's.
__inline void exec_judge(struct exec_case *c, bool script, bool counts)
{
	bool drift = c->file.source & (HF_SOURCE_MEMORY | HF_SOURCE_UPPER);

	c->reason = exec_reason(c, script, counts);
	c->verdict = VERDICT_NONE;
	c->signal = HF_SIGNAL_PROCESS;
	if (!c->reason)
		return;
	if (drift)
		c->signal = stronger(&c->policy, HF_SIGNAL_PROCESS, HF_SIGNAL_PROTECT);
	c->verdict = verdict_of(&c->policy, c->signal);
}

// Judges the arguments that the program begins with. What could not be read is not listed.
__inline void arguments_judge(struct scratch *s, struct exec_case *c, struct task_struct *task)
{
	__u64 exe = subject_of(c->file.hash[0]), from, to;
	struct hashed *text;

	if (!mode_of(&c->policy, HF_SIGNAL_PROCESS) || allowed(&c->policy, HF_ALLOW_ARGUMENTS, exe, 0, 0, 1))
		return;
	from = LOAD2(task, mm, arg_start);
	to = LOAD2(task, mm, arg_end);
	if (to > from && shape_known(s->slot, from, to - from > HASHED_MAX ? HASHED_MAX : (__u32)(to - from))) {
		text = hashed_of(s->slot);
		if (text && allowed(&c->policy, HF_ALLOW_ARGUMENTS, exe, text->hash[0], text->hash[1], 1))
			return;
	}
	c->reason = HF_REASON_ARGUMENTS;
	c->signal = HF_SIGNAL_PROCESS;
	c->verdict = verdict_of(&c->policy, HF_SIGNAL_PROCESS);
}

// Whether execs of the current process are enforced, by what, and of which executable they are execs.
__inline bool exec_enforced(const struct hf_process *process, struct hf_policy *policy, __u64 *subject)
{
	*subject = subject_in(process);
	if (!policy_of(origin_now(process), policy) || !exec_concerns(current_task(), *subject))
		return false;
	return mode_of(policy, stronger(policy, HF_SIGNAL_PROCESS, HF_SIGNAL_PROTECT)) == HF_MODE_ENFORCE;
}
