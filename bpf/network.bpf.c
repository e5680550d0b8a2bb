// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Connections as they are made: IP sockets created, connected, sent from, bound, listening, accepted, closed. All of it
// from cgroup programs and one tracepoint, which every kernel has; they see what io_uring, 32-bit calls, Fast Open and
// MPTCP do, since they stand where the kernel itself takes the address. The cgroup programs are where verdicts are
// given; today each allows.

#include "flow.h"

// Whether another object reports accept with the task that called it.
const volatile bool accept_by_task = false;

// Reports a socket that is not plain TCP or UDP: raw sockets at once.
SEC("cgroup/sock_create")
int on_sock_create(struct bpf_sock *ctx)
{
	struct sock_state *state = sock_use(ctx);
	__u32 family = ctx->family, kind = ctx->type, protocol = ctx->protocol;
	bool raw = kind == SOCK_RAW;
	struct hf_net *record;
	struct scratch *s;
	__u64 origin;

	// The kernel makes the socket's cookie when it is first asked for; later readers cannot make it.
	bpf_get_socket_cookie(ctx);
	if (state) {
		state->kind = (__u16)kind;
		state->protocol = (__u16)protocol;
	}
	if (!raw && (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_MPTCP))
		return ALLOW;
	origin = state ? state->owner.origin : 0;
	if (!net_wanted(HF_SOCKET, origin, raw))
		return ALLOW;
	s = net_begin(HF_SOCKET);
	if (!s)
		return ALLOW;
	record = (struct hf_net *)s->bytes;
	record->cookie = bpf_get_socket_cookie(ctx);
	record->family = (__u16)family;
	record->kind = (__u16)kind;
	record->protocol = (__u16)protocol;
	record->head.flags |= HF_F_RESULT;
	net_send(s, raw);
	return ALLOW;
}

// Reports the flow of a socket without connections; that of TCP goes on after the socket is closed.
SEC("cgroup/sock_release")
int on_sock_release(struct bpf_sock *ctx)
{
	struct sock_state *state = bpf_sk_storage_get(&sock_states, ctx, NULL, 0);

	if (state && state->peer.family)
		flow_send(&state->owner, bpf_get_socket_cookie(ctx), &state->peer, &state->flow, state->kind, true);
	return ALLOW;
}

__inline void local_from(struct hf_net *record, struct bpf_sock *sk)
{
	record->local_port = (__u16)sk->src_port;
	if (sk->family == AF_INET)
		addr_set4(record->local, sk->src_ip4);
	else
		addr_set6(record->local, sk->src_ip6[0], sk->src_ip6[1], sk->src_ip6[2], sk->src_ip6[3]);
}

// An address that a process is about to contact, by connect or by a datagram. A datagram is reported when it is the
// first to this address from this socket; the rest is in the flow.
__inline int on_contact(struct bpf_sock_addr *ctx, __u32 type, struct peer *peer)
{
	struct bpf_sock *sk = ctx->sk;
	struct sock_state *state = sock_use(sk);
	__u64 cookie = bpf_get_socket_cookie(ctx);
	struct hf_net *record;
	struct flow *flow;
	struct scratch *s;
	bool first = true, watched;

	peer->port = swap16((__u16)ctx->user_port);
	peer->protocol = (__u16)ctx->protocol;
	if (state && ctx->type != SOCK_STREAM) {
		state->kind = (__u16)ctx->type;
		state->protocol = peer->protocol;
		flow = flow_with(state, cookie, peer, &first);
		if (flow && first)
			flow->flags |= HF_NET_OUTBOUND;
	}
	if (type == HF_SENDTO && !first) {
		count_normal(type);
		return ALLOW;
	}
	watched = addr_watched(peer->addr, peer->family);
	if (!net_wanted(type, state ? state->owner.origin : 0, watched))
		return ALLOW;
	s = net_begin(type);
	if (!s)
		return ALLOW;
	record = (struct hf_net *)s->bytes;
	record->cookie = cookie;
	__builtin_memcpy(record->remote, peer->addr, sizeof(record->remote));
	record->remote_port = peer->port;
	record->family = peer->family;
	record->kind = (__u16)ctx->type;
	record->protocol = peer->protocol;
	record->net_flags = HF_NET_OUTBOUND;
	if (ctx->family == AF_INET6 && peer->family == AF_INET)
		record->net_flags |= HF_NET_MAPPED;
	local_from(record, sk);
	net_send(s, watched);
	return ALLOW;
}

__inline int on_contact4(struct bpf_sock_addr *ctx, __u32 type)
{
	struct peer peer = { .family = AF_INET };

	addr_set4(peer.addr, ctx->user_ip4);
	return on_contact(ctx, type, &peer);
}

__inline int on_contact6(struct bpf_sock_addr *ctx, __u32 type)
{
	struct peer peer = {};

	peer.family = addr_set6(peer.addr, ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]);
	return on_contact(ctx, type, &peer);
}

SEC("cgroup/connect4")
int on_connect4(struct bpf_sock_addr *ctx)
{
	return on_contact4(ctx, HF_CONNECT);
}

SEC("cgroup/connect6")
int on_connect6(struct bpf_sock_addr *ctx)
{
	return on_contact6(ctx, HF_CONNECT);
}

SEC("cgroup/sendmsg4")
int on_sendmsg4(struct bpf_sock_addr *ctx)
{
	return on_contact4(ctx, HF_SENDTO);
}

SEC("cgroup/sendmsg6")
int on_sendmsg6(struct bpf_sock_addr *ctx)
{
	return on_contact6(ctx, HF_SENDTO);
}

// A bind that has succeeded, with the port that the kernel chose if it was asked to.
__inline int on_bound(struct bpf_sock *ctx, __u16 family, const __u8 *local)
{
	struct sock_state *state = sock_use(ctx);
	bool watched = addr_watched(local, family);
	struct hf_net *record;
	struct scratch *s;

	if (!net_wanted(HF_BIND, state ? state->owner.origin : 0, watched))
		return ALLOW;
	s = net_begin(HF_BIND);
	if (!s)
		return ALLOW;
	record = (struct hf_net *)s->bytes;
	record->cookie = bpf_get_socket_cookie(ctx);
	__builtin_memcpy(record->local, local, sizeof(record->local));
	record->local_port = (__u16)ctx->src_port;
	record->family = family;
	record->kind = (__u16)ctx->type;
	record->protocol = (__u16)ctx->protocol;
	record->head.flags |= HF_F_RESULT;
	if (ctx->family == AF_INET6 && family == AF_INET)
		record->net_flags |= HF_NET_MAPPED;
	net_send(s, watched);
	return ALLOW;
}

SEC("cgroup/post_bind4")
int on_bound4(struct bpf_sock *ctx)
{
	__u8 local[16];

	addr_set4(local, ctx->src_ip4);
	return on_bound(ctx, AF_INET, local);
}

SEC("cgroup/post_bind6")
int on_bound6(struct bpf_sock *ctx)
{
	__u8 local[16];
	__u16 family = addr_set6(local, ctx->src_ip6[0], ctx->src_ip6[1], ctx->src_ip6[2], ctx->src_ip6[3]);

	return on_bound(ctx, family, local);
}

// listen(2) runs this in the caller's context (net/ipv4/inet_connection_sock.c, inet_csk_listen_start).
SEC("tp_btf/inet_sock_set_state")
int on_inet_state(__u64 *ctx)
{
	struct sock *sk = ARG(ctx, 0, struct sock *);
	struct hf_net *record;
	struct scratch *s;
	bool watched;

	// A socket of MPTCP listens through one of TCP, which is reported.
	if (ARG(ctx, 2, int) != TCP_LISTEN || READ1(sk, sk_protocol) == IPPROTO_MPTCP)
		return 0;
	s = net_begin(HF_LISTEN);
	if (!s)
		return 0;
	record = (struct hf_net *)s->bytes;
	net_from_sock(record, sk);
	record->backlog = (__u16)READ1(sk, sk_max_ack_backlog);
	watched = addr_watched(record->local, record->family);
	if (net_wanted(HF_LISTEN, record->head.origin, watched))
		net_send(s, watched);
	else
		scratch_release(s);
	return 0;
}

__inline void on_accepted(struct sock_state *state, struct sock *sk)
{
	struct hf_net *record;
	struct scratch *s;
	bool watched;

	s = net_begin_owner(HF_ACCEPT, &state->owner);
	if (!s)
		return;
	record = (struct hf_net *)s->bytes;
	net_from_sock(record, sk);
	watched = addr_watched(record->remote, record->family);
	if (net_wanted(HF_ACCEPT, record->head.origin, watched))
		net_send(s, watched);
	else
		scratch_release(s);
}

// A TCP connection is there. What the kernel copied from the listener's state is its owner; the rest begins anew.
__inline void on_established(struct bpf_sock_ops *ctx, struct sock_state *state, struct sock *sk, bool passive)
{
	struct flow none = {};

	state->flow = none;
	state->kind = SOCK_STREAM;
	state->protocol = IPPROTO_TCP;
	if (!passive)
		state->flow.flags = HF_NET_OUTBOUND;
	bpf_get_socket_cookie(ctx);
	if (!state->home_cgroup) {
		state->home_cgroup = READ2(sock_cgroup(sk), kn, id);
		state->home_origin = container_of_cgroup(state->home_cgroup);
	}
	if (!state->owner.tgid) {
		state->owner.cgroup = state->home_cgroup;
		state->owner.origin = state->home_origin;
	}
	// To be called at the end. Other programs may have asked for more.
	bpf_sock_ops_cb_flags_set(ctx, (int)(ctx->cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG));
	if (passive && !accept_by_task)
		on_accepted(state, sk);
}

SEC("sockops")
int on_tcp(struct bpf_sock_ops *ctx)
{
	__u32 op = ctx->op;
	struct sock_state *state;
	struct bpf_sock *sk;
	struct sock *tcp;

	if (op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB && op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB &&
	    !(op == BPF_SOCK_OPS_STATE_CB && ctx->args[1] == TCP_CLOSE))
		return ALLOW;
	sk = ctx->sk;
	if (!sk)
		return ALLOW;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp)
		return ALLOW;
	if (op == BPF_SOCK_OPS_STATE_CB) {
		state = bpf_sk_storage_get(&sock_states, sk, NULL, 0);
		if (state)
			flow_send_tcp(state, tcp, true);
		return ALLOW;
	}
	state = bpf_sk_storage_get(&sock_states, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state) {
		count(HF_C_SOCKET_MAP_FULL);
		return ALLOW;
	}
	on_established(ctx, state, tcp, op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB);
	return ALLOW;
}

char __license[] SEC("license") = "Dual BSD/GPL";
