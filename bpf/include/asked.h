// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The questions that a socket has asked of a resolver that its container's policy lists, kept with the socket, so that
// no container can crowd out another's. An answer is believed when it comes from the address and port that was asked, on
// the socket that asked, with the number and the name of the question.

#pragma once

#include "names.h"

// Of one socket. With more of them open, the answer to the oldest is not believed.
#define ASKED 32
#define ASKED_FOR (30 * SECOND)

struct asked {
	struct peer peer;
	__u64 hash;
	__u64 listed[LISTED_MAX];
	__u64 until;
	__u32 id;
	__u32 pad;
};

struct asked_ring {
	struct bpf_spin_lock lock;
	__u32 next;
	struct asked of[ASKED];
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct asked_ring);
} asked_by_socket SEC(".maps");

// Finds the place of a question among those of the socket, whose lock is held; ASKED when it is not there. What is found
// is kept in memory, so that every turn looks alike to the verifier.
__inline __u32 asked_place(struct asked_ring *ring, struct names *n, __u32 id)
{
	const __u64 *peer = (const __u64 *)&n->packet.peer;
	volatile __u32 *found = &n->found;

	*found = ASKED;
	for (__u32 i = 0; i < ASKED; i++) {
		const __u64 *other = (const __u64 *)&ring->of[i].peer;

		if (!((ring->of[i].id ^ id) | (peer[0] ^ other[0]) | (peer[1] ^ other[1]) | (peer[2] ^ other[2])))
			*found = i;
	}
	return *found;
}

// Remembers the question that was read in the place of an older one of the same number, or of the oldest.
static __attribute__((noinline)) int asked_note(struct asked_ring *ring, struct names *n, __u32 id)
{
	struct asked *place;
	__u32 at;

	bpf_spin_lock(&ring->lock);
	at = asked_place(ring, n, id);
	if (at == ASKED)
		at = ring->next++;
	place = &ring->of[at & (ASKED - 1)];
	place->peer = n->packet.peer;
	place->id = id;
	place->hash = n->hash;
	place->until = n->now + ASKED_FOR;
	place->listed[0] = n->listed[0];
	place->listed[1] = n->listed[1];
	place->listed[2] = n->listed[2];
	bpf_spin_unlock(&ring->lock);
	return 0;
}

// Finds the question and copies what is needed of it: its name and what that is listed as.
static __attribute__((noinline)) int asked_find(struct asked_ring *ring, struct names *n, __u32 id)
{
	struct asked *place;
	__u32 at;

	n->hash = 0;
	n->listed[0] = n->listed[1] = n->listed[2] = 0;
	bpf_spin_lock(&ring->lock);
	at = asked_place(ring, n, id);
	place = &ring->of[at & (ASKED - 1)];
	if (at < ASKED && place->until > n->now) {
		n->hash = place->hash;
		n->listed[0] = place->listed[0];
		n->listed[1] = place->listed[1];
		n->listed[2] = place->listed[2];
	}
	bpf_spin_unlock(&ring->lock);
	return 0;
}
