// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Security events, seen when a system call that worked returns.

#pragma once

#include "security.h"
#include "sysfile.h"

// include/uapi/linux/ptrace.h
enum { PTRACE_TRACEME = 0, PTRACE_ATTACH = 16, PTRACE_SEIZE = 0x4206 };
// include/linux/ptrace.h
#define PTRACE_MODE_ATTACH 0x02

// The task that the current one attached to last stands first in its list (kernel/ptrace.c, __ptrace_link).
__inline struct task_struct *last_traced(void)
{
	struct list_head *first = READ1(current_task(), ptraced.next);

	return (struct task_struct *)((char *)first - field_offset(struct task_struct, ptrace_entry));
}

__inline void sys_ptrace(const struct call *call)
{
	__u32 request = (__u32)call_argument(call, call->how->flags), op = call->how->op;
	struct hf_security *record;
	struct scratch *s;

	if (op == HF_ACCESS_CALL && request == PTRACE_TRACEME)
		op = HF_ACCESS_TRACEME;
	else if (op == HF_ACCESS_CALL && request != PTRACE_ATTACH && request != PTRACE_SEIZE)
		return;
	s = security_begin(HF_PTRACE);
	if (!s)
		return;
	record = (struct hf_security *)s->bytes;
	record->head.flags |= HF_F_RESULT;
	record->op = op;
	record->mode = op == HF_ACCESS_TRACEME ? 0 : PTRACE_MODE_ATTACH;
	if (op == HF_ACCESS_VM) {
		// The number that the caller gave, which is another in another pid namespace.
		record->head.flags |= HF_F_USER_TEXT;
		record->target_tgid = (__u32)call_argument(call, 1);
	} else {
		record->flags = request;
		security_target(record, op == HF_ACCESS_CALL ? last_traced() : READ1(current_task(), real_parent));
	}
	record_send(s, RING_URGENT);
}

// The namespaces of before are no longer known where they were to change, but for the mount namespace of the last exec.
__inline void spaces_unknown(struct hf_spaces *before, __u64 changed, __u32 nsmnt)
{
	if (changed & CLONE_NEWNS)
		before->mnt = nsmnt;
	if (changed & CLONE_NEWNET)
		before->net = 0;
	if (changed & CLONE_NEWUSER)
		before->user = 0;
	if (changed & CLONE_NEWIPC)
		before->ipc = 0;
	if (changed & CLONE_NEWUTS)
		before->uts = 0;
	if (changed & CLONE_NEWCGROUP)
		before->cgroup = 0;
}

__inline void sys_spaces(const struct call *call)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct scratch *s = security_begin(call->how->type);
	struct hf_process *process;
	struct hf_security *record;

	if (!s)
		return;
	record = (struct hf_security *)s->bytes;
	record->head.flags |= HF_F_RESULT | HF_F_PARTIAL;
	record->flags = call_argument(call, call->how->flags);
	process = bpf_map_lookup_elem(&process_by_tgid, &tgid);
	read_spaces(&record->spaces_after, current_task());
	record->spaces_before = record->spaces_after;
	spaces_unknown(&record->spaces_before, record->flags, process ? process->nsmnt : 0);
	record_send(s, RING_URGENT);
}

__inline void sys_bpf(const struct call *call)
{
	__u32 command = (__u32)call_argument(call, 1);
	char *attr = (char *)call_argument(call, 2);
	struct hf_security *record;
	struct scratch *s;

	if (is_agent())
		return;
	s = security_begin(HF_BPF);
	if (!s)
		return;
	record = (struct hf_security *)s->bytes;
	record->head.flags |= HF_F_RESULT;
	record->head.result = (__s32)call->result;
	record->op = command;
	if (command == BPF_PROG_LOAD || command == BPF_MAP_CREATE) {
		record->head.flags |= HF_F_USER_TEXT;
		bpf_probe_read_user(&record->kind, sizeof(record->kind), attr);
		attr += command == BPF_PROG_LOAD ? BPF_ATTR_PROG_NAME : BPF_ATTR_MAP_NAME;
		record->name_len = (__u16)text_user_str(s, attr, BPF_NAME_SIZE);
	}
	record_send(s, bpf_matters(command) ? RING_URGENT : RING_BULK);
}

// Capabilities are compared with what the process had at its last exec or call of this kind.
__inline void sys_cred(void)
{
	struct task_struct *task = current_task();
	const struct cred *cred = READ1(task, cred);
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct hf_process *process = bpf_map_lookup_elem(&process_by_tgid, &tgid);
	struct hf_security *record;
	struct scratch *s;
	__u64 before;

	if (!process)
		return;
	before = process->caps;
	process->caps = READ1(cred, cap_effective.val);
	if (!(process->caps & ~before))
		return;
	s = security_begin(HF_CRED);
	if (!s)
		return;
	record = (struct hf_security *)s->bytes;
	record->head.flags |= HF_F_RESULT | HF_F_PARTIAL;
	record->flags = HF_GAIN_CAPS;
	record->before.effective = before;
	read_cred(&record->after, cred, task);
	record_send(s, RING_URGENT);
}

// The name that the kernel gave to the file, without "memfd:".
__inline void sys_memfd(const struct call *call)
{
	struct file *file = file_of((__u32)call->result);
	struct hf_security *record;
	struct scratch *s;

	if (!file)
		return;
	s = security_begin(HF_MEMFD);
	if (!s)
		return;
	record = (struct hf_security *)s->bytes;
	record->head.flags |= HF_F_RESULT;
	record->head.result = (__s32)call->result;
	record->flags = call_argument(call, call->how->flags);
	record->name_len = (__u16)text_kernel_str(s, READ2(file, f_path.dentry, d_name.name) + 6, NAME_MAX + 1);
	record_send(s, RING_URGENT);
}

// Global, so that it is verified for itself.
__attribute__((noinline)) int sys_security(__u32 number, __u32 compat, __u64 regs, __s64 result)
{
	struct call call = { .how = call_row(number, compat), .regs = regs, .result = result, .compat = compat };

	if (!call.how)
		return 0;
	switch (call.how->type) {
	case HF_PTRACE:
		sys_ptrace(&call);
		break;
	case HF_SETNS:
	case HF_UNSHARE:
		sys_spaces(&call);
		break;
	case HF_BPF:
		sys_bpf(&call);
		break;
	case HF_CRED:
		sys_cred();
		break;
	case HF_MEMFD:
		sys_memfd(&call);
		break;
	}
	return 0;
}
