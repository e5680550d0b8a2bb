// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The sockets that were there before the agent: an iterator over all open files that gives each IP socket its owner.
// From 5.12 on; before, a socket's owner is learned when a task next connects, binds or sends to an address with it.

#include "socket.h"

struct bpf_iter__task_file {
	void *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

SEC("iter/task_file")
int on_task_file(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct sock_state *state;
	struct socket *socket;
	struct sock *sk;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk || !is_inet(sk->__sk_common.skc_family))
		return 0;
	state = bpf_sk_storage_get(&sock_states, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state) {
		count(HF_C_SOCKET_MAP_FULL);
		return 0;
	}
	if (state->owner.tgid)
		return 0;
	state->kind = sk->sk_type;
	state->protocol = sk->sk_protocol;
	state->home_cgroup = READ2(sock_cgroup(sk), kn, id);
	state->home_origin = container_of_cgroup(state->home_cgroup);
	state->owner.tgid = READ1(task, tgid);
	state->owner.tid = READ1(task, pid);
	state->owner.start = task_start(task);
	state->owner.cgroup = task_cgroup(task);
	state->owner.origin = origin_of(process_of(state->owner.tgid), task);
	return 0;
}

char __license[] SEC("license") = "Dual BSD/GPL";
