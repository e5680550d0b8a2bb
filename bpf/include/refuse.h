// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Whether a packet that leaves is dropped, for what it carries (block.h) or for what was handed to a TLS library for its socket.
// What the kernel could not send stays in the queue of a TCP socket, and is tried again with what follows: so from the first
// packet that is refused nothing more leaves, until the agent ends the connection or the program does.

#pragma once

#include "contentsock.h"

// The pieces of the largest packet that the stack hands over, 512 KiB.
#define BLOCK_PIECES 128

// Reads the packet from the offset on into the buffer of the slot, piece by piece, and walks over it. Gives the state.
__attribute__((noinline)) __u32 block_range(struct __sk_buff *skb, __u32 slot, __u32 offset, __u32 left, __u32 state)
{
	struct content_buffer *b = bpf_map_lookup_elem(&content_buffers, &slot);
	__u32 length;

	if (!b)
		return state;
	for (__u32 i = 0; i < BLOCK_PIECES; i++) {
		if (left <= i * HF_CONTENT_MAX)
			break;
		length = block_left(left, i * HF_CONTENT_MAX);
		if (length > HF_CONTENT_MAX)
			length = HF_CONTENT_MAX;
		barrier_var(length);
		length = ((length - 1) & (HF_CONTENT_MAX - 1)) + 1;
		if (bpf_skb_load_bytes(skb, offset + i * HF_CONTENT_MAX, b->text, length) < 0) {
			count(HF_C_PACKET_READ);
			break;
		}
		state = block_walk(slot, length, state);
	}
	return state;
}

// Notes in the buffer where the packet goes.
__inline void packet_ends(struct content_buffer *b, struct __sk_buff *skb, const struct content_sock *state,
			  const struct packet *packet)
{
	struct block_ends *ends = &b->ends;

	ends->owner = state->owner;
	ends->cookie = bpf_get_socket_cookie(skb);
	__builtin_memcpy(ends->local, packet->local, sizeof(ends->local));
	__builtin_memcpy(ends->remote, packet->peer.addr, sizeof(ends->remote));
	ends->local_port = packet->local_port;
	ends->remote_port = packet->peer.port;
	ends->family = packet->peer.family;
	ends->protocol = packet->peer.protocol;
}

// Tells the agent that the socket whose ends are in the buffer of the slot is to be ended.
__attribute__((noinline)) int refused_send(__u32 slot)
{
	struct content_buffer *b = bpf_map_lookup_elem(&content_buffers, &slot);
	struct block_ends *ends;
	struct hf_content *r;

	if (!b)
		return 0;
	ends = &b->ends;
	content_begin(b, &ends->owner, ends->owner.origin, HF_CONTENT_OUT, HF_VIA_PACKET);
	r = &b->record;
	r->head.type = HF_CONTENT_REFUSED;
	r->head.size = sizeof(*r);
	r->head.seq = b->seq++;
	r->cookie = ends->cookie;
	__builtin_memcpy(r->local, ends->local, sizeof(r->local));
	__builtin_memcpy(r->remote, ends->remote, sizeof(r->remote));
	r->local_port = ends->local_port;
	r->remote_port = ends->remote_port;
	r->family = ends->family;
	r->protocol = ends->protocol;
	if (bpf_ringbuf_output(&ring_content, r, sizeof(*r), BPF_RB_FORCE_WAKEUP) < 0)
		count(HF_C_RING_CONTENT_FULL);
	return 1;
}

// What the probes of TLS have said of the socket: that it is refused, or since when it waits.
__inline bool tls_refused(__u64 cookie, __u64 *held)
{
	struct tls_socket *known = bpf_map_lookup_elem(&tls_sockets, &cookie);
	struct tls_flow *flow;
	struct tls_key key;

	if (!known)
		return false;
	key = known->key;
	flow = bpf_map_lookup_elem(&tls_flows, &key);
	if (!flow || flow->cookie != cookie)
		return false;
	*held = flow->block.held;
	return flow->block.refused;
}

__inline bool still_held(__u64 held)
{
	return held && bpf_ktime_get_boot_ns() - held < BLOCK_HOLD;
}

// What becomes of a packet. What waits is sent again, and walked over no more.
enum { PASSES, WAITS, REFUSED };

// Walks over what of the packet was not walked over before, and gives what becomes of it, if it may be refused. What is not TCP
// begins anew with each packet.
__inline int packet_walk(struct content_buffer *b, struct __sk_buff *skb, struct content_sock *state,
			 const struct packet *packet, __u32 want)
{
	bool tcp = packet->peer.protocol == IPPROTO_TCP;
	__u32 from = 0, slot = b->record.head.slot;

	if (tcp && state->flags & SOCK_WALKED && (__s32)(state->walked - packet->sequence) >= 0)
		from = state->walked - packet->sequence;
	else
		state->walk = 0;
	if (from < packet->length) {
		b->key.id = b->ends.cookie;
		b->key.tgid = 0;
		b->found = 0;
		state->walk = (__u16)block_range(skb, slot, packet->offset + from, packet->length - from, state->walk);
		state->walked = packet->sequence + packet->length;
		state->flags |= SOCK_WALKED;
		if (b->found)
			return block_judge(slot) ? REFUSED : PASSES;
		if (!(want & WANT_BLOCK) || !tcp || !block_begun(b->key.id, 0, state->walk))
			state->held = 0;
		else if (!state->held)
			state->held = bpf_ktime_get_boot_ns();
	}
	return still_held(state->held) ? WAITS : PASSES;
}

// What becomes of a packet with something in it.
static __attribute__((noinline)) int refuses(struct __sk_buff *skb, struct content_sock *state,
					     const struct packet *packet, __u32 want)
{
	struct content_buffer *b = content_claim();
	__u64 held = 0;
	int fate;

	// The stack tries again.
	if (!b)
		return want & WANT_BLOCK ? WAITS : PASSES;
	packet_ends(b, skb, state, packet);
	if (state->flags & SOCK_TLS && state->tls)
		fate = tls_refused(b->ends.cookie, &held) ? REFUSED : still_held(held) ? WAITS : PASSES;
	else
		fate = packet_walk(b, skb, state, packet, want);
	if (!(want & WANT_BLOCK))
		fate = PASSES;
	if (fate == REFUSED && packet->peer.protocol == IPPROTO_TCP) {
		state->flags |= SOCK_REFUSED;
		refused_send(b->record.head.slot);
	}
	content_release(b);
	return fate;
}
