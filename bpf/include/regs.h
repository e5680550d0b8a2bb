// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// System calls from the saved registers of the caller, on x86-64 and arm64. One object serves both: which structure the
// kernel has is a CO-RE question, and the answer that does not hold is never run.

#pragma once

#include "task.h"

// arch/x86/include/asm/thread_info.h, TS_COMPAT; arch/arm64/include/asm/thread_info.h, TIF_32BIT.
#define TS_COMPAT 0x2
#define TIF_32BIT_ARM64 (1 << 22)
// arch/x86/include/uapi/asm/unistd.h: calls of x32 programs, whose numbers are those of 64-bit ones with this bit.
#define X32_SYSCALL_BIT 0x40000000

// Whether the current task is in a call through the 32-bit entry.
__inline bool is_compat(void)
{
	struct task_struct *task = current_task();

	if (field_exists(struct thread_info, status))
		return READ1(task, thread_info.status) & TS_COMPAT;
	return READ1(task, thread_info.flags) & TIF_32BIT_ARM64;
}

// The number of the call. regs must be the tracepoint's own argument, which is read in place: this is what every system
// call pays for.
__inline __u32 syscall_number(const void *regs)
{
	if (field_exists(struct pt_regs___x86, orig_ax))
		return (__u32)((const struct pt_regs___x86 *)regs)->orig_ax & ~X32_SYSCALL_BIT;
	return (__u32)((const struct pt_regs___arm64 *)regs)->syscallno;
}

__inline __u64 argument_x86(const struct pt_regs___x86 *regs, __u32 n)
{
	switch (n) {
	case 1:
		return READ1(regs, di);
	case 2:
		return READ1(regs, si);
	case 3:
		return READ1(regs, dx);
	case 4:
		return READ1(regs, r10);
	case 5:
		return READ1(regs, r8);
	default:
		return READ1(regs, r9);
	}
}

// The registers of int 0x80 and of the 32-bit sysenter.
__inline __u64 argument_ia32(const struct pt_regs___x86 *regs, __u32 n)
{
	switch (n) {
	case 1:
		return (__u32)READ1(regs, bx);
	case 2:
		return (__u32)READ1(regs, cx);
	case 3:
		return (__u32)READ1(regs, dx);
	case 4:
		return (__u32)READ1(regs, si);
	case 5:
		return (__u32)READ1(regs, di);
	default:
		return (__u32)READ1(regs, bp);
	}
}

__inline __u64 argument_arm64(const struct pt_regs___arm64 *regs, __u32 n, bool compat)
{
	__u64 value;

	switch (n) {
	case 1:
		// The register itself holds the result by now.
		value = READ1(regs, orig_x0);
		break;
	case 2:
		value = READ1(regs, regs[1]);
		break;
	case 3:
		value = READ1(regs, regs[2]);
		break;
	case 4:
		value = READ1(regs, regs[3]);
		break;
	case 5:
		value = READ1(regs, regs[4]);
		break;
	default:
		value = READ1(regs, regs[5]);
	}
	return compat ? (__u32)value : value;
}

// Argument n of the call, from 1; 0 gives 0.
__attribute__((noinline)) __u64 syscall_argument(__u64 regs, __u32 n, __u32 compat)
{
	if (n == 0)
		return 0;
	if (!field_exists(struct pt_regs___x86, orig_ax))
		return argument_arm64((const struct pt_regs___arm64 *)regs, n, compat != 0);
	if (compat)
		return argument_ia32((const struct pt_regs___x86 *)regs, n);
	return argument_x86((const struct pt_regs___x86 *)regs, n);
}
