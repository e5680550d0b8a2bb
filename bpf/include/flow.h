// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Flows: how much a socket exchanged with a peer. TCP counts for itself and is read when a report is due, so that its
// packets cost nothing here. Of the others, the packets are counted: with the first peer in the socket's own state,
// with further ones (a server without connections) in a bounded map, which the agent's iteration empties of the idle.

#pragma once

#include "socket.h"

struct flow_key {
	__u64 cookie;
	struct peer peer;
};

struct flow_entry {
	// First: a pointer to the entry is one to the flow.
	struct flow flow;
	struct owner owner;
	__u16 kind;
	__u16 pad[3];
};

// Size set at load. When it is full, flows of further peers are not counted, and that is (HF_C_FLOW_MAP_FULL).
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct flow_key);
	__type(value, struct flow_entry);
} flow_by_peer SEC(".maps");

__inline bool peer_equal(const struct peer *a, const struct peer *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2];
}

__inline bool flow_answers(const struct flow *flow)
{
	return flow && flow->packets_in && !(flow->flags & HF_NET_OUTBOUND);
}

__inline const struct flow *flow_find(__u64 cookie, const struct peer *peer)
{
	struct flow_key key = { .cookie = cookie, .peer = *peer };

	return bpf_map_lookup_elem(&flow_by_peer, &key);
}

// Whether a peer spoke first: what goes to it then is an answer.
#define peer_began(state, ctx, who) \
	flow_answers(peer_equal(&(state)->peer, who) ? &(state)->flow : flow_find(bpf_get_socket_cookie(ctx), who))

// The flow with a peer, made when there is none; then *first is set. NULL (counted) when there is no room. The cookie is
// asked for where the peer is not the socket's first.
#define flow_with(state, ctx, with, first) \
	(likely(peer_equal(&(state)->peer, with)) ? (*(first) = false, &(state)->flow) \
						  : flow_other(state, bpf_get_socket_cookie(ctx), with, first))

__inline struct flow *flow_other(struct sock_state *state, __u64 cookie, const struct peer *peer, bool *first)
{
	struct flow_key key = { .cookie = cookie, .peer = *peer };
	struct flow_entry *entry, fresh = {};

	*first = false;
	if (!state->peer.family) {
		*first = true;
		state->peer = *peer;
		return &state->flow;
	}
	entry = bpf_map_lookup_elem(&flow_by_peer, &key);
	if (entry)
		return &entry->flow;
	*first = true;
	fresh.owner = state->owner;
	fresh.kind = state->kind;
	fresh.flow.last = bpf_ktime_get_boot_ns();
	if (bpf_map_update_elem(&flow_by_peer, &key, &fresh, BPF_NOEXIST) < 0)
		count(HF_C_FLOW_MAP_FULL);
	return bpf_map_lookup_elem(&flow_by_peer, &key);
}

// Reports a flow of a socket without connections, unless nothing came since the last report.
__inline void flow_send(const struct owner *owner, __u64 cookie, const struct peer *peer, struct flow *flow, __u16 kind,
			bool closed)
{
	__u64 packets = flow->packets_out + flow->packets_in;
	struct hf_net *record;
	struct scratch *s;

	if (!packets || (packets == flow->reported && !closed))
		return;
	flow->reported = packets;
	if (!net_wanted(HF_FLOW, owner->origin, false))
		return;
	s = net_begin_owner(HF_FLOW, owner);
	if (!s)
		return;
	record = (struct hf_net *)s->bytes;
	record->cookie = cookie;
	__builtin_memcpy(record->local, flow->local, sizeof(record->local));
	__builtin_memcpy(record->remote, peer->addr, sizeof(record->remote));
	record->local_port = flow->local_port;
	record->remote_port = peer->port;
	record->family = peer->family;
	record->protocol = peer->protocol;
	record->kind = kind;
	record->net_flags |= flow->flags;
	record->bytes_out = flow->bytes_out;
	record->bytes_in = flow->bytes_in;
	record->packets_out = flow->packets_out;
	record->packets_in = flow->packets_in;
	if (closed)
		record->net_flags |= HF_NET_CLOSED;
	record_put(s, RING_BULK);
}

// Bit of a socket's flags that says the peer's FIN has come (include/net/sock.h, SOCK_DONE).
#define SOCK_DONE 1

// Reports a TCP connection from TCP's own counters, unless nothing was exchanged since the last report.
__inline void flow_send_tcp(struct sock_state *state, struct sock *sk, bool closed)
{
	struct tcp_sock *tcp = (struct tcp_sock *)sk;
	__u64 packets_out = READ1(tcp, data_segs_out), packets_in = READ1(tcp, data_segs_in);
	struct hf_net *record;
	struct scratch *s;

	if (packets_out + packets_in == state->flow.reported && !closed)
		return;
	state->flow.reported = packets_out + packets_in;
	if (!net_wanted(HF_FLOW, state->owner.origin, false))
		return;
	s = net_begin_owner(HF_FLOW, &state->owner);
	if (!s)
		return;
	record = (struct hf_net *)s->bytes;
	net_from_sock(record, sk);
	record->net_flags |= state->flow.flags;
	record->packets_out = packets_out;
	record->packets_in = packets_in;
	record->bytes_out = READ1(tcp, bytes_sent) - READ1(tcp, bytes_retrans);
	// A FIN takes a number of the sequence, and TCP counts it among the bytes.
	record->bytes_in = READ1(tcp, bytes_received);
	if (record->bytes_in && READ1(sk, __sk_common.skc_flags) & (1 << SOCK_DONE))
		record->bytes_in--;
	if (closed)
		record->net_flags |= HF_NET_CLOSED;
	record_put(s, RING_BULK);
}
