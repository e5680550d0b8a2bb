// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Files and security events on kernels where the security hooks cannot be had: every system call is looked at when it
// returns. What is not in the table is left after one look into an array, since this taxes all that run on the node. A
// call that failed is not reported.

#include "syssecurity.h"

SEC("tp_btf/sys_exit")
int on_sys_exit(__u64 *ctx)
{
	void *saved = ARG(ctx, 0, void *);
	__s64 result = ARG(ctx, 1, __s64);
	__u32 number = syscall_number(saved), compat;
	struct hf_syscall_row *row = bpf_map_lookup_elem(&syscalls, &number);
	__u32 type, fd;
	__u64 regs;

	if (!row || !(row->native.type | row->compat.type))
		return 0;
	compat = is_compat();
	type = compat ? row->compat.type : row->native.type;
	fd = compat ? row->compat.fd : row->native.fd;
	// Addresses of mmap may look negative to a 32-bit caller; errors are the last 4095 numbers.
	if (!type || (__u64)result >= (__u64)-4095)
		return 0;
	regs = address_of(saved);
	if (type < HF_PTRACE && !fd)
		sys_text(number, compat, regs, result);
	else if (type == HF_MMAP_EXEC)
		sys_mapping(number, compat, regs);
	else if (type < HF_PTRACE)
		sys_file(number, compat, regs, result);
	else
		sys_security(number, compat, regs, result);
	return 0;
}

// include/uapi/linux/io_uring.h
enum { IORING_OP_OPENAT = 18, IORING_OP_OPENAT2 = 28 };

// Whether the tracepoint gives the completion as a structure (from 6.14 on), not as numbers. Set at load.
const volatile bool uring_cqe = true;

// Opens through io_uring, in whatever task the ring completes them, all of which share the caller's descriptors. What is
// opened into the ring's own table has no descriptor and is not seen.
SEC("tp_btf/io_uring_complete")
int on_uring_done(__u64 *ctx)
{
	struct io_kiocb *request = (struct io_kiocb *)address_of(ARG(ctx, 1, void *));
	__u8 opcode = READ1(request, opcode);
	struct io_open *open;
	struct file *file;
	__s32 result;

	if (likely(opcode != IORING_OP_OPENAT && opcode != IORING_OP_OPENAT2))
		return 0;
	result = uring_cqe ? READ1(ARG(ctx, 2, struct io_uring_cqe *), res) : ARG(ctx, 3, __s32);
	open = (struct io_open *)&request->cmd;
	if (result < 0 || READ1(open, file_slot))
		return 0;
	file = file_of((__u32)result);
	if (file)
		uring_open(file, (__u32)READ1(open, how.flags), result);
	return 0;
}

char __license[] SEC("license") = "Dual BSD/GPL";
