// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Sockets of other families and connections to UNIX sockets on kernels where the security hooks cannot be had: seen
// when the call returns, before the caller goes on. A process that made a socket which its policy refuses is killed then. What it made is read from the kernel's own objects, not from the caller's memory; only of a
// call that failed are the arguments all there is. This taxes every system call by a few instructions.

#include "family.h"
#include "unix.h"

// include/uapi/linux/net.h
enum { SYS_SOCKET = 1, SYS_CONNECT = 3 };

// By machine: the call, the call of its 32-bit entry, and socketcall there, which 32-bit ARM has not.
#define NR(x86, arm64) (field_exists(struct pt_regs___x86, orig_ax) ? (x86) : (arm64))
#define NR_SOCKET NR(41u, 198u)
#define NR_CONNECT NR(42u, 203u)
#define NR32_SOCKET NR(359u, 281u)
#define NR32_CONNECT NR(362u, 283u)
#define NR32_SOCKETCALL NR(102u, ~0u)

// As in regs.h, by plain loads: the tracepoint's argument is a kernel pointer that the verifier knows, and this runs at
// every call.
__inline __u32 number_of(void *regs)
{
	if (field_exists(struct pt_regs___x86, orig_ax))
		return (__u32)((struct pt_regs___x86 *)regs)->orig_ax & ~X32_SYSCALL_BIT;
	return (__u32)((struct pt_regs___arm64 *)regs)->syscallno;
}

__inline __u32 argument(void *regs, __u32 n, bool compat)
{
	if (!field_exists(struct pt_regs___x86, orig_ax))
		return (__u32)argument_arm64(regs, n, compat);
	return (__u32)(compat ? argument_ia32(regs, n) : argument_x86(regs, n));
}

// The socket that a descriptor of the current task stands for now.
__inline struct sock *sock_of(__u32 fd)
{
	struct fdtable *table = READ2(current_task(), files, fdt);
	struct file *file = NULL;
	struct socket *socket;

	if (fd < READ1(table, max_fds))
		bpf_probe_read_kernel(&file, sizeof(file), READ1(table, fd) + fd);
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

__inline void socket_done(const struct socket_args *args, __s64 result)
{
	struct sock *sk;

	if (result < 0) {
		family_failed(args->family, args->kind, args->protocol, (__s32)result);
		return;
	}
	sk = sock_of((__u32)result);
	if (!sk)
		return;
	family_made(READ1(sk, __sk_common.skc_family), READ1(sk, sk_type), READ1(sk, sk_protocol), HF_F_RESULT,
		    FAMILY_AFTER);
}

__inline void connect_done(__u32 fd, __s64 result)
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
		unix_connect_send(peer, HF_F_RESULT);
}

// socketcall(2), whose arguments are 32-bit words in the caller's memory.
__inline void socketcall_done(void *regs, __s64 result)
{
	__u32 call = argument(regs, 1, true);
	struct socket_args args = {};

	if (call != SYS_SOCKET && call != SYS_CONNECT)
		return;
	if (bpf_probe_read_user(&args, sizeof(args), (void *)(__u64)argument(regs, 2, true)) < 0) {
		count(HF_C_USER_READ);
		return;
	}
	if (call == SYS_SOCKET)
		socket_done(&args, result);
	else
		connect_done(args.family, result);
}

SEC("tp_btf/sys_exit")
int on_network_exit(__u64 *ctx)
{
	void *regs = ARG(ctx, 0, void *);
	__u32 nr = number_of(regs);
	__s64 result = ARG(ctx, 1, __s64);
	struct socket_args args;
	bool compat;

	if (likely(nr != NR_SOCKET && nr != NR_CONNECT && nr != NR32_SOCKET && nr != NR32_CONNECT &&
		   nr != NR32_SOCKETCALL))
		return 0;
	compat = is_compat();
	if (compat && nr == NR32_SOCKETCALL) {
		socketcall_done(regs, result);
		return 0;
	}
	if (nr == (compat ? NR32_SOCKET : NR_SOCKET)) {
		args.family = argument(regs, 1, compat);
		args.kind = argument(regs, 2, compat);
		args.protocol = argument(regs, 3, compat);
		socket_done(&args, result);
	} else if (nr == (compat ? NR32_CONNECT : NR_CONNECT)) {
		connect_done(argument(regs, 1, compat), result);
	}
	return 0;
}

// io_uring's own way to make a socket (5.19), under the tracepoint's name from 6.3 on. It runs before the socket is
// made, with what the kernel has copied of the request.
#define IORING_OP_SOCKET 45

SEC("tp_btf/io_uring_submit_req")
int on_uring_socket(__u64 *ctx)
{
	struct io_kiocb *request = ARG(ctx, 0, struct io_kiocb *);
	struct io_socket *socket;

	if (likely(request->opcode != IORING_OP_SOCKET))
		return 0;
	socket = (struct io_socket *)&request->cmd;
	family_made((__u32)READ1(socket, domain), (__u32)READ1(socket, type), (__u32)READ1(socket, protocol),
		    HF_F_URING, FAMILY_AFTER);
	return 0;
}

char __license[] SEC("license") = "Dual BSD/GPL";
