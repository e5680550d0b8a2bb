// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What the hook ahead of an exec has found of its file, handed on to the program that sees the exec done, so that this need
// not name and judge the file again. Both hold a scratch buffer, and what is handed on stands beside that: in the place of a
// CPU and a slot. The process has in its flags the place that was written last for it, and the kernel lets one thread of a
// process at a time begin an exec (fs/exec.c, cred_guard_mutex). So what stands there under the process's name is of this
// exec. Where something else was written there since, or the process has gone to another CPU, the file is judged again.

#pragma once

#include "execverdict.h"

struct checked {
	__u64 start;
	__u64 origin;
	__u64 dentry;
	struct exec_case found;
	__u32 tgid;
	__u32 pad;
};

// Goes with the scratch buffer of the same slot.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCH_SLOTS);
	__type(key, __u32);
	__type(value, struct checked);
} checked_execs SEC(".maps");

// A place, as the upper half of hf_process.flags has it; 0 is none.
__inline __u32 checked_place(const struct scratch *s)
{
	return (bpf_get_smp_processor_id() * SCRATCH_SLOTS + s->slot + 1) & 0xffff;
}

// Half of a word that is read as a whole too.
typedef __u16 __attribute__((may_alias)) flags_half;

// Sets the place of a process. Not all of the flags, since others may be noting that the agent was told of the process.
__inline void checked_set(struct hf_process *process, __u32 place)
{
	((volatile flags_half *)&process->flags)[1] = (__u16)place;
}

// No place: what was found is lost, and was counted.
#define CHECKED_LOST 0xffff

// Leaves nothing to be found of the process's earlier execs. A program that is not in force cannot tell what the one that is
// has counted of this one.
__inline void checked_forget(struct hf_process *process, bool forced)
{
	if (process && unlikely(process->flags >> 16))
		checked_set(process, forced ? 0 : CHECKED_LOST);
}

// Hands on what was found of the file, of a process in the container.
__inline void checked_give(struct scratch *s, struct hf_process *process, __u64 origin, const struct exec_case *c,
			   struct file *file)
{
	__u32 slot = s->slot, place = checked_place(s);
	struct checked *to = bpf_map_lookup_elem(&checked_execs, &slot);

	if (!to)
		return;
	to->start = process->start;
	to->tgid = bpf_get_current_pid_tgid() >> 32;
	to->origin = origin;
	to->dentry = (__u64)LOAD1(file, f_path.dentry);
	to->found = *c;
	checked_set(process, place);
}

// Whether the file is what was found: it has not been copied up since, nor lost its last name. That the kernel has skipped
// the hook, as it does with one that it finds at work on the CPU (kernel/bpf/trampoline.c, __bpf_prog_enter_recur), so that
// an earlier exec of the file stands there, then lets nothing pass that is not what it was.
__inline bool checked_is(const struct hf_file *found, struct inode *inode)
{
	if (found->inode != LOAD1(inode, i_ino) || !LOAD1(inode, i_nlink) != !!(found->flags & HF_FILE_DELETED))
		return false;
	return !(found->flags & HF_FILE_OVERLAY) || found->flags & HF_FILE_UPPER || !overlay_upper(inode);
}

// Takes what was found of the file that the process now runs. False: it is to be judged; *counted says whether the use of
// what lists it was counted, though. That it is this file is looked at once more.
__inline bool checked_take(struct scratch *s, struct hf_process *process, __u32 tgid, struct file *file,
			   struct exec_case *c, bool *counted)
{
	__u32 slot = s->slot, place = process->flags >> 16;
	const struct checked *from;

	*counted = place;
	if (!place)
		return false;
	checked_set(process, 0);
	if (place != checked_place(s))
		return false;
	from = bpf_map_lookup_elem(&checked_execs, &slot);
	if (!from || from->tgid != tgid || from->start != process->start || from->origin != process->origin ||
	    from->dentry != (__u64)LOAD1(file, f_path.dentry) || from->found.subject != c->subject ||
	    !checked_is(&from->found.file.is, LOAD1(file, f_inode)))
		return false;
	*c = from->found;
	return true;
}
