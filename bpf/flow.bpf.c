// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The reports of flows that are still going on. The agent reads the two iterators from time to time: one goes over the
// sockets, one over the flows of sockets with several peers. A flow is reported if something came since the last time.

#include "flow.h"

struct bpf_iter__bpf_sk_storage_map {
	void *meta;
	void *map;
	struct sock *sk;
	struct sock_state *value;
};

struct bpf_iter__bpf_map_elem {
	void *meta;
	void *map;
	struct flow_key *key;
	struct flow_entry *value;
};

// A flow of a socket with several peers that was idle for so long is over.
const volatile __u64 flow_idle = 60ull * 1000000000;

SEC("iter/bpf_sk_storage_map")
int on_sock_state(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct sock_state *state = ctx->value;
	struct sock *sk = ctx->sk;

	if (!state || !sk)
		return 0;
	if (READ1(sk, sk_protocol) != IPPROTO_TCP) {
		if (state->peer.family)
			flow_send(&state->owner, (__u64)READ1(sk, __sk_common.skc_cookie.counter), &state->peer,
				  &state->flow, state->kind, false);
		return 0;
	}
	// What has closed was reported then.
	if (READ1(sk, __sk_common.skc_state) != TCP_LISTEN && READ1(sk, __sk_common.skc_state) != TCP_CLOSE)
		flow_send_tcp(state, sk, false);
	return 0;
}

SEC("iter/bpf_map_elem")
int on_flow(struct bpf_iter__bpf_map_elem *ctx)
{
	struct flow_entry *entry = ctx->value;
	struct flow_key *at = ctx->key, key;
	bool closed;

	if (!entry || !at)
		return 0;
	key = *at;
	closed = bpf_ktime_get_boot_ns() - entry->flow.last > flow_idle;
	flow_send(&entry->owner, key.cookie, &key.peer, &entry->flow, entry->kind, closed);
	if (closed)
		bpf_map_delete_elem(&flow_by_peer, &key);
	return 0;
}

char __license[] SEC("license") = "Dual BSD/GPL";
