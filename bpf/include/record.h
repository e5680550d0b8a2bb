// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// How a record is built and sent. record_begin claims a scratch buffer and fills the head; text_* append to it;
// record_send (introduce.h) or record_put puts it on a ring and gives the buffer back. Every path from begin leads to one
// of them or to scratch_release.
//
// The claim: a plain atomic add, then a look at who else is there. An add is one instruction, so a program that
// interrupts or preempts this one either sees the count raised and goes to the next slot, or has gone before this one
// looks. Both may step aside; none shares. It needs no compare-and-exchange, which 5.10 lacks.

#pragma once

#include "agent.h"
#include "kernel.h"
#include "maps.h"

// The wire version for the loader to check.
const volatile __u32 wire_version SEC(".rodata") = WIRE_VERSION;

enum { RING_URGENT = 0, RING_BULK = 1, RING_CONTENT = 2 };

__inline void count(__u32 cause)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &cause);

	if (value)
		__sync_fetch_and_add(value, 1);
}

// Notes an event that nothing asked for.
__inline void count_normal(__u32 type)
{
	__u64 *value = bpf_map_lookup_elem(&counted, &type);

	if (value)
		__sync_fetch_and_add(value, 1);
}

__inline struct scratch *scratch_try(__u32 slot)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);

	if (!s)
		return NULL;
	__sync_fetch_and_add(&s->users, 1);
	if (*(volatile __u64 *)&s->users == 1) {
		s->slot = slot;
		s->current = 0;
		return s;
	}
	__sync_fetch_and_add(&s->users, -1);
	return NULL;
}

// NULL when none is free, which is counted, and when the program is not to do anything now.
__inline struct scratch *scratch_claim(void)
{
	struct scratch *s;

	if (!judges())
		return NULL;
	s = scratch_try(0);
	if (likely(s))
		return s;
	s = scratch_try(1);
	if (!s)
		s = scratch_try(2);
	if (!s)
		s = scratch_try(3);
	if (!s)
		count(HF_C_SCRATCH_BUSY);
	return s;
}

__inline void scratch_release(struct scratch *s)
{
	__sync_fetch_and_add(&s->users, -1);
}

// Appends at most TEXT_MAX bytes of kernel memory up to a NUL and gives the length without it.
__inline __u32 text_kernel_str(struct scratch *s, const void *from, __u32 max)
{
	__u32 at = s->size & (SCRATCH_SIZE - 1);
	long n = bpf_probe_read_kernel_str(&s->bytes[at], max, from);

	if (n <= 0 || n > TEXT_MAX)
		return 0;
	s->size = at + (__u32)n - 1;
	return (__u32)n - 1;
}

// Appends up to TEXT_MAX bytes of the caller's memory up to a NUL and gives the length without it.
__inline __u32 text_user_str(struct scratch *s, const void *from, __u32 max)
{
	__u32 at = s->size & (SCRATCH_SIZE - 1);
	long n = bpf_probe_read_user_str(&s->bytes[at], max, from);

	if (n <= 0 || n > TEXT_MAX) {
		count(HF_C_USER_READ);
		return 0;
	}
	s->size = at + (__u32)n - 1;
	return (__u32)n - 1;
}

// Appends exactly size bytes of the caller's memory; size is at most TEXT_MAX. 0 if they could not be read.
__inline __u32 text_user(struct scratch *s, const void *from, __u32 size)
{
	__u32 at = s->size & (SCRATCH_SIZE - 1);

	if (size == 0 || size > TEXT_MAX)
		return 0;
	if (bpf_probe_read_user(&s->bytes[at], size, from) < 0)
		return 0;
	s->size = at + size;
	return size;
}

// What a policy said.
#define HF_F_VERDICT (HF_F_LEARN | HF_F_WOULD_BLOCK | HF_F_BLOCKED | HF_F_KILLED)

// Sends the record, whoever it is about, and gives whether it is on the ring. The head must be complete but for size,
// sequence and ring. Where two programs judge, both may tell what they found, and of the rest only the one in force.
__inline bool record_put(struct scratch *s, __u32 ring)
{
	struct hf_head *head = (struct hf_head *)s->bytes;
	__u32 size = s->size & (SCRATCH_SIZE - 1);
	bool sent = true;

	if (!(head->flags & HF_F_VERDICT) && !in_force()) {
		scratch_release(s);
		return false;
	}
	head->size = (__u16)size;
	head->ring = (__u8)ring;
	head->slot = (__u8)s->slot;
	head->cpu = (__u16)bpf_get_smp_processor_id();
	if (ring == RING_URGENT) {
		head->seq = s->seq[RING_URGENT]++;
		if (bpf_ringbuf_output(&ring_urgent, s->bytes, size, BPF_RB_FORCE_WAKEUP) < 0) {
			count(HF_C_RING_URGENT_FULL);
			sent = false;
		}
	} else {
		head->seq = s->seq[RING_BULK]++;
		if (bpf_ringbuf_output(&ring_bulk, s->bytes, size, BPF_RB_NO_WAKEUP) < 0) {
			count(HF_C_RING_BULK_FULL);
			sent = false;
		}
	}
	scratch_release(s);
	return sent;
}
