// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Arguments and results of functions in processes, from the registers at a probe: by the C convention of x86-64 and arm64, and
// by that of Go (ABIInternal, from 1.17 and 1.18 on).

#pragma once

#include "bpf.h"
#include "kernel.h"

__inline bool on_x86(void)
{
	return field_exists(struct pt_regs___x86, orig_ax);
}

__inline __u64 arm_register(const void *regs, __u32 n)
{
	__u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), &((const struct pt_regs___arm64 *)regs)->regs[n]);
	return value;
}

// Argument n of a C function, from 0; up to 4.
__inline __u64 c_argument(const void *ctx, __u32 n)
{
	const struct pt_regs___x86 *regs = ctx;

	if (!on_x86())
		return arm_register(ctx, n);
	switch (n) {
	case 0:
		return READ1(regs, di);
	case 1:
		return READ1(regs, si);
	case 2:
		return READ1(regs, dx);
	case 3:
		return READ1(regs, cx);
	default:
		return READ1(regs, r8);
	}
}

// The result of a function, of C or of Go.
__inline __u64 result_of(const void *ctx)
{
	const struct pt_regs___x86 *regs = ctx;

	return on_x86() ? READ1(regs, ax) : arm_register(ctx, 0);
}

// Word n of the arguments of a Go function, from 0; up to 2.
__inline __u64 go_argument(const void *ctx, __u32 n)
{
	const struct pt_regs___x86 *regs = ctx;

	if (!on_x86())
		return arm_register(ctx, n);
	switch (n) {
	case 0:
		return READ1(regs, ax);
	case 1:
		return READ1(regs, bx);
	default:
		return READ1(regs, cx);
	}
}

// The goroutine.
__inline __u64 go_routine(const void *ctx)
{
	const struct pt_regs___x86 *regs = ctx;

	return on_x86() ? READ1(regs, r14) : arm_register(ctx, 28);
}
