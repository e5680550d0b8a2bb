// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Whether what leaves holds a value that must not: the automaton of rules/dlp, walked over what is in a buffer of content.h, and
// what becomes of a value that it finds. A connection carries its state on, so that a value is found that is in parts.

#pragma once

#include "content.h"
#include "egress.h"

// Made by the agent before a container is inspected.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hf_block);
} block_table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, HF_BLOCK_DETECTORS);
	__type(key, __u32);
	__type(value, struct hf_block_detector);
} block_detectors SEC(".maps");

// Of detectors of which one value may leave.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct block_key);
	__type(value, struct block_count);
} block_counts SEC(".maps");

// How long what may be the begin of a value waits for the rest. What could not be sent the stack tries again when there is more
// to send, and after 200 ms, 400 ms more and so on.
#define BLOCK_HOLD 500000000ull

// Letters and digits of a value by which it is told from others, and the bytes that they are in at most.
#define BLOCK_HASHED 12
#define BLOCK_LOOKED 19

// A hash of the last letters and digits before the end in the buffer. It begins with what is read from memory, of which the verifier
// knows nothing: that of Linux 7 would follow each hash that there may be.
__inline __u32 block_hash(struct content_buffer *b, __u32 end)
{
	__u32 hash, taken = 0;
	__u8 c;

	b->hash = 2166136261;
	hash = (__u32) * (volatile __u64 *)&b->hash;
	for (__u32 i = 1; i <= BLOCK_LOOKED; i++) {
		if (i > end || taken == BLOCK_HASHED)
			break;
		c = b->text[(end - i) & (HF_CONTENT_MAX - 1)];
		if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')) {
			hash = (hash ^ c) * 16777619;
			taken++;
		}
	}
	return hash;
}

// Whether so many left that one more is too many.
__inline bool block_full(const struct hf_block_detector *d, __u32 count, __u32 distinct)
{
	return count >= d->count && distinct >= d->distinct;
}

// Counts a value of the detector in the key of the buffer.
__inline struct block_count *block_counted(struct content_buffer *b, const struct hf_block_detector *d, __u32 hash)
{
	struct block_count *c = bpf_map_lookup_elem(&block_counts, &b->key);
	__u64 now = bpf_ktime_get_boot_ns();
	bool known = false;

	if (!c || now - c->since > d->window) {
		__builtin_memset(&b->fresh, 0, sizeof(b->fresh));
		b->fresh.since = now;
		bpf_map_update_elem(&block_counts, &b->key, &b->fresh, BPF_ANY);
		c = bpf_map_lookup_elem(&block_counts, &b->key);
		if (!c)
			return NULL;
	}
	for (__u32 i = 0; i < HF_BLOCK_VALUES; i++)
		known |= i < c->distinct && c->hash[i] == hash;
	c->count++;
	if (!known) {
		c->hash[c->distinct & (HF_BLOCK_VALUES - 1)] = hash;
		if (c->distinct < HF_BLOCK_VALUES)
			c->distinct++;
	}
	return c;
}

// A value has ended in the state, before the end in the text of the slot: notes in the buffer whether it is one too many.
__attribute__((noinline)) int block_accept(__u32 slot, __u32 end, __u32 state)
{
	struct content_buffer *b = bpf_map_lookup_elem(&content_buffers, &slot);
	__u32 at = 0;
	const struct hf_block *t = bpf_map_lookup_elem(&block_table, &at);
	struct hf_block_detector *d;
	struct block_count *c;

	if (!b || !t)
		return 0;
	at = t->accept[state & (HF_BLOCK_STATES - 1)];
	if (!at)
		return 0;
	at--;
	d = bpf_map_lookup_elem(&block_detectors, &at);
	if (!d)
		return 0;
	b->key.detector = at;
	if (d->count > 1 || d->distinct > 1) {
		c = block_counted(b, d, block_hash(b, end));
		if (c && !block_full(d, c->count, c->distinct))
			return 0;
	}
	b->found = b->key.detector + 1;
	return 1;
}

// Bytes of a step. In most of them no value ends.
#define BLOCK_STEP 32

// The state that a byte leads to. The place in the table is bounded by the last thing that is done to it: of more the verifier of
// 5.10 loses track.
__inline __u32 block_next(const struct hf_block *t, __u32 state, __u32 byte)
{
	__u32 at = state * HF_BLOCK_CLASSES + (t->classes[byte & 255] & (HF_BLOCK_CLASSES - 1));

	at *= sizeof(t->next[0]);
	barrier_var(at);
	at &= sizeof(t->next) - sizeof(t->next[0]);
	return *(const __u16 *)((const __u8 *)t->next + at);
}

#define BLOCK_BYTE(i) \
	do { \
		v = block_next(t, v, text[i]); \
		seen |= v; \
	} while (0)

#define BLOCK_BYTES4(i) \
	do { \
		BLOCK_BYTE(i); \
		BLOCK_BYTE((i) + 1); \
		BLOCK_BYTE((i) + 2); \
		BLOCK_BYTE((i) + 3); \
		barrier_var(v); \
		barrier_var(seen); \
	} while (0)

// Walks over up to a step from a place in the text of the slot, a byte at a time. Gives the state.
__attribute__((noinline)) __u32 block_slow(__u32 slot, __u32 at, __u32 bytes, __u32 state)
{
	struct content_buffer *b = bpf_map_lookup_elem(&content_buffers, &slot);
	__u32 zero = 0, v = state;
	const struct hf_block *t = bpf_map_lookup_elem(&block_table, &zero);

	if (!b || !t)
		return 0;
	for (__u32 i = 0; i < BLOCK_STEP; i++) {
		if (i >= bytes)
			break;
		v = block_next(t, v, b->text[(at + i) & (HF_CONTENT_MAX - 1)]);
		if (v & HF_BLOCK_ACCEPT)
			block_accept(slot, at + i + 1, v);
	}
	return v & (HF_BLOCK_STATES - 1);
}

// Walks over 32 bytes from a place in the text of the slot. Gives the state, with HF_BLOCK_ACCEPT where a value ends in them: then
// they are to be walked over again.
__attribute__((noinline)) __u32 block_fast(__u32 slot, __u32 at, __u32 state)
{
	struct content_buffer *b = bpf_map_lookup_elem(&content_buffers, &slot);
	__u32 zero = 0, v = state, seen = 0;
	const struct hf_block *t = bpf_map_lookup_elem(&block_table, &zero);
	const __u8 *text;

	if (!b || !t)
		return 0;
	text = b->text + (at & (HF_CONTENT_MAX - BLOCK_STEP));
	BLOCK_BYTES4(0);
	BLOCK_BYTES4(4);
	BLOCK_BYTES4(8);
	BLOCK_BYTES4(12);
	BLOCK_BYTES4(16);
	BLOCK_BYTES4(20);
	BLOCK_BYTES4(24);
	BLOCK_BYTES4(28);
	return (v & (HF_BLOCK_STATES - 1)) | (seen & HF_BLOCK_ACCEPT);
}

// What is left from a place on, of less than 2 GiB. The verifier of Linux 7 knows how a register came from another by adding, and so of the
// length what is found out of the rest, a different thing in each round of a loop; with the bits cut it does not, and one round looks like
// the other.
__inline __u32 block_left(__u32 length, __u32 at)
{
	length -= at;
	barrier_var(length);
	return length & 0x7fffffff;
}

// Walks over so much of the text of the slot, at most HF_CONTENT_MAX, and gives the state.
__attribute__((noinline)) __u32 block_walk(__u32 slot, __u32 length, __u32 state)
{
	__u32 left, next;

	for (__u32 at = 0; at < HF_CONTENT_MAX; at += BLOCK_STEP) {
		if (at >= length)
			break;
		left = block_left(length, at);
		next = HF_BLOCK_ACCEPT;
		if (left >= BLOCK_STEP)
			next = block_fast(slot, at, state);
		if (next & HF_BLOCK_ACCEPT)
			next = block_slow(slot, at, left, state);
		barrier_var(next);
		state = next & (HF_BLOCK_STATES - 1);
	}
	return state;
}

// Whether a value has begun in the state that would be one too many for the connection.
__attribute__((noinline)) int block_begun(__u64 id, __u64 tgid, __u32 state)
{
	struct block_key key = { .id = id, .tgid = tgid };
	__u32 zero = 0, detector;
	const struct hf_block *t = bpf_map_lookup_elem(&block_table, &zero);
	struct hf_block_detector *d;
	struct block_count *c;

	if (!t)
		return false;
	detector = t->partial[state & (HF_BLOCK_STATES - 1)];
	if (!detector)
		return false;
	detector--;
	d = bpf_map_lookup_elem(&block_detectors, &detector);
	if (!d)
		return false;
	if (d->count <= 1 && d->distinct <= 1)
		return true;
	key.detector = detector;
	c = bpf_map_lookup_elem(&block_counts, &key);
	return c && block_full(d, c->count + 1, c->distinct + 1);
}

// The name of the detector as the text of the record.
__inline void block_name(struct scratch *s, struct hf_net *record, __u32 detector)
{
	const struct hf_block_detector *d = bpf_map_lookup_elem(&block_detectors, &detector);

	if (!d || d->name_len > sizeof(d->name))
		return;
	__builtin_memcpy(s->bytes + sizeof(*record), d->name, sizeof(d->name));
	record->path_len = (__u16)d->name_len;
	s->size = sizeof(*record) + d->name_len;
}

// Judges that a value of the detector that was found in the buffer of the slot is about to leave to its ends, and reports it. Whether it
// is refused. Without a socket nothing can be stopped for sure, and so nothing is told to be. Not static, as what is above: so the
// verifier looks at it once, not once for each way that leads here.
__attribute__((noinline)) int block_judge(__u32 slot)
{
	struct content_buffer *b = bpf_map_lookup_elem(&content_buffers, &slot);
	struct judgment judgment = {};
	struct actor actor = {};
	struct hf_policy policy;
	struct block_ends *ends;
	struct hf_net *record;
	struct scratch *s;
	int blocks;

	if (!b)
		return 0;
	ends = &b->ends;
	actor.origin = ends->owner.origin;
	if (!policy_of(actor.origin, &policy))
		return 0;
	actor.exe = exe_of(ends->owner.tgid);
	blocks = verdict_of(&policy, HF_SIGNAL_DLP) == VERDICT_BLOCK;
	if (ends->cookie)
		judge(&judgment, &policy, false, HF_SIGNAL_DLP, HF_REASON_CONTENT);
	else
		judge_late(&judgment, &policy, false, HF_SIGNAL_DLP, HF_REASON_CONTENT);
	if (!judgment_fresh(&judgment, &actor, HF_SENDTO, ends->cookie ^ b->found << 56))
		return blocks;
	s = net_begin_owner(HF_SENDTO, &ends->owner);
	if (!s)
		return blocks;
	record = (struct hf_net *)s->bytes;
	record->cookie = ends->cookie;
	__builtin_memcpy(record->local, ends->local, sizeof(record->local));
	__builtin_memcpy(record->remote, ends->remote, sizeof(record->remote));
	record->local_port = ends->local_port;
	record->remote_port = ends->remote_port;
	record->family = ends->family;
	record->protocol = ends->protocol;
	record->net_flags |= HF_NET_OUTBOUND;
	block_name(s, record, (__u32)b->found - 1);
	record_put(s, net_judged(s, false, &judgment, true));
	return blocks;
}
