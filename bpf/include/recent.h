// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Contacts that were found listed a moment ago, so that a program which goes on contacting the same peer is not judged by
// up to thirty looks into tries and tables each time. Only what is allowed is here, for a second at most and never longer
// than the name lives by which it is; a policy that changes has another generation, and so other keys. What is evicted is
// judged anew.

#pragma once

#include "egress.h"

#define RECENT_FOR 1000000000ull

struct recent_key {
	__u64 origin;
	__u64 exe;
	__u32 policy;
	__u32 generation;
	__u8 addr[16];
	__u16 port;
	__u16 protocol;
	__u32 pad;
};

struct recent {
	__u64 until;
	// Contacts since it was judged. They are added to the hits of the entry that allows it, when it is judged again: until
	// then, or for good when it never is or another generation begins first, the entry's hits lack those of one second.
	__u64 hits;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct recent_key);
	__type(value, struct recent);
} recent_contacts SEC(".maps");

__inline void recent_begin(struct recent_key *key, const struct hf_policy *policy, const struct actor *actor,
			   const struct peer *peer)
{
	key->origin = actor->origin;
	key->exe = actor->exe;
	key->policy = policy->id;
	key->generation = policy->generation;
	__builtin_memcpy(key->addr, peer->addr, sizeof(key->addr));
	key->port = peer->port;
	// The same bytes may be an address of either family.
	key->protocol = (__u16)(protocol_key(peer->protocol) | peer->family << 8);
	key->pad = 0;
}

// What is remembered of a contact, also when its time is over. This and the next have the key on their own stack, where it
// adds to nobody's.
static __attribute__((noinline)) struct recent *recent_of(const struct hf_policy *policy, const struct actor *actor,
							  const struct peer *peer)
{
	struct recent_key key;

	recent_begin(&key, policy, actor, peer);
	return bpf_map_lookup_elem(&recent_contacts, &key);
}

// Notes a contact that is listed until the time. That it could not be noted costs no more than another judgement.
static __attribute__((noinline)) int recent_note(const struct hf_policy *policy, const struct actor *actor,
						 const struct peer *peer, __u64 until)
{
	struct recent fresh = { .until = until };
	struct recent_key key;

	recent_begin(&key, policy, actor, peer);
	return bpf_map_update_elem(&recent_contacts, &key, &fresh, BPF_ANY);
}
