// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// A system call at its exit, for machines that have no better hook: its number, whether it came through the 32-bit
// entry, its arguments and result as the registers still hold them. Objects with it are built for each architecture.

#pragma once

#include "task.h"

#if defined(__TARGET_ARCH_x86)

struct pt_regs {
	unsigned long bx;
	unsigned long cx;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long bp;
	unsigned long r8;
	unsigned long r9;
	unsigned long r10;
	unsigned long orig_ax;
} __core;

struct thread_info {
	__u32 status;
} __core;

struct task_struct___x86 {
	struct thread_info thread_info;
} __core;

// arch/x86/include/asm/thread_info.h
#define TS_COMPAT 2
// include/uapi/asm/unistd.h: the calls of x32 have the numbers of x86-64 with this bit.
#define X32_BIT 0x40000000

// The loads are plain: the tracepoint's argument is a kernel pointer that the verifier knows.
__inline __u32 syscall_number(struct pt_regs *regs)
{
	return (__u32)regs->orig_ax & ~X32_BIT;
}

__inline bool syscall_compat(struct pt_regs *regs)
{
	struct task_struct___x86 *task = (void *)current_task();

	(void)regs;
	return READ1(task, thread_info.status) & TS_COMPAT;
}

__inline __u64 syscall_arg(struct pt_regs *regs, bool compat, __u32 n)
{
	switch (n) {
	case 0:
		return compat ? (__u32)regs->bx : regs->di;
	case 1:
		return compat ? (__u32)regs->cx : regs->si;
	case 2:
		return compat ? (__u32)regs->dx : regs->dx;
	case 3:
		return compat ? (__u32)regs->si : regs->r10;
	case 4:
		return compat ? (__u32)regs->di : regs->r8;
	default:
		return compat ? (__u32)regs->bp : regs->r9;
	}
}

#elif defined(__TARGET_ARCH_arm64)

struct pt_regs {
	__u64 regs[31];
	__u64 pstate;
	__u64 orig_x0;
	__s32 syscallno;
} __core;

// arch/arm64/include/uapi/asm/ptrace.h, PSR_MODE32_BIT
#define PSTATE_32 0x10

__inline __u32 syscall_number(struct pt_regs *regs)
{
	return (__u32)regs->syscallno;
}

__inline bool syscall_compat(struct pt_regs *regs)
{
	return regs->pstate & PSTATE_32;
}

__inline __u64 syscall_arg(struct pt_regs *regs, bool compat, __u32 n)
{
	__u64 value = n == 0 ? regs->orig_x0 : regs->regs[n];

	return compat ? (__u32)value : value;
}

#else
#error "no registers for this architecture"
#endif

// The file that a descriptor of the current task stands for now.
__inline struct file *file_of(__u32 fd)
{
	struct fdtable *table = READ2(current_task(), files, fdt);
	struct file *file = NULL;

	if (fd < READ1(table, max_fds))
		bpf_probe_read_kernel(&file, sizeof(file), READ1(table, fd) + fd);
	return file;
}
