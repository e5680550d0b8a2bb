// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Whom a container may contact: by address, or by a listed name that it was told the address for (names.h).

#pragma once

#include "recent.h"

// Loopback, and the addresses that stand for it where one connects to them.
__inline bool is_loopback(const struct peer *peer)
{
	const __u32 *words = (const __u32 *)peer->addr;

	if (peer->family == AF_INET)
		return peer->addr[0] == 127 || !words[0];
	return !words[0] && !words[1] && !words[2] && (!words[3] || words[3] == swap32(1));
}

// Where clouds tell machines about themselves, credentials included.
__inline bool is_metadata(const struct peer *peer)
{
	const __u32 *words = (const __u32 *)peer->addr;

	if (peer->family == AF_INET)
		return words[0] == swap32(0xa9fea9fe);
	return words[0] == swap32(0xfd000ec2) && !words[1] && !words[2] && words[3] == swap32(0x254);
}

// Bits of prefix of a whole key: all from policy on but the padding at the end.
#define EGRESS_BITS 256

// What an entry allows, and counts in it this contact and those that were remembered.
__inline __u32 contact_bits(const struct hf_policy *policy, struct hf_allow *entry, __u32 want, __u32 hits)
{
	__u32 bits = allow_bits(policy, entry, want);

	if (bits & want && hits)
		__sync_fetch_and_add(&entry->hits, hits);
	return bits;
}

// An entry of the trie for the address in the key, as hf_egress_bit.
__inline __u32 egress_try(__u64 id_generation, struct hf_egress_key *key, __u32 want, __u32 hits)
{
	struct hf_policy policy = { .generation = id_generation >> 32 };

	return contact_bits(&policy, bpf_map_lookup_elem(&allow_egress, key), want, hits);
}

// What is asked: the port, protocol << 16, what is wanted << 24, the remembered hits << 32.
#define ASK(port, protocol, want, hits) \
	((__u64)(hits) << 32 | (__u64)(want) << 24 | (__u64)(protocol_key(protocol)) << 16 | (__u16)(port))

// What the policy, by its id and generation, lists for an address, by the halves of its key, to the executable: at the
// port, at every one of the protocol, and at all, until what is wanted is found. This and what follows are global
// functions, verified once each, and take numbers.
__attribute__((noinline)) int egress_bits(__u64 id_generation, __u64 exe, __u64 first, __u64 second, __u64 ask)
{
	struct hf_egress_key key = { .bits = EGRESS_BITS, .policy = (__u32)id_generation, .subject = exe };
	__u32 want = (__u32)ask >> 24, hits = ask >> 32, bits;

	__builtin_memcpy(key.addr, &first, sizeof(first));
	__builtin_memcpy(key.addr + 8, &second, sizeof(second));
	key.port = (__u16)ask;
	key.protocol = (__u8)(ask >> 16);
	bits = egress_try(id_generation, &key, want, hits);
	if (bits & want)
		return (int)bits;
	key.port = 0;
	bits |= egress_try(id_generation, &key, want, hits);
	if (bits & want)
		return (int)bits;
	key.protocol = 0;
	return (int)(bits | egress_try(id_generation, &key, want, hits));
}

__inline __u64 id_generation(const struct hf_policy *policy)
{
	return (__u64)policy->generation << 32 | policy->id;
}

// What is listed for a peer, to the executable or to every one.
__inline __u32 peer_bits(const struct hf_policy *policy, __u64 exe, const struct peer *peer, __u32 want, __u32 hits)
{
	__u64 addr[2], ask = ASK(peer->port, peer->protocol, want, hits);
	__u32 bits;

	addr_key((__u8 *)addr, peer->addr, peer->family);
	bits = (__u32)egress_bits(id_generation(policy), exe, addr[0], addr[1], ask);
	if (bits & want)
		return bits;
	return bits | (__u32)egress_bits(id_generation(policy), HF_EXE_ANY, addr[0], addr[1], ask);
}

// What is listed for the object of the key, to the executable or to every one.
__inline __u32 name_try(__u64 id_generation, struct hf_allow_key *key, __u64 exe, __u32 hits)
{
	struct hf_policy policy = { .generation = id_generation >> 32 };
	__u32 bits;

	key->subject = exe;
	bits = contact_bits(&policy, bpf_map_lookup_elem(&allow, key), 1, hits);
	key->subject = HF_EXE_ANY;
	return bits | contact_bits(&policy, bpf_map_lookup_elem(&allow, key), 1, hits);
}

// Whether contact with what the name stands for is listed: at the port, at every one of the protocol, or at all.
__attribute__((noinline)) int name_contact(__u64 id_generation, __u64 exe, __u64 name, __u64 ask)
{
	struct hf_allow_key key = { .policy = (__u32)id_generation, .class = HF_ALLOW_NAME_CONTACT };
	__u32 hits = ask >> 32, bits;

	key.object[0] = name;
	key.object[1] = ask & 0xffffff;
	bits = name_try(id_generation, &key, exe, hits);
	key.object[1] = ask & 0xff0000;
	bits |= name_try(id_generation, &key, exe, hits);
	key.object[1] = 0;
	return (bits | name_try(id_generation, &key, exe, hits)) & 1;
}

// Until when a listed name stands for the address, 0 for never.
static __attribute__((noinline)) __u64 egress_named(const struct hf_policy *policy, const struct actor *actor,
						    const struct peer *peer, __u32 hits)
{
	__u64 now = bpf_ktime_get_boot_ns(), until, name;
	struct hf_admit_key key = { .container = actor->origin };
	__u64 ask = ASK(peer->port, peer->protocol, 0, hits);
	struct hf_admitted *found;

	addr_key(key.addr, peer->addr, peer->family);
	found = bpf_map_lookup_elem(&admitted, &key);
	if (!found)
		return 0;
#pragma unroll
	for (__u32 i = 0; i < HF_ADMIT_NAMES; i++) {
		bpf_spin_lock(&found->lock);
		name = found->name[i];
		until = found->until[i];
		bpf_spin_unlock(&found->lock);
		if (until > now && name_contact(id_generation(policy), actor->exe, name, ask))
			return until;
	}
	return 0;
}

// Judges a contact with the metadata service, which an entry for the very address opens.
static __attribute__((noinline)) void judge_metadata(struct judgment *to, const struct hf_policy *policy,
						     const struct actor *actor, const struct peer *peer)
{
	__u32 bits = peer_bits(policy, actor->exe, peer, HF_MAY_CONTACT_ONE, 0);
	bool listed = true;

	if (mode_of(policy, HF_SIGNAL_EGRESS) != HF_MODE_OFF)
		listed = bits & HF_MAY_CONTACT || egress_named(policy, actor, peer, 0);
	if (!(bits & HF_MAY_CONTACT_ONE))
		judge(to, policy, false,
		      listed ? HF_SIGNAL_PROTECT : stronger(policy, HF_SIGNAL_PROTECT, HF_SIGNAL_EGRESS),
		      HF_REASON_METADATA);
	else
		judge(to, policy, listed, HF_SIGNAL_EGRESS, HF_REASON_ADDRESS);
}

// Judges a contact that was not found listed just now, and remembers it if it is. Gives whether it is watched.
static __attribute__((noinline)) bool judge_address(struct judgment *to, const struct hf_policy *policy,
						    const struct actor *actor, const struct peer *peer, __u64 hits)
{
	__u64 most = bpf_ktime_get_boot_ns() + RECENT_FOR, until = most;
	bool watched = addr_watched(peer->addr, peer->family);

	if (!(peer_bits(policy, actor->exe, peer, HF_MAY_CONTACT, (__u32)hits) & HF_MAY_CONTACT))
		until = egress_named(policy, actor, peer, (__u32)hits);
	judge(to, policy, until, HF_SIGNAL_EGRESS, HF_REASON_ADDRESS);
	if (until && !watched)
		recent_note(policy, actor, peer, until < most ? until : most);
	return watched;
}

// Judges a contact that is not with the container itself, and says whether it is watched.
__inline void judge_contact(struct judgment *to, const struct actor *actor, const struct peer *peer, bool *watched)
{
	struct hf_policy policy;
	struct recent *known;

	if (!policy_of(actor->origin, &policy))
		goto unjudged;
	if (is_metadata(peer) && mode_of(&policy, HF_SIGNAL_PROTECT) != HF_MODE_OFF) {
		judge_metadata(to, &policy, actor, peer);
		goto unjudged;
	}
	if (mode_of(&policy, HF_SIGNAL_EGRESS) == HF_MODE_OFF)
		goto unjudged;
	known = recent_of(&policy, actor, peer);
	if (likely(known && known->until > bpf_ktime_get_boot_ns())) {
		__sync_fetch_and_add(&known->hits, 1);
		count_known(&policy, HF_SIGNAL_EGRESS);
		return;
	}
	*watched = judge_address(to, &policy, actor, peer, known ? known->hits : 0);
	return;
unjudged:
	*watched = addr_watched(peer->addr, peer->family);
}

// A number that tells ends of flows apart, as far as one second's reports need it.
__inline __u64 peer_mark(const struct peer *peer)
{
	const __u64 *words = (const __u64 *)peer;
	const __u64 odd = 0x9e3779b97f4a7c15ull;

	return ((words[0] * odd ^ words[1]) * odd ^ words[2]) * odd;
}

// Whether a judgment is to be told, once a second for each end.
static __attribute__((noinline)) bool contact_fresh(const struct judgment *judgment, const struct actor *actor,
						    __u32 type, const struct peer *peer)
{
	return judgment_fresh(judgment, actor, type, peer_mark(peer));
}
