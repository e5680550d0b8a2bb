// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The text of TLS calls: noted when a call begins, sent when it is known how much of it counts.

#pragma once

#include "block.h"
#include "calls.h"
#include "descriptor.h"
#include "tls.h"

// The most that is taken of one call.
#define TLS_PIECES 64
#define TLS_MAX (TLS_PIECES * HF_CONTENT_MAX)

// The IP socket of a descriptor; NULL if it is none.
__inline struct sock *sock_of(__u32 fd)
{
	struct file *file = file_of(fd);
	struct sock *sk;

	if (!file || (READ2(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	sk = READ1((struct socket *)READ1(file, private_data), sk);
	return sk && is_inet(READ1(sk, __sk_common.skc_family)) ? sk : NULL;
}

__inline void flow_ends(struct tls_flow *flow, struct sock *sk)
{
	struct in6_addr local = {}, remote = {};
	__be32 *l = local.in6_u.u6_addr32, *r = remote.in6_u.u6_addr32;

	flow->family = READ1(sk, __sk_common.skc_family);
	flow->local_port = READ1(sk, __sk_common.skc_num);
	flow->remote_port = swap16(READ1(sk, __sk_common.skc_dport));
	if (flow->family == AF_INET) {
		addr_set4(flow->local, READ1(sk, __sk_common.skc_rcv_saddr));
		addr_set4(flow->remote, READ1(sk, __sk_common.skc_daddr));
		return;
	}
	bpf_probe_read_kernel(&local, sizeof(local), &sk->__sk_common.skc_v6_rcv_saddr);
	bpf_probe_read_kernel(&remote, sizeof(remote), &sk->__sk_common.skc_v6_daddr);
	addr_set6(flow->local, l[0], l[1], l[2], l[3]);
	flow->family = addr_set6(flow->remote, r[0], r[1], r[2], r[3]);
}

// Notes that the object has the socket of the descriptor, if it is one.
static __attribute__((noinline)) void tls_socket(const struct tls_key *key, __u32 fd)
{
	struct sock *sk = sock_of(fd);
	struct tls_flow fresh = { .given = fd + 1 }, *flow;
	struct tls_socket socket = { .key = *key }, *known;

	if (!sk)
		return;
	fresh.cookie = (__u64)READ1(sk, __sk_common.skc_cookie.counter);
	flow = bpf_map_lookup_elem(&tls_flows, key);
	if (flow && flow->cookie && flow->cookie == fresh.cookie)
		return;
	// Another connection of an object that is used again begins anew.
	if (flow && !flow->cookie) {
		__builtin_memcpy(fresh.sequence, flow->sequence, sizeof(fresh.sequence));
		__builtin_memcpy(fresh.skipped, flow->skipped, sizeof(fresh.skipped));
		fresh.block = flow->block;
	}
	flow_ends(&fresh, sk);
	if (fresh.cookie) {
		known = bpf_map_lookup_elem(&tls_sockets, &fresh.cookie);
		if (known)
			socket.flags = known->flags;
		fresh.flags = (__u16)socket.flags;
		bpf_map_update_elem(&tls_sockets, &fresh.cookie, &socket, BPF_ANY);
	}
	bpf_map_update_elem(&tls_flows, key, &fresh, BPF_ANY);
}

// Reads and sends one piece of what is at the address, from the buffer of the slot. 0 when there is no more to send.
__attribute__((noinline)) int tls_piece(__u32 slot, __u64 address, __u32 at)
{
	struct content_buffer *b = bpf_map_lookup_elem(&content_buffers, &slot);
	__u32 length;

	if (!b || at >= b->record.total)
		return 0;
	length = b->record.total - at;
	if (length > HF_CONTENT_MAX)
		length = HF_CONTENT_MAX;
	barrier_var(length);
	length = ((length - 1) & (HF_CONTENT_MAX - 1)) + 1;
	if (bpf_probe_read_user(b->text, length, (void *)(address + at)) < 0) {
		count(HF_C_CONTENT_READ);
		b->record.skipped += length;
		b->record.head.flags |= HF_F_PARTIAL;
	} else {
		content_put(b, at, length, BPF_RB_NO_WAKEUP);
	}
	b->record.sequence += length;
	return 1;
}

// What is known of the object, with its socket as soon as that has a cookie.
__inline struct tls_flow *tls_flow_of(const struct tls_key *key)
{
	struct tls_flow fresh = {}, *flow = bpf_map_lookup_elem(&tls_flows, key);

	if (flow && (flow->cookie || !flow->given))
		return flow;
	if (flow)
		tls_socket(key, flow->given - 1);
	else
		bpf_map_update_elem(&tls_flows, key, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&tls_flows, key);
}

__inline void tls_ends(struct hf_content *r, const struct tls_flow *flow)
{
	r->cookie = flow->cookie;
	__builtin_memcpy(r->local, flow->local, sizeof(r->local));
	__builtin_memcpy(r->remote, flow->remote, sizeof(r->remote));
	r->local_port = flow->local_port;
	r->remote_port = flow->remote_port;
	r->family = flow->family;
	r->protocol = IPPROTO_TCP;
}

// Sends so much of the call's text.
static __attribute__((noinline)) void tls_send(const struct hf_tls_call *call, __u64 size)
{
	struct tls_key key = { .object = call->object, .tgid = bpf_get_current_pid_tgid() >> 32 };
	__u32 want, flags, out = call->out != 0, taken = size > TLS_MAX ? TLS_MAX : (__u32)size, slot;
	struct content_buffer *b = NULL;
	struct tls_flow *flow;
	struct owner owner = {};
	struct hf_content *r;

	owner_set(&owner);
	want = content_want(owner.origin);
	flow = tls_flow_of(&key);
	if (!size || !flow || !(want & (out ? WANT_OUT : WANT_IN)))
		return;
	// The answers that a client gets are nobody's request.
	if (!out && (flow->flags & (TLS_DECIDED | HF_CONTENT_INBOUND)) == TLS_DECIDED)
		return;
	if (content_afford(owner.origin, taken))
		b = content_claim();
	if (!b) {
		flow->skipped[out] += (__u32)size;
		flow->sequence[out] += (__u32)size;
		return;
	}
	flags = (flow->flags & (TLS_SIDES & ~TLS_DECIDED)) | (out ? HF_CONTENT_OUT : 0);
	content_begin(b, &owner, owner.origin, flags, call->via);
	r = &b->record;
	if (out && flow->cookie && flow->block.refused)
		r->head.flags = HF_F_BLOCKED;
	tls_ends(r, flow);
	r->tls = key.object;
	r->sequence = flow->sequence[out];
	r->total = taken;
	r->skipped = flow->skipped[out];
	flow->sequence[out] += (__u32)size;
	flow->skipped[out] = (__u32)size - taken;
	slot = r->head.slot;
	for (__u32 i = 0; i < TLS_PIECES; i++) {
		if (!tls_piece(slot, call->buffer, i * HF_CONTENT_MAX))
			break;
	}
	content_release(b);
}

// Whether anything of the current process is wanted.
__inline bool tls_wanted(void)
{
	return content_want(origin_now(process_now())) != 0;
}

__inline void tls_caller_now(struct hf_tls_caller *caller)
{
	caller->ids = bpf_get_current_pid_tgid();
	caller->routine = 0;
}

// What is walked over of one call at most, 4 MiB: so many stretches of so many pieces. The verifier follows each piece of one stretch, and then
// each stretch, by itself.
#define TLS_STRETCHES 32
#define TLS_STRETCH (32 * HF_CONTENT_MAX)
#define TLS_WALKED (TLS_STRETCHES * TLS_STRETCH)

// Reads up to a stretch of what is at the address into the buffer of the slot, piece by piece, and walks over it. Gives the state.
__attribute__((noinline)) __u32 tls_stretch(__u32 slot, __u64 address, __u32 left, __u32 state)
{
	struct content_buffer *b = bpf_map_lookup_elem(&content_buffers, &slot);
	__u32 length;

	if (!b)
		return state;
	for (__u32 at = 0; at < TLS_STRETCH; at += HF_CONTENT_MAX) {
		if (left <= at)
			break;
		length = block_left(left, at);
		if (length > HF_CONTENT_MAX)
			length = HF_CONTENT_MAX;
		barrier_var(length);
		length = ((length - 1) & (HF_CONTENT_MAX - 1)) + 1;
		if (bpf_probe_read_user(b->text, length, (void *)(address + at)) < 0)
			count(HF_C_CONTENT_READ);
		else
			state = block_walk(slot, length, state);
	}
	return state;
}

// Walks over what is at the address. Gives the state.
__attribute__((noinline)) __u32 tls_range(__u32 slot, __u64 address, __u32 left, __u32 state)
{
	for (__u32 at = 0; at < TLS_WALKED; at += TLS_STRETCH) {
		if (left <= at)
			break;
		state = tls_stretch(slot, address + at, block_left(left, at), state);
	}
	return state;
}

// Judges what was found in the buffer.
__inline void tls_found(struct content_buffer *b, const struct owner *owner, struct tls_flow *flow)
{
	struct block_ends *ends = &b->ends;

	ends->owner = *owner;
	ends->cookie = flow->cookie;
	__builtin_memcpy(ends->local, flow->local, sizeof(ends->local));
	__builtin_memcpy(ends->remote, flow->remote, sizeof(ends->remote));
	ends->local_port = flow->local_port;
	ends->remote_port = flow->remote_port;
	ends->family = flow->family;
	ends->protocol = IPPROTO_TCP;
	if (block_judge(b->record.head.slot))
		flow->block.refused = 1;
}

// Walks over what is about to be encrypted. Where it must not leave, packets of its socket stop (refuse.h).
static __attribute__((noinline)) void tls_walk(const struct hf_tls_call *call)
{
	struct tls_key key = { .object = call->object, .tgid = bpf_get_current_pid_tgid() >> 32 };
	__u32 want, left;
	bool found;
	struct content_buffer *b;
	struct owner owner = {};
	struct tls_flow *flow;

	owner_set(&owner);
	want = content_want(owner.origin);
	flow = tls_flow_of(&key);
	if (!(want & WANT_WALK) || !flow)
		return;
	b = content_claim();
	if (!b)
		return;
	b->key.id = key.object;
	b->key.tgid = key.tgid;
	b->found = 0;
	left = call->size > TLS_WALKED ? TLS_WALKED : (__u32)call->size;
	flow->block.before = flow->block.walk;
	flow->block.walk = (__u16)tls_range(b->record.head.slot, call->buffer, left, flow->block.walk);
	found = b->found != 0;
	if (found)
		tls_found(b, &owner, flow);
	content_release(b);
	if (!found && want & WANT_BLOCK && block_begun(key.object, key.tgid, flow->block.walk)) {
		if (!flow->block.held)
			flow->block.held = bpf_ktime_get_boot_ns();
		return;
	}
	flow->block.held = 0;
}

// A call of a C library begins. What it calls within itself with the same text was walked over.
__inline int tls_begin(const struct hf_tls_call *call)
{
	struct hf_tls_caller caller;
	struct hf_tls_call *outer;

	if (!tls_wanted())
		return 0;
	tls_caller_now(&caller);
	outer = bpf_map_lookup_elem(&tls_calls, &caller);
	if (call->out && !(outer && outer->out && outer->object == call->object && outer->buffer == call->buffer))
		tls_walk(call);
	bpf_map_update_elem(&tls_calls, &caller, call, BPF_ANY);
	return 0;
}
