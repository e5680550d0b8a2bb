// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What is shared by all that takes content: who is inspected, what may be spent on it, and how a record is made. These
// programs are attached while a container asks, and are not pinned: what they judge (block.h), they judge while the agent runs.

#pragma once

#include "packet.h"
#include "policy.h"

// Buffers of a CPU, as those of record.h.
#define CONTENT_SLOTS 4

// A connection, by its cookie and 0, or by the TLS object and its process; and a detector.
struct block_key {
	__u64 id;
	__u64 tgid;
	__u64 detector;
};

// What left, since the time: how many values, and how many different ones, by their hashes.
struct block_count {
	__u64 since;
	__u32 count;
	__u32 distinct;
	__u32 hash[HF_BLOCK_VALUES];
};

// Where it goes, and who sends it.
struct block_ends {
	struct owner owner;
	__u64 cookie;
	__u8 local[16];
	__u8 remote[16];
	__u16 local_port;
	__u16 remote_port;
	__u16 family;
	__u16 protocol;
};

struct content_buffer {
	__u64 users;
	__u64 seq;
	// The connection whose text is walked over (block.h), and the number and one of the detector of which there is too much.
	struct block_key key;
	struct block_count fresh;
	__u64 found;
	// That of what was found (block_hash).
	__u64 hash;
	struct block_ends ends;
	struct hf_content record;
	__u8 text[HF_CONTENT_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CONTENT_SLOTS);
	__type(key, __u32);
	__type(value, struct content_buffer);
} content_buffers SEC(".maps");

// Size set at load.
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 23);
} ring_content SEC(".maps");

// Container -> that it is inspected, written by the agent; and what was spent on it, of which the agent makes the entry.
// Sizes set at load.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct hf_content_asked);
} content_asked SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct hf_content_spent);
} content_spent SEC(".maps");

// What is wanted of a container.
#define WANT_OUT 1
#define WANT_IN 2
// What leaves is walked over; and does not leave if it must not.
#define WANT_WALK 4
#define WANT_BLOCK 8

// What leaves, for the one signal; of what comes, the requests to servers, for the other.
__inline __u32 content_want(__u64 origin)
{
	struct hf_policy policy;
	__u32 want = 0;

	if (!origin || !bpf_map_lookup_elem(&content_asked, &origin) || !policy_of(origin, &policy))
		return 0;
	if (mode_of(&policy, HF_SIGNAL_DLP) != HF_MODE_OFF)
		want |= WANT_OUT;
	if (mode_of(&policy, HF_SIGNAL_DLP) >= HF_MODE_MONITOR)
		want |= WANT_WALK;
	if (mode_of(&policy, HF_SIGNAL_DLP) == HF_MODE_ENFORCE)
		want |= WANT_BLOCK;
	if (mode_of(&policy, HF_SIGNAL_WAF) != HF_MODE_OFF)
		want |= WANT_IN;
	return want;
}

// What a record costs beside its text.
#define CONTENT_OVERHEAD 256

// How often a bucket is filled, at most.
#define CONTENT_FILL 10000000ull

// Takes bytes from the container's budget. False, and counted, when there is less in it. Processors that fill or take at the
// same instant may give some milliseconds' worth too much: the bound is on what is spent over time.
__inline bool content_afford(__u64 origin, __u32 bytes)
{
	struct hf_content_asked *asked = bpf_map_lookup_elem(&content_asked, &origin);
	struct hf_content_spent *spent = bpf_map_lookup_elem(&content_spent, &origin);
	__u64 now = bpf_ktime_get_boot_ns(), passed, left;

	if (!asked || !spent)
		return false;
	passed = now - spent->last;
	left = spent->tokens;
	if (passed > CONTENT_FILL && now > spent->last) {
		spent->last = now;
		// In thousandths of a second, so that nothing overflows.
		if (passed > 60000000000ull)
			passed = 60000000000ull;
		left += passed / 1000000 * asked->rate / 1000;
		if (left > asked->burst)
			left = asked->burst;
		spent->tokens = left;
	}
	if (left < bytes + CONTENT_OVERHEAD) {
		__sync_fetch_and_add(&spent->skipped_bytes, bytes);
		__sync_fetch_and_add(&spent->skipped_packets, 1);
		return false;
	}
	spent->tokens = left - bytes - CONTENT_OVERHEAD;
	return true;
}

__inline struct content_buffer *content_try(__u32 slot)
{
	struct content_buffer *b = bpf_map_lookup_elem(&content_buffers, &slot);

	if (!b)
		return NULL;
	__sync_fetch_and_add(&b->users, 1);
	if (*(volatile __u64 *)&b->users == 1) {
		b->record.head.slot = (__u8)slot;
		return b;
	}
	__sync_fetch_and_add(&b->users, -1);
	return NULL;
}

// NULL, and counted, when none is free.
__inline struct content_buffer *content_claim(void)
{
	struct content_buffer *b = content_try(0);

	if (!b)
		b = content_try(1);
	if (!b)
		b = content_try(2);
	if (!b)
		b = content_try(3);
	if (!b)
		count(HF_C_SCRATCH_BUSY);
	return b;
}

__inline void content_release(struct content_buffer *b)
{
	__sync_fetch_and_add(&b->users, -1);
}

// Fills the record, but for its ends and pieces.
__inline void content_begin(struct content_buffer *b, const struct owner *owner, __u64 origin, __u32 flags, __u32 via)
{
	__u8 slot = b->record.head.slot;
	struct hf_content *r = &b->record;

	__builtin_memset(r, 0, sizeof(*r));
	r->head.slot = slot;
	r->head.type = HF_CONTENT;
	r->head.ring = RING_CONTENT;
	r->head.time = bpf_ktime_get_boot_ns();
	r->head.cpu = (__u16)bpf_get_smp_processor_id();
	r->head.tgid = owner->tgid;
	r->head.tid = owner->tid;
	r->head.start = owner->start;
	r->head.cgroup = owner->cgroup;
	r->head.origin = origin;
	r->content_flags = (__u16)flags;
	r->via = (__u8)via;
}

// Puts a piece on the ring whose text is in the buffer. The length is at most HF_CONTENT_MAX.
__inline bool content_put(struct content_buffer *b, __u32 at, __u32 length, __u64 wake)
{
	struct hf_content *r = &b->record;
	struct hf_content_spent *spent = bpf_map_lookup_elem(&content_spent, &r->head.origin);
	__u32 size = sizeof(*r) + length;

	r->head.size = (__u16)size;
	r->head.seq = b->seq++;
	r->at = at;
	r->length = (__u16)length;
	if (at + length >= r->total)
		r->content_flags |= HF_CONTENT_LAST;
	if (size > sizeof(*r) + HF_CONTENT_MAX)
		return false;
	if (bpf_ringbuf_output(&ring_content, r, size, wake) < 0) {
		count(HF_C_RING_CONTENT_FULL);
		if (spent)
			__sync_fetch_and_add(&spent->lost_bytes, length);
		return false;
	}
	if (spent) {
		__sync_fetch_and_add(&spent->bytes, length);
		__sync_fetch_and_add(&spent->records, 1);
	}
	r->skipped = 0;
	return true;
}
