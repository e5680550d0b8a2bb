// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What is kept of the sockets of inspected containers, and how one is tied to the TLS object that has it.

#pragma once

#include "block.h"
#include "tls.h"

struct content_sock {
	struct owner owner;
	// The TLS object that has the socket; 0 while none is known.
	__u64 tls;
	// By direction, as in tls_flow.
	__u32 skipped[2];
	// content_sock_flag
	__u16 flags;
	// What left is walked over up to the sequence number, and the state there.
	__u16 walk;
	__u32 walked;
	// Since when nothing leaves, because a value may have begun; 0: nothing waits.
	__u64 held;
};

enum content_sock_flag {
	// It was made while programs were attached; or is a listener, whose flags connections inherit.
	SOCK_MADE = 1,
	// Who began is known, or guessed.
	SOCK_DECIDED = 2,
	SOCK_INBOUND = HF_CONTENT_INBOUND << 4,
	SOCK_GUESSED = HF_CONTENT_GUESSED << 4,
	SOCK_TLS = 256,
	// The owner is the process that sends.
	SOCK_SENDER = 512,
	// walk and walked hold.
	SOCK_WALKED = 1024,
	// Nothing leaves it any more.
	SOCK_REFUSED = 2048,
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, __u32);
	__type(value, struct content_sock);
} content_socks SEC(".maps");

// Who is in a call to a TLS library now, on this processor: of the socket's own process, so that a packet that goes out while
// another is interrupted is not taken for its.
__inline const struct hf_tls_call *call_now(const struct owner *owner)
{
	struct task_struct *task = current_task();
	struct hf_tls_caller caller = {};
	const struct hf_tls_call *call;

	caller.ids = (__u64)READ1(task, tgid) << 32 | (__u32)READ1(task, pid);
	if (owner->tgid && owner->tgid != caller.ids >> 32)
		return NULL;
	call = bpf_map_lookup_elem(&tls_calls, &caller);
	if (call)
		return call;
	caller.routine = IN_HANDSHAKE;
	return bpf_map_lookup_elem(&tls_calls, &caller);
}

// Who began, as the maps of TLS have it.
__inline __u16 sides(const struct content_sock *state)
{
	return ((state->flags >> 4) & (HF_CONTENT_INBOUND | HF_CONTENT_GUESSED)) | TLS_DECIDED;
}

// The object that has the socket, if one is known; and notes for the probes that TLS is on it.
__inline bool tls_object(struct content_sock *state, __u64 cookie, bool out, struct tls_key *key)
{
	struct tls_socket *known = bpf_map_lookup_elem(&tls_sockets, &cookie), fresh = {};
	const struct hf_tls_call *call = NULL;

	if (known && known->key.object) {
		*key = known->key;
		return true;
	}
	if (out)
		call = call_now(&state->owner);
	if (call) {
		key->object = call->object;
		key->tgid = READ1(current_task(), tgid);
	}
	if (call || (!known && state->flags & SOCK_TLS)) {
		fresh.key = *key;
		fresh.flags = sides(state);
		bpf_map_update_elem(&tls_sockets, &cookie, &fresh, BPF_ANY);
	}
	return call != NULL;
}

// Ties the socket to the TLS object that has it, if one is known.
static __attribute__((noinline)) void tls_bind(struct __sk_buff *skb, struct content_sock *state, struct packet *packet,
					       bool out)
{
	__u64 cookie = bpf_get_socket_cookie(skb);
	struct tls_flow fresh = {}, *flow;
	struct tls_key key = {};

	if (!tls_object(state, cookie, out, &key))
		return;
	flow = bpf_map_lookup_elem(&tls_flows, &key);
	if (flow && flow->cookie == cookie) {
		__builtin_memcpy(fresh.sequence, flow->sequence, sizeof(fresh.sequence));
		__builtin_memcpy(fresh.skipped, flow->skipped, sizeof(fresh.skipped));
	}
	if (flow && (flow->cookie == cookie || !flow->cookie))
		fresh.block = flow->block;
	fresh.cookie = cookie;
	__builtin_memcpy(fresh.local, packet->local, sizeof(fresh.local));
	__builtin_memcpy(fresh.remote, packet->peer.addr, sizeof(fresh.remote));
	fresh.local_port = packet->local_port;
	fresh.remote_port = packet->peer.port;
	fresh.family = packet->peer.family;
	fresh.flags = sides(state);
	bpf_map_update_elem(&tls_flows, &key, &fresh, BPF_ANY);
	state->tls = key.object;
}
