// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Changes of what policies list, where it stands: programs that the agent runs at will and that are never attached.
//
// An update from user space puts a new element in the place of the old one, and the memory of the old one may hold another
// entry before a program that looked it up has read it. So the agent inserts and deletes (deleting what no generation in
// force reads any more), and has a word of an element changed by one store here. Readers take it by one load (policy.h).
// That also loses no hits.
//
// The programs are of types that CAP_BPF is enough to load, so that processes and files are judged by an agent without
// CAP_NET_ADMIN too (kernel/bpf/syscall.c, is_net_admin_prog_type).

#include "wire.h"

// The maps of policy.h, which the agent puts in the place of these: flags and sizes are theirs.
#define POLICY_MAP(name, map_type, key_type, value_type) \
	struct { \
		__uint(type, map_type); \
		__uint(max_entries, 1); \
		__uint(map_flags, BPF_F_NO_PREALLOC); \
		__type(key, key_type); \
		__type(value, value_type); \
	} name SEC(".maps")

POLICY_MAP(policy_by_container, BPF_MAP_TYPE_HASH, __u64, struct hf_policy);
POLICY_MAP(policy_by_name, BPF_MAP_TYPE_HASH, struct hf_container_name, struct hf_policy);
POLICY_MAP(allow, BPF_MAP_TYPE_HASH, struct hf_allow_key, struct hf_allow);
POLICY_MAP(allow_tree, BPF_MAP_TYPE_LPM_TRIE, struct hf_tree_key, struct hf_allow);
POLICY_MAP(allow_egress, BPF_MAP_TYPE_LPM_TRIE, struct hf_egress_key, struct hf_allow);

// At most so many changes at a time.
#define APPLY_BATCH 128

struct apply_change {
	// Key of the map, as long as that is.
	__u8 key[128];
	// The new word, and which of the element it is.
	__u64 word;
	__u32 at;
	// Set to 1 when the element was there.
	__u32 done;
};

struct apply_batch {
	__u32 count;
	__u32 pad;
	struct apply_change change[APPLY_BATCH];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct apply_batch);
} apply_batches SEC(".maps");

// Changes elements of a map and gives 1 when all of them were there, else 0.
__inline int apply_to(void *map)
{
	struct apply_batch *batch = bpf_map_lookup_elem(&apply_batches, &(__u32){ 0 });
	__u32 done = 0;

	if (!batch)
		return 0;
	for (__u32 i = 0; i < APPLY_BATCH; i++) {
		struct apply_change *change = &batch->change[i];
		volatile __u64 *element;

		if (i >= batch->count)
			break;
		element = bpf_map_lookup_elem(map, change->key);
		if (!element)
			continue;
		element[change->at & 1] = change->word;
		change->done = 1;
		done++;
	}
	return done == batch->count;
}

SEC("socket")
int apply_allow(void *ctx)
{
	(void)ctx;
	return apply_to(&allow);
}

SEC("socket")
int apply_tree(void *ctx)
{
	(void)ctx;
	return apply_to(&allow_tree);
}

SEC("socket")
int apply_egress(void *ctx)
{
	(void)ctx;
	return apply_to(&allow_egress);
}

SEC("socket")
int apply_container(void *ctx)
{
	(void)ctx;
	return apply_to(&policy_by_container);
}

SEC("socket")
int apply_name(void *ctx)
{
	(void)ctx;
	return apply_to(&policy_by_name);
}

POLICY_MAP(admitted, BPF_MAP_TYPE_HASH, struct hf_admit_key, struct hf_admitted);

// What stands in the key of a change to admitted; its word is until when.
struct apply_admission {
	struct hf_admit_key key;
	__u64 name;
};

// Lets a name stand for an address, as names.h does when an answer comes.
__attribute__((noinline)) int admit_one(__u32 at)
{
	struct apply_batch *batch = bpf_map_lookup_elem(&apply_batches, &(__u32){ 0 });
	__u64 now = bpf_ktime_get_boot_ns();
	// In memory, as all that is found in a loop.
	volatile __u32 place = HF_ADMIT_NAMES;
	struct hf_admitted fresh = {}, *known;
	struct apply_admission *admission;
	struct hf_admit_key key;
	__u64 name, until;
	__u32 found;

	if (!batch || at >= APPLY_BATCH)
		return 0;
	admission = (struct apply_admission *)batch->change[at].key;
	key = admission->key;
	name = admission->name;
	until = batch->change[at].word;
	known = bpf_map_lookup_elem(&admitted, &key);
	if (!known) {
		fresh.name[0] = name;
		fresh.until[0] = until;
		if (bpf_map_update_elem(&admitted, &key, &fresh, BPF_NOEXIST) == 0)
			return 1;
		// An answer was faster, or there is no room.
		known = bpf_map_lookup_elem(&admitted, &key);
	}
	if (!known)
		return 0;
	bpf_spin_lock(&known->lock);
	for (__u32 i = 0; i < HF_ADMIT_NAMES; i++)
		if (known->until[i] <= now)
			place = i;
	for (__u32 i = 0; i < HF_ADMIT_NAMES; i++)
		if (known->name[i] == name && known->until[i] > now)
			place = i;
	found = place;
	if (found < HF_ADMIT_NAMES) {
		if (known->name[found] != name || known->until[found] < until)
			known->until[found] = until;
		known->name[found] = name;
	}
	bpf_spin_unlock(&known->lock);
	return found < HF_ADMIT_NAMES;
}

// Of the kind that may hold the lock of a value, and that needs CAP_NET_ADMIN where it is attached alone. It returns no more
// than whether all were admitted: what it returns would be a verdict.
SEC("cgroup_skb/egress")
int apply_admit(void *ctx)
{
	struct apply_batch *batch = bpf_map_lookup_elem(&apply_batches, &(__u32){ 0 });
	__u32 done = 0;

	(void)ctx;
	if (!batch)
		return 0;
	for (__u32 i = 0; i < APPLY_BATCH; i++) {
		if (i >= batch->count)
			break;
		batch->change[i].done = (__u32)admit_one(i);
		done += batch->change[i].done;
	}
	return done == batch->count;
}

char __license[] SEC("license") = "Dual BSD/GPL";
