// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What the policy of a container says of a deed on a file or folder. Entries are asked from the narrowest to the widest:
// the very path, its shape, the folder, the folder's shape, and the folders above; what they allow adds up.

#pragma once

#include "hash.h"
#include "place.h"

// What is asked about, of the scratch buffer of the same slot, whose head tells who asks.
struct file_case {
	struct hf_policy policy;
	__u64 origin;
	__u64 subject;
	// First half of the hash of the path judged last.
	__u64 object;
	// The flag of hf_flag that a refusal bears here: HF_F_BLOCKED, HF_F_KILLED, or HF_F_WOULD_BLOCK where it comes too late.
	__u32 refusal;
	// The path: where it stands, its length, that of its folder.
	__u32 at;
	__u32 length;
	__u32 folder;
	struct hf_tree_key tree;
	struct hf_watch_name name;
	// Of the operation that is looked at (fileop.h): how much is wanted of its class, whether a policy speaks of it, what has
	// been met that is watched, whether it lists what was asked of it so far, and whether anything was that it does not list.
	// Volatile, so that all of it is read from here: what the verifier reads from memory it takes as any number, instead of
	// following each combination of answers.
	volatile __u32 want;
	volatile bool judged;
	volatile bool watched;
	volatile bool protected;
	volatile bool known;
	volatile bool unknown;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCH_SLOTS);
	__type(key, __u32);
	__type(value, struct file_case);
} file_cases SEC(".maps");

__inline struct file_case *case_of(__u32 slot)
{
	return bpf_map_lookup_elem(&file_cases, &slot);
}

// What a policy says of the container of the current process, and of whom it says it. False when no mode of the signals
// is on, and for the runtime on its way into the container.
__inline bool case_concerns(struct hf_policy *policy, __u64 *subject, __u64 origin, __u32 first, __u32 second)
{
	if (!policy_of(origin, policy) || !mode_of(policy, stronger(policy, first, second)))
		return false;
	*subject = subject_in(process_now());
	return *subject != HF_EXE_RUNTIME;
}

// The length of the path without its last component, whose name has no more than NAME_MAX bytes. Global, so that its loop
// is verified once.
__attribute__((noinline)) __u32 folder_length(__u32 slot, __u32 at, __u32 length)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);

	if (!s)
		return 0;
	for (__u32 i = 1; i <= NAME_MAX + 1; i++) {
		if (i >= length)
			break;
		if (s->bytes[(at + length - i) & (SCRATCH_SIZE - 1)] == '/')
			return length - i;
	}
	return 1;
}

enum case_text { CASE_PATH, CASE_FOLDER };

// What entries of one class allow.
__inline __u32 case_asked(__u32 slot, struct file_case *c, __u32 class, enum case_text which, bool shape, __u32 want,
			  __u32 use)
{
	__u32 length = which == CASE_FOLDER ? c->folder : c->length;
	struct hashed *text = hashed_of(slot);

	if (!text || !(shape ? hash_shape(slot, c->at, length) : hash_text(slot, c->at, length)))
		return 0;
	if (class == HF_ALLOW_FILE)
		c->object = text->hash[0];
	return allowed_use(&c->policy, class, c->subject, text->hash[0], text->hash[1], want, use);
}

// What the folders above allow.
__inline __u32 case_tree(struct scratch *s, struct file_case *c, __u32 want, __u32 use)
{
	__u32 length = c->length > sizeof(c->tree.path) ? sizeof(c->tree.path) : c->length, bits;

	c->tree.bits = (sizeof(c->tree.policy) + sizeof(c->tree.subject) + length) * 8;
	c->tree.policy = c->policy.id;
	c->tree.subject = c->subject;
	bpf_probe_read_kernel(c->tree.path, sizeof(c->tree.path), &s->bytes[c->at & (SCRATCH_SIZE - 1)]);
	bits = allow_bits(&c->policy, bpf_map_lookup_elem(&allow_tree, &c->tree), use);
	if ((bits & want) == want)
		return bits;
	c->tree.subject = HF_EXE_ANY;
	return bits | allow_bits(&c->policy, bpf_map_lookup_elem(&allow_tree, &c->tree), use);
}

// How a path is judged, set beside the bits of what is asked about: it was cut; what allows it is not counted as used.
#define JUDGE_CUT 256
#define JUDGE_QUIETLY 512

// What is allowed of what is wanted, judged as how says. Of a path that was cut, only the folders above are certain. Global,
// so that it is verified once.
__attribute__((noinline)) __u32 case_allowed(__u32 slot, __u32 want, __u32 how)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	struct file_case *c = case_of(slot);
	__u32 bits = 0, use = how & JUDGE_QUIETLY ? 0 : want;

	if (!s || !c)
		return 0;
	if (!(how & JUDGE_CUT)) {
		bits |= case_asked(slot, c, HF_ALLOW_FILE, CASE_PATH, false, want, use);
		if ((bits & want) != want)
			bits |= case_asked(slot, c, HF_ALLOW_FILE_SHAPE, CASE_PATH, true, want, use);
		if ((bits & want) != want)
			bits |= case_asked(slot, c, HF_ALLOW_FOLDER, CASE_FOLDER, false, want, use);
		if ((bits & want) != want)
			bits |= case_asked(slot, c, HF_ALLOW_FOLDER_SHAPE, CASE_FOLDER, true, want, use);
	}
	if ((bits & want) != want)
		bits |= case_tree(s, c, want, use);
	return bits & want;
}

// Counts the verdict, notes it in the head and gives its flag, where one is due.
__inline __u32 case_settle(struct hf_head *head, struct file_case *c, __u32 signal, __u32 reason)
{
	__u32 flag = verdict_of(&c->policy, signal);

	if (flag == VERDICT_BLOCK) {
		count_verdict(&c->policy, signal, c->refusal == HF_F_WOULD_BLOCK ? VERDICT_WOULD_BLOCK : VERDICT_BLOCK);
		flag = c->refusal;
	} else {
		count_verdict(&c->policy, signal, flag);
	}
	if (flag)
		head_verdict(head, flag, signal, reason);
	return flag;
}

// What judging gives where the policy lists the deed and is in force, beyond what is learned; no flag of hf_flag.
#define JUDGED_KNOWN 0x10000

// Judges a deed on the path that stands at the offset in the buffer; hf_access_bit says which. Reading is asked about only
// of what is protected. Gives the flag of what is not listed.
__inline __u32 text_judge(struct scratch *s, struct file_case *c, __u32 at, __u32 length, __u32 want, __u32 how)
{
	struct hf_head *head = (struct hf_head *)s->bytes;

	if (!(want & HF_MAY_READ) && !mode_of(&c->policy, HF_SIGNAL_FILE))
		return 0;
	c->at = at;
	c->length = length;
	c->folder = folder_length(s->slot, at, length);
	if (case_allowed(s->slot, want, how) == want) {
		if (mode_of(&c->policy, HF_SIGNAL_FILE))
			count_known(&c->policy, HF_SIGNAL_FILE);
		return mode_of(&c->policy, stronger(&c->policy, HF_SIGNAL_FILE, HF_SIGNAL_PROTECT)) > HF_MODE_LEARN
			       ? JUDGED_KNOWN
			       : 0;
	}
	if (want & HF_MAY_READ)
		return case_settle(head, c, stronger(&c->policy, HF_SIGNAL_FILE, HF_SIGNAL_PROTECT),
				   HF_REASON_PROTECTED_FILE);
	return case_settle(head, c, HF_SIGNAL_FILE, HF_REASON_FILE);
}

// The same for a path that stands at the offset in the buffer of the slot.
__attribute__((noinline)) __u32 path_judge(__u32 slot, __u32 at, __u32 length, __u32 want)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	struct file_case *c = case_of(slot);

	return s && c ? text_judge(s, c, at, length, want & ~JUDGE_CUT, want & JUDGE_CUT) : 0;
}

// Judges the mapping for execution of the file whose path stands there.
__attribute__((noinline)) __u32 library_judge(__u32 slot, __u32 at, __u32 length, __u32 source)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	struct file_case *c = case_of(slot);

	if (!s || !c)
		return 0;
	c->at = at;
	c->length = length;
	if (hash_text(slot, at, length)) {
		struct hashed *text = hashed_of(slot);

		if (!text)
			return 0;
		c->object = text->hash[0];
		if (allowed(&c->policy, HF_ALLOW_LIBRARY, c->subject, text->hash[0], text->hash[1], source) & source) {
			count_known(&c->policy, HF_SIGNAL_PROCESS);
			return 0;
		}
	}
	return case_settle((struct hf_head *)s->bytes, c, HF_SIGNAL_PROCESS, HF_REASON_LIBRARY);
}
