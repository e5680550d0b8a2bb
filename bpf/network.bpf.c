// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Connections as they are made: IP sockets created, connected, sent from, bound, listening, accepted, closed. All of it
// from cgroup programs and one tracepoint, which every kernel has; they see what io_uring, 32-bit calls, Fast Open and
// MPTCP do, since they stand where the kernel itself takes the address. The cgroup programs are where verdicts are
// given.

#include "contact.h"
#include "flow.h"
#include "listen.h"

// Whether another object reports accept with the task that called it.
const volatile bool accept_by_task = false;

// The verdict of a program that may refuse.
__inline int answer(const struct judgment *judgment)
{
	return judgment->flag & HF_F_BLOCKED ? DENY : ALLOW;
}

// Whether the current process has left its container's cgroup: then the socket's cgroup does not tell whose it is.
__inline bool creator_strays(void)
{
	struct hf_process *process = process_now();
	__u64 cgroup;

	if (!process || !process->origin)
		return false;
	cgroup = bpf_get_current_cgroup_id();
	return unlikely(cgroup != process->origin) && is_stray(process->origin, cgroup);
}

// Judges and reports a socket that is not plain TCP or UDP: raw sockets at once.
SEC("cgroup/sock_create")
int on_sock_create(struct bpf_sock *ctx)
{
	__u32 family = ctx->family, kind = ctx->type, protocol = ctx->protocol;
	struct judgment judgment = {};
	struct sock_state *state;
	struct hf_net *record;
	struct actor actor;
	struct scratch *s;
	bool raw, plain, fresh;

	if (!in_force())
		return ALLOW;
	// The kernel makes the socket's cookie when it is first asked for; later readers cannot make it.
	bpf_get_socket_cookie(ctx);
	raw = kind == SOCK_RAW;
	plain = !raw && (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_MPTCP);
	if (likely(plain && !state_always() && !creator_strays()))
		return ALLOW;
	state = sock_use(ctx);
	if (state) {
		state->kind = (__u16)kind;
		state->protocol = (__u16)protocol;
	}
	if (plain)
		return ALLOW;
	actor_of(&actor, state);
	judge_socket(&judgment, &actor, family, kind);
	fresh = judgment_fresh(&judgment, &actor, HF_SOCKET, family << 16 | kind);
	if (!net_wanted(HF_SOCKET, actor.origin, raw) && !fresh)
		return answer(&judgment);
	s = net_begin(HF_SOCKET);
	if (!s)
		return answer(&judgment);
	record = (struct hf_net *)s->bytes;
	record->cookie = bpf_get_socket_cookie(ctx);
	record->family = (__u16)family;
	record->kind = (__u16)kind;
	record->protocol = (__u16)protocol;
	record->head.flags |= HF_F_RESULT;
	net_send_judged(s, raw, &judgment, fresh);
	return answer(&judgment);
}

// Reports the flow of a socket without connections; that of TCP goes on after the socket is closed.
SEC("cgroup/sock_release")
int on_sock_release(struct bpf_sock *ctx)
{
	struct sock_state *state;

	if (ctx->protocol == IPPROTO_TCP)
		return ALLOW;
	state = bpf_sk_storage_get(&sock_states, ctx, NULL, 0);
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

__inline void contact_send(struct bpf_sock_addr *ctx, __u32 type, const struct peer *peer, bool watched,
			   const struct judgment *judgment, bool fresh)
{
	struct hf_net *record;
	struct scratch *s = net_begin(type);

	if (!s)
		return;
	record = (struct hf_net *)s->bytes;
	record->cookie = bpf_get_socket_cookie(ctx);
	__builtin_memcpy(record->remote, peer->addr, sizeof(record->remote));
	record->remote_port = peer->port;
	record->family = peer->family;
	record->kind = (__u16)ctx->type;
	record->protocol = peer->protocol;
	record->net_flags = HF_NET_OUTBOUND;
	if (ctx->family == AF_INET6 && peer->family == AF_INET)
		record->net_flags |= HF_NET_MAPPED;
	local_from(record, ctx->sk);
	net_send_judged(s, watched, judgment, fresh);
}

// Whether an address is the one that the socket is bound to.
__inline bool is_own(struct bpf_sock *sk, const struct peer *peer)
{
	const __u32 *words = (const __u32 *)peer->addr;

	if (peer->family == AF_INET)
		return sk->src_ip4 == words[0];
	return sk->src_ip6[0] == words[0] && sk->src_ip6[1] == words[1] && sk->src_ip6[2] == words[2] &&
	       sk->src_ip6[3] == words[3];
}

// Notes a datagram's peer, and says whether this is the first to it and the peer did not speak first.
static __attribute__((noinline)) bool is_first(struct sock_state *state, struct bpf_sock_addr *ctx,
					       const struct peer *peer)
{
	struct flow *flow;
	bool first;

	if (!state || ctx->type == SOCK_STREAM)
		return true;
	state->kind = (__u16)ctx->type;
	state->protocol = peer->protocol;
	flow = flow_with(state, ctx, peer, &first);
	if (flow && first)
		flow->flags |= HF_NET_OUTBOUND;
	return first;
}

// The state of a socket that the kernel itself contacts somebody with: one that it made, for a further path of MPTCP, has no
// owner and is in the cgroup of the socket that it stands for.
__inline struct sock_state *kernel_state(struct bpf_sock *sk)
{
	struct sock_state *state = sock_use(sk);
	struct sock *tcp;

	if (!state || state->owner.tgid)
		return state;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp)
		return state;
	state->owner.cgroup = READ2(sock_cgroup(tcp), kn, id);
	state->owner.origin = container_of_cgroup(state->owner.cgroup);
	return state;
}

// The state of the socket of a contact, made where it is needed: for the flows of a socket without connections, for the
// owner of what it asks of resolvers, and where the process does not act itself.
__inline struct sock_state *contact_state(struct bpf_sock_addr *ctx, __u32 type, const struct peer *peer,
					  const struct hf_process *process)
{
	if (type == HF_SENDTO || peer->port == DNS_PORT || unlikely(!process) || state_always())
		return sock_use(ctx->sk);
	if (unlikely(!process->origin) && is_kthread())
		return kernel_state(ctx->sk);
	// Of one with connections nothing is noted, nor asked, before there is one.
	if (ctx->type == SOCK_STREAM)
		return NULL;
	return bpf_sk_storage_get(&sock_states, ctx->sk, NULL, 0);
}

// An address that a process is about to contact, by connect or by a datagram. A datagram is reported when it is the
// first to this address from this socket; the rest is in the flow.
__inline int on_contact(struct bpf_sock_addr *ctx, __u32 type, struct peer *peer)
{
	struct hf_process *process;
	struct judgment judgment = {};
	struct sock_state *state;
	struct actor actor;
	bool first = true, fresh, watched = false;

	if (!in_force())
		return ALLOW;
	process = process_now();
	peer->port = swap16((__u16)ctx->user_port);
	peer->protocol = (__u16)ctx->protocol;
	state = contact_state(ctx, type, peer, process);
	actor_from(&actor, process, state);
	if (is_loopback(peer) || is_own(ctx->sk, peer) || (type == HF_SENDTO && state && peer_began(state, ctx, peer)))
		watched = net_watched(type, peer->addr, peer->family);
	else
		judge_contact(&judgment, &actor, peer, &watched);
	// What is refused is no flow.
	if (answer(&judgment) == ALLOW)
		first = is_first(state, ctx, peer);
	fresh = judgment.flag && contact_fresh(&judgment, &actor, type, peer);
	if (type == HF_SENDTO && !first && !fresh) {
		count_normal(type);
		return ALLOW;
	}
	if (net_wanted(type, actor.origin, watched) || fresh)
		contact_send(ctx, type, peer, watched, &judgment, fresh);
	return answer(&judgment);
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

// A bind that begins: what port the program asked for is not known when it has succeeded.
__inline int on_binding(struct bpf_sock_addr *ctx)
{
	struct sock_state *state;

	if (!in_force())
		return ALLOW;
	state = sock_use(ctx->sk);
	if (state)
		state->bind_port = swap16((__u16)ctx->user_port);
	return ALLOW;
}

SEC("cgroup/bind4")
int on_bind4(struct bpf_sock_addr *ctx)
{
	return on_binding(ctx);
}

SEC("cgroup/bind6")
int on_bind6(struct bpf_sock_addr *ctx)
{
	return on_binding(ctx);
}

// A bind that has succeeded, with the port that the kernel chose if it was asked to; refused, it is undone.
__inline int on_bound(struct bpf_sock *ctx, __u16 family, const __u8 *local)
{
	struct judgment judgment = {};
	struct sock_state *state;
	struct hf_policy policy;
	struct hf_net *record;
	struct actor actor;
	struct scratch *s;
	bool fresh, watched;

	if (!in_force())
		return ALLOW;
	state = sock_use(ctx);
	actor_of(&actor, state);
	if (state && state->bind_port && policy_of(actor.origin, &policy))
		judge(&judgment, &policy, listen_listed(&policy, &actor, ctx->protocol, state->bind_port),
		      HF_SIGNAL_EGRESS, HF_REASON_LISTEN);
	fresh = judgment_fresh(&judgment, &actor, HF_LISTEN, ctx->protocol << 16 | ctx->src_port);
	watched = addr_watched(local, family);
	if (!net_wanted(HF_BIND, actor.origin, watched) && !fresh)
		return answer(&judgment);
	s = net_begin(HF_BIND);
	if (!s)
		return answer(&judgment);
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
	net_send_judged(s, watched, &judgment, fresh);
	return answer(&judgment);
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
	struct judgment judgment = {};
	struct actor actor;

	// A socket of MPTCP listens through one of TCP, which is reported.
	if (ARG(ctx, 2, int) != TCP_LISTEN || READ1(sk, sk_protocol) == IPPROTO_MPTCP || !in_force())
		return 0;
	actor_of(&actor, NULL);
	judge_listening(&judgment, &actor, sk);
	listen_send(sk, (__u16)READ1(sk, sk_max_ack_backlog), &actor, &judgment);
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
		record_put(s, net_ring(s, watched));
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
	// An end is told of only where the beginning was noted.
	if (likely(op != BPF_SOCK_OPS_STATE_CB && !state_always() &&
		   (op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB || wanted_most(HF_ACCEPT) == WANT_NOT)))
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
