// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What holds for a container, and the question whether it holds a deed. Modes and entries are in maps that all objects
// share; every verdict is taken from them alone, so that no agent, however slow or dead, changes one. docs/events.md
// tells what the flags of a record mean.

#pragma once

#include "task.h"

// Container cgroup -> what holds for it; without an entry, nothing does. Written by the agent and, when a container's
// cgroup is made, from policy_by_name. Size set at load.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct hf_policy);
} policy_by_container SEC(".maps");

// The same for containers that are to come, by their id, so that the first process finds its policy. Size set at load.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct hf_container_name);
	__type(value, struct hf_policy);
} policy_by_name SEC(".maps");

// What policies list. Size set at load.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct hf_allow_key);
	__type(value, struct hf_allow);
} allow SEC(".maps");

// Folders below which all is allowed. Size set at load.
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct hf_tree_key);
	__type(value, struct hf_allow);
} allow_tree SEC(".maps");

// Addresses that may be contacted. Size set at load.
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct hf_egress_key);
	__type(value, struct hf_allow);
} allow_egress SEC(".maps");

// Addresses that containers were told for names that they may contact. Size set at load.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct hf_admit_key);
	__type(value, struct hf_admitted);
} admitted SEC(".maps");

// Policy -> its counts. The agent makes the entry with the policy. Size set at load.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct hf_tally);
} tally_by_policy SEC(".maps");

// Container cgroup -> device of its root file system. Size set at load.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u32);
} root_by_container SEC(".maps");

// When a deed was last told, so that a loop does not fill the rings. What is evicted is told again, no more.
#define TOLD_AGAIN 1000000000ull

struct told_key {
	__u64 origin;
	__u64 subject;
	__u64 object;
	__u32 policy;
	// The type of the record, the reason, the flag, and what else tells one deed from another.
	__u8 type;
	__u8 reason;
	__u8 verdict;
	__u8 access;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct told_key);
	__type(value, __u64);
} told_at SEC(".maps");

// Copies what holds for a container, so that one deed is judged by one state of it. False: nothing holds.
__inline bool policy_of(__u64 origin, struct hf_policy *policy)
{
	const volatile __u64 *found;
	__u64 words[sizeof(*policy) / 8];

	if (!origin)
		return false;
	found = bpf_map_lookup_elem(&policy_by_container, &origin);
	if (!found)
		return false;
	// The agent changes the generation, or the modes, by one store while programs run: one load for each.
	for (__u32 i = 0; i < sizeof(words) / sizeof(*words); i++)
		words[i] = found[i];
	__builtin_memcpy(policy, words, sizeof(words));
	return true;
}

__inline __u32 mode_of(const struct hf_policy *policy, __u32 signal)
{
	return mode_now(policy->mode[signal & (HF_SIGNALS - 1)]);
}

// Of two signals that a deed concerns, the one whose mode is stronger; the first when they are alike.
__inline __u32 stronger(const struct hf_policy *policy, __u32 first, __u32 second)
{
	return mode_of(policy, second) > mode_of(policy, first) ? second : first;
}

// What an entry allows under the policy, and counts it when that covers any of what is in use. NULL allows nothing.
__inline __u32 allow_bits(const struct hf_policy *policy, struct hf_allow *entry, __u32 use)
{
	__u64 word;
	__u32 bits;

	if (!entry)
		return 0;
	// The agent changes since, was and now by one store while programs run, so they are read by one load.
	word = *(volatile __u64 *)entry;
	bits = (__s32)(policy->generation - (__u32)word) >= 0 ? word >> 48 : (word >> 32) & 0xffff;
	if (bits & use)
		__sync_fetch_and_add(&entry->hits, 1);
	return bits;
}

// What is listed for the object, to the subject or to every executable. The second is asked when the first leaves
// something wanted open. Counted is what of it is in use.
__inline __u32 allowed_use(const struct hf_policy *policy, __u32 class, __u64 subject, __u64 object0, __u64 object1,
			   __u32 want, __u32 use)
{
	struct hf_allow_key key = { .policy = policy->id, .class = class, .subject = subject };
	__u32 bits;

	key.object[0] = object0;
	key.object[1] = object1;
	bits = allow_bits(policy, bpf_map_lookup_elem(&allow, &key), use);
	if (subject == HF_EXE_ANY || (bits & want) == want)
		return bits;
	key.subject = HF_EXE_ANY;
	return bits | allow_bits(policy, bpf_map_lookup_elem(&allow, &key), use);
}

__inline __u32 allowed(const struct hf_policy *policy, __u32 class, __u64 subject, __u64 object0, __u64 object1,
		       __u32 want)
{
	return allowed_use(policy, class, subject, object0, object1, want, want);
}

// The executable of a process as the subject of entries.
__inline __u64 exe_in(const struct hf_process *process)
{
	return process && process->exe ? process->exe : HF_EXE_RUNTIME;
}

__inline __u64 exe_of(__u32 tgid)
{
	return exe_in(process_of(tgid));
}

// The same for a judgement: of a process that the map had no room for, nothing is known, and what is listed for every
// executable is all that it may.
__inline __u64 subject_in(const struct hf_process *process)
{
	if (!process)
		return HF_EXE_ANY;
	return process->exe ? process->exe : HF_EXE_RUNTIME;
}

// What is done about a deed: the flag of hf_flag that its record bears, 0 when nothing is to be done or told. BLOCKED
// stands for every way to refuse; who kills instead says KILLED.
enum verdict {
	VERDICT_NONE = 0,
	VERDICT_LEARN = HF_F_LEARN,
	VERDICT_WOULD_BLOCK = HF_F_WOULD_BLOCK,
	VERDICT_BLOCK = HF_F_BLOCKED,
};

// Counts a deed of the signal that the policy lists.
__inline void count_known(const struct hf_policy *policy, __u32 signal)
{
	struct hf_tally *tally = bpf_map_lookup_elem(&tally_by_policy, &policy->id);

	if (tally)
		__sync_fetch_and_add(&tally->known[signal & (HF_SIGNALS - 1)], 1);
}

// What the mode of the signal makes of a deed that the policy does not list, not counted.
__inline enum verdict verdict_of(const struct hf_policy *policy, __u32 signal)
{
	switch (mode_of(policy, signal)) {
	case HF_MODE_LEARN:
		return VERDICT_LEARN;
	case HF_MODE_MONITOR:
		return VERDICT_WOULD_BLOCK;
	case HF_MODE_ENFORCE:
		return VERDICT_BLOCK;
	default:
		return VERDICT_NONE;
	}
}

__inline void count_verdict(const struct hf_policy *policy, __u32 signal, enum verdict verdict)
{
	struct hf_tally *tally = bpf_map_lookup_elem(&tally_by_policy, &policy->id);

	if (!tally)
		return;
	signal &= HF_SIGNALS - 1;
	if (verdict == VERDICT_LEARN)
		__sync_fetch_and_add(&tally->learned[signal], 1);
	else if (verdict == VERDICT_WOULD_BLOCK)
		__sync_fetch_and_add(&tally->would_block[signal], 1);
	else if (verdict == VERDICT_BLOCK)
		__sync_fetch_and_add(&tally->blocked[signal], 1);
}

// The verdict on a deed that the policy does not list, counted.
__inline enum verdict verdict(const struct hf_policy *policy, __u32 signal)
{
	enum verdict found = verdict_of(policy, signal);

	count_verdict(policy, signal, found);
	return found;
}

// Whether the same deed was told less than a second ago; else notes that it is told now.
__inline bool told(const struct told_key *key)
{
	__u64 now = bpf_ktime_get_boot_ns(), *last = bpf_map_lookup_elem(&told_at, key);

	if (last && now - *last < TOLD_AGAIN)
		return true;
	bpf_map_update_elem(&told_at, key, &now, BPF_ANY);
	return false;
}

// Notes in a record what the policy said.
__inline void head_verdict(struct hf_head *head, __u32 flag, __u32 signal, __u32 reason)
{
	head->flags |= flag;
	head->signal = (__u8)signal;
	head->reason = (__u8)reason;
}
