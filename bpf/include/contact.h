// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Whom a container may contact: by address, or by a listed name that it was told the address for (names.h).

#pragma once

#include "egress.h"

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

// An entry of the trie for the address in the key, as hf_egress_bit.
__inline __u32 egress_try(__u64 id_generation, struct hf_egress_key *key, __u32 want)
{
	struct hf_policy policy = { .generation = id_generation >> 32 };

	return allow_bits(&policy, bpf_map_lookup_elem(&allow_egress, key), want);
}

// What the policy, by its id and generation, lists for an address, by the halves of its key, to the executable: at the
// port (protocol << 16 | port), at every one of the protocol, and at all, until what is wanted is found. This and what
// follows are global functions, verified once each, and take numbers.
__attribute__((noinline)) int egress_bits(__u64 id_generation, __u64 exe, __u64 first, __u64 second, __u32 port_want)
{
	struct hf_egress_key key = { .bits = EGRESS_BITS, .policy = (__u32)id_generation, .subject = exe };
	__u32 want = port_want >> 24, bits;

	__builtin_memcpy(key.addr, &first, sizeof(first));
	__builtin_memcpy(key.addr + 8, &second, sizeof(second));
	key.port = (__u16)port_want;
	key.protocol = (__u8)(port_want >> 16);
	bits = egress_try(id_generation, &key, want);
	if (bits & want)
		return (int)bits;
	key.port = 0;
	bits |= egress_try(id_generation, &key, want);
	if (bits & want)
		return (int)bits;
	key.protocol = 0;
	return (int)(bits | egress_try(id_generation, &key, want));
}

__inline __u64 id_generation(const struct hf_policy *policy)
{
	return (__u64)policy->generation << 32 | policy->id;
}

// What is listed for a peer, to the executable or to every one.
__inline __u32 peer_bits(const struct hf_policy *policy, __u64 exe, const struct peer *peer, __u32 want)
{
	__u32 port_want = want << 24 | (__u32)protocol_key(peer->protocol) << 16 | peer->port, bits;
	__u64 addr[2];

	addr_key((__u8 *)addr, peer->addr, peer->family);
	bits = (__u32)egress_bits(id_generation(policy), exe, addr[0], addr[1], port_want);
	if (bits & want)
		return bits;
	return bits | (__u32)egress_bits(id_generation(policy), HF_EXE_ANY, addr[0], addr[1], port_want);
}

// Whether contact with what the name stands for is listed: at the port (protocol << 16 | port), at every one of the
// protocol, or at all.
__attribute__((noinline)) int name_contact(__u64 id_generation, __u64 exe, __u64 name, __u64 port)
{
	struct hf_policy policy = { .id = (__u32)id_generation, .generation = id_generation >> 32 };

	return (allowed(&policy, HF_ALLOW_NAME_CONTACT, exe, name, port, 1) |
		allowed(&policy, HF_ALLOW_NAME_CONTACT, exe, name, port & ~0xffffull, 1) |
		allowed(&policy, HF_ALLOW_NAME_CONTACT, exe, name, 0, 1)) &
	       1;
}

// Whether a listed name stands for the address now.
static __attribute__((noinline)) bool egress_named(const struct hf_policy *policy, const struct actor *actor,
						   const struct peer *peer)
{
	struct hf_admit_key key = { .container = actor->origin };
	__u64 names[HF_ADMIT_NAMES], now = bpf_ktime_get_boot_ns();
	struct hf_admitted *found;

	addr_key(key.addr, peer->addr, peer->family);
	found = bpf_map_lookup_elem(&admitted, &key);
	if (!found)
		return false;
	bpf_spin_lock(&found->lock);
#pragma unroll
	for (__u32 i = 0; i < HF_ADMIT_NAMES; i++)
		names[i] = found->until[i] > now ? found->name[i] : 0;
	bpf_spin_unlock(&found->lock);
#pragma unroll
	for (__u32 i = 0; i < HF_ADMIT_NAMES; i++)
		if (names[i] && name_contact(id_generation(policy), actor->exe, names[i],
					     (__u64)protocol_key(peer->protocol) << 16 | peer->port))
			return true;
	return false;
}

// What is found about a contact that is not with the container itself.
static __attribute__((noinline)) void judge_contact(struct judgment *to, const struct actor *actor,
						    const struct peer *peer)
{
	struct hf_policy policy;
	bool protected, listed = true;
	__u32 bits;

	if (!policy_of(actor->origin, &policy))
		return;
	protected = is_metadata(peer) && mode_of(&policy, HF_SIGNAL_PROTECT) != HF_MODE_OFF;
	if (!protected && mode_of(&policy, HF_SIGNAL_EGRESS) == HF_MODE_OFF)
		return;
	bits = peer_bits(&policy, actor->exe, peer, protected ? HF_MAY_CONTACT_ONE : HF_MAY_CONTACT);
	if (mode_of(&policy, HF_SIGNAL_EGRESS) != HF_MODE_OFF)
		listed = bits & HF_MAY_CONTACT || egress_named(&policy, actor, peer);
	if (protected && !(bits & HF_MAY_CONTACT_ONE))
		judge(to, &policy, false,
		      listed ? HF_SIGNAL_PROTECT : stronger(&policy, HF_SIGNAL_PROTECT, HF_SIGNAL_EGRESS),
		      HF_REASON_METADATA);
	else
		judge(to, &policy, listed, HF_SIGNAL_EGRESS, HF_REASON_ADDRESS);
}

// A number that tells ends of flows apart, as far as one second's reports need it.
__inline __u64 peer_mark(const struct peer *peer)
{
	const __u64 *words = (const __u64 *)peer;
	const __u64 odd = 0x9e3779b97f4a7c15ull;

	return ((words[0] * odd ^ words[1]) * odd ^ words[2]) * odd;
}
