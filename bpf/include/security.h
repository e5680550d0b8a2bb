// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// How a record of a security event is begun and ended, whatever hook saw it.

#pragma once

#include "interest.h"
#include "introduce.h"
#include "regs.h"

// Begins a record when events of the class are wanted; else counts and gives NULL. There is nothing to watch for in
// these classes, so being watched is being wanted.
__inline struct scratch *security_begin(__u32 type)
{
	struct hf_security *record;
	struct scratch *s;

	if (wanted_most(type) == WANT_NOT || wanted(type) == WANT_NOT) {
		count_normal(type);
		return NULL;
	}
	s = record_begin(type, sizeof(*record));
	if (!s)
		return NULL;
	record = (struct hf_security *)s->bytes;
	__builtin_memset((char *)record + sizeof(struct hf_head), 0, sizeof(*record) - sizeof(struct hf_head));
	if (is_compat())
		record->head.flags |= HF_F_COMPAT;
	return s;
}

__inline void security_target(struct hf_security *record, struct task_struct *task)
{
	record->target_tgid = (__u32)READ1(task, tgid);
	record->target_start = task_start(task);
	record->target_origin = origin_of(process_of(record->target_tgid), task);
}

// The CLONE_NEW* of the namespaces that differ.
__inline __u64 spaces_changed(const struct hf_spaces *before, const struct hf_spaces *after)
{
	return (before->mnt != after->mnt ? CLONE_NEWNS : 0) | (before->pid != after->pid ? CLONE_NEWPID : 0) |
	       (before->net != after->net ? CLONE_NEWNET : 0) | (before->user != after->user ? CLONE_NEWUSER : 0) |
	       (before->ipc != after->ipc ? CLONE_NEWIPC : 0) | (before->uts != after->uts ? CLONE_NEWUTS : 0) |
	       (before->cgroup != after->cgroup ? CLONE_NEWCGROUP : 0);
}

// include/uapi/linux/bpf.h
enum {
	BPF_MAP_CREATE = 0,
	BPF_PROG_LOAD = 5,
	BPF_OBJ_PIN = 6,
	BPF_PROG_ATTACH = 8,
	BPF_RAW_TRACEPOINT_OPEN = 17,
	BPF_LINK_CREATE = 28,
	BPF_LINK_UPDATE = 29
};
// Offsets in union bpf_attr, which is kernel ABI: of the type, and of the name of a map and of a program.
#define BPF_ATTR_MAP_NAME 28
#define BPF_ATTR_PROG_NAME 48
#define BPF_NAME_SIZE 16

// Whether a command of bpf(2) brings code or a map into the kernel or puts it in place. The others are many: each look
// into a map is one.
__inline bool bpf_matters(__u32 command)
{
	return command == BPF_MAP_CREATE || command == BPF_PROG_LOAD || command == BPF_OBJ_PIN ||
	       command == BPF_PROG_ATTACH || command == BPF_RAW_TRACEPOINT_OPEN || command == BPF_LINK_CREATE ||
	       command == BPF_LINK_UPDATE;
}
