// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Sockets that listen. A port that a program binds to is judged then; at listen(2) what is left are the ports that the
// kernel chooses, which a policy knows as port 0, and sockets that were bound before there was a policy.

#pragma once

#include "egress.h"

// A bit of sk_userlocks (include/net/sock.h): the program asked for the port.
#define SOCK_BINDPORT_LOCK 8

// Another place in 5.10 than later.
struct sock___locks {
	unsigned int sk_userlocks : 4;
} __core;

__inline bool port_was_asked(struct sock *sk)
{
	struct sock___locks *locks = (struct sock___locks *)sk;
	__u64 bits = 0;

	bpf_probe_read_kernel(&bits, __builtin_preserve_field_info(locks->sk_userlocks, 1),
			      (char *)sk + __builtin_preserve_field_info(locks->sk_userlocks, 0));
	bits <<= __builtin_preserve_field_info(locks->sk_userlocks, 4);
	bits >>= __builtin_preserve_field_info(locks->sk_userlocks, 5);
	return bits & SOCK_BINDPORT_LOCK;
}

// What a socket of MPTCP listens through, which is bound in its place (net/mptcp/protocol.h).
struct mptcp_sock {
	struct sock *first;
} __core;

// The port that the program asked for; 0 for one that the kernel chose.
__inline __u16 listen_port(struct sock *sk)
{
	if (READ1(sk, sk_protocol) == IPPROTO_MPTCP && field_exists(struct mptcp_sock, first))
		sk = READ1((struct mptcp_sock *)sk, first);
	return port_was_asked(sk) ? READ1(sk, __sk_common.skc_num) : 0;
}

// Whether the current process may not listen with the socket; then it is counted.
__inline bool listen_refused(struct judgment *to, const struct actor *actor, struct sock *sk)
{
	struct hf_policy policy;

	if (!policy_of(actor->origin, &policy) || verdict_of(&policy, HF_SIGNAL_EGRESS) != VERDICT_BLOCK ||
	    listen_listed(&policy, actor, READ1(sk, sk_protocol), listen_port(sk)))
		return false;
	judge(to, &policy, false, HF_SIGNAL_EGRESS, HF_REASON_LISTEN);
	return true;
}

// Judges a socket that listens already.
__inline void judge_listening(struct judgment *to, const struct actor *actor, struct sock *sk)
{
	struct hf_policy policy;
	bool listed;

	if (!policy_of(actor->origin, &policy))
		return;
	listed = listen_listed(&policy, actor, READ1(sk, sk_protocol), listen_port(sk));
	judge_late(to, &policy, listed, HF_SIGNAL_EGRESS, HF_REASON_LISTEN);
}

// Reports a socket that listens or was to. Bind and listen of a port that is not listed are told as one.
__inline void listen_send(struct sock *sk, __u16 backlog, const struct actor *actor, const struct judgment *judgment)
{
	struct hf_net *record;
	struct scratch *s = net_begin(HF_LISTEN);
	bool fresh, watched;

	if (!s)
		return;
	record = (struct hf_net *)s->bytes;
	net_from_sock(record, sk);
	record->backlog = backlog;
	watched = addr_watched(record->local, record->family);
	fresh = judgment_fresh(judgment, actor, HF_LISTEN, (__u64)record->protocol << 16 | record->local_port);
	if (net_wanted(HF_LISTEN, record->head.origin, watched) || fresh)
		net_send_judged(s, watched, judgment, fresh);
	else
		scratch_release(s);
}
