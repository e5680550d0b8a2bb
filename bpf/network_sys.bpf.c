// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Sockets of other families and connections to UNIX sockets on kernels where the security hooks cannot be had: seen
// when the call returns. What it made is read from the kernel's own objects, not from the caller's memory; only of a
// call that failed are the arguments all there is. This taxes every system call by a few instructions.

#include "syscall.h"
#include "family.h"
#include "unix.h"

// include/uapi/linux/net.h
enum { SYS_SOCKET = 1, SYS_CONNECT = 3 };

#if defined(__TARGET_ARCH_x86)
enum { NR_SOCKET = 41, NR_CONNECT = 42, NR32_SOCKET = 359, NR32_CONNECT = 362, NR32_SOCKETCALL = 102 };
#else
// 32-bit ARM has no socketcall in the interface that 64-bit kernels serve.
enum { NR_SOCKET = 198, NR_CONNECT = 203, NR32_SOCKET = 281, NR32_CONNECT = 283, NR32_SOCKETCALL = ~0 };
#endif

__inline struct sock *sock_of(__u32 fd)
{
	struct file *file = file_of(fd);
	struct socket *socket;

	if (!file || (READ2(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = READ1(file, private_data);
	return READ1(socket, sk);
}

struct socket_args {
	__u32 family;
	__u32 kind;
	__u32 protocol;
};

__inline void socket_done(const struct socket_args *args, __s64 result, __u16 flags)
{
	struct sock *sk;

	if (result < 0) {
		family_send(args->family, args->kind, args->protocol, (__s32)result, flags | HF_F_RESULT);
		return;
	}
	sk = sock_of((__u32)result);
	if (!sk)
		return;
	family_send(READ1(sk, __sk_common.skc_family), READ1(sk, sk_type), READ1(sk, sk_protocol), 0,
		    flags | HF_F_RESULT);
}

__inline void connect_done(__u32 fd, __s64 result, __u16 flags)
{
	struct sock *sk;
	struct sock *peer;

	if (result < 0)
		return;
	sk = sock_of(fd);
	if (!sk || READ1(sk, __sk_common.skc_family) != AF_UNIX)
		return;
	// What was accepted has the listener's address.
	peer = READ1((struct unix_sock *)sk, peer);
	if (peer)
		unix_connect_send(peer, flags | HF_F_RESULT);
}

// socketcall(2), whose arguments are 32-bit words in the caller's memory.
__inline void socketcall_done(struct pt_regs *regs, __s64 result)
{
	__u32 call = (__u32)syscall_arg(regs, true, 0);
	struct socket_args args = {};

	if (call != SYS_SOCKET && call != SYS_CONNECT)
		return;
	if (bpf_probe_read_user(&args, sizeof(args), (void *)syscall_arg(regs, true, 1)) < 0) {
		count(HF_C_USER_READ);
		return;
	}
	if (call == SYS_SOCKET)
		socket_done(&args, result, HF_F_COMPAT);
	else
		connect_done(args.family, result, HF_F_COMPAT);
}

SEC("tp_btf/sys_exit")
int on_network_exit(__u64 *ctx)
{
	struct pt_regs *regs = ARG(ctx, 0, struct pt_regs *);
	__u32 nr = syscall_number(regs);
	__s64 result = ARG(ctx, 1, __s64);
	struct socket_args args;
	bool compat;

	if (likely(nr != NR_SOCKET && nr != NR_CONNECT && nr != NR32_SOCKET && nr != NR32_CONNECT &&
		   nr != NR32_SOCKETCALL))
		return 0;
	compat = syscall_compat(regs);
	if (compat && nr == NR32_SOCKETCALL) {
		socketcall_done(regs, result);
		return 0;
	}
	if (nr == (compat ? NR32_SOCKET : NR_SOCKET)) {
		args.family = (__u32)syscall_arg(regs, compat, 0);
		args.kind = (__u32)syscall_arg(regs, compat, 1);
		args.protocol = (__u32)syscall_arg(regs, compat, 2);
		socket_done(&args, result, compat ? HF_F_COMPAT : 0);
	} else if (nr == (compat ? NR32_CONNECT : NR_CONNECT)) {
		connect_done((__u32)syscall_arg(regs, compat, 0), result, compat ? HF_F_COMPAT : 0);
	}
	return 0;
}

// io_uring's own way to make a socket (5.19), under the tracepoint's name from 6.3 on. It runs before the socket is
// made, with what the kernel has copied of the request.
struct io_cmd_data {
	struct file *file;
} __core;

struct io_kiocb {
	struct io_cmd_data cmd;
	__u8 opcode;
} __core;

struct io_socket {
	int domain;
	int type;
	int protocol;
} __core;

#define IORING_OP_SOCKET 45

SEC("tp_btf/io_uring_submit_req")
int on_uring_socket(__u64 *ctx)
{
	struct io_kiocb *request = ARG(ctx, 0, struct io_kiocb *);
	struct io_socket *socket;

	if (likely(request->opcode != IORING_OP_SOCKET))
		return 0;
	socket = (struct io_socket *)&request->cmd;
	family_send((__u32)READ1(socket, domain), (__u32)READ1(socket, type), (__u32)READ1(socket, protocol), 0,
		    HF_F_URING);
	return 0;
}

char __license[] SEC("license") = "Dual BSD/GPL";
