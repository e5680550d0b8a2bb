// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The maps of policies, which the agent makes from this object, and the hash and the shape of a text, as policies know
// them: a program that is never attached, and run at will to compare them with the agent's own.

#include "hash.h"
#include "policy.h"

struct text_trial {
	__u32 length;
	__u32 shape_length;
	__u64 hash[2];
	__u64 shape_hash[2];
	__u8 bytes[HASHED_MAX];
	__u8 shape[HASHED_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct text_trial);
} text_trials SEC(".maps");

SEC("socket")
int on_text(void *ctx)
{
	struct text_trial *trial = bpf_map_lookup_elem(&text_trials, &(__u32){ 0 });
	struct hashed *text;
	struct scratch *s;

	(void)ctx;
	s = trial ? scratch_claim() : NULL;
	if (!s)
		return 0;
	text = hashed_of(s->slot);
	if (!text || bpf_probe_read_kernel(s->bytes, sizeof(trial->bytes), trial->bytes) < 0)
		goto out;
	hash_text(s->slot, 0, trial->length);
	trial->hash[0] = text->hash[0];
	trial->hash[1] = text->hash[1];
	hash_shape(s->slot, 0, trial->length);
	trial->shape_hash[0] = text->hash[0];
	trial->shape_hash[1] = text->hash[1];
	trial->shape_length = text->length;
	bpf_probe_read_kernel(trial->shape, sizeof(trial->shape), text->bytes);
out:
	scratch_release(s);
	return 0;
}

char __license[] SEC("license") = "Dual BSD/GPL";
