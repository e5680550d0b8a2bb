// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Whether anybody at all asks for a class of events: one look into an array, before anything is found out about who acts.

#pragma once

#include "task.h"

// Index 0: all interests together, the defaults too. Written by the agent, before the interests when they grow and after
// them when they shrink, so that it is never less than they are.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hf_interest);
} interest_any SEC(".maps");

// The most that is wanted of a class by anybody.
__inline enum wanted wanted_most(__u32 type)
{
	struct hf_interest *any = bpf_map_lookup_elem(&interest_any, &(__u32){ 0 });
	__u64 bit = 1ull << (type & 63);

	if (unlikely(!any) || any->all & bit)
		return WANT_ALL;
	return any->watched & bit ? WANT_WATCHED : WANT_NOT;
}

// The classes that somebody wants whole, as bits; all of them where that is not known.
__inline __u64 wanted_whole(void)
{
	struct hf_interest *any = bpf_map_lookup_elem(&interest_any, &(__u32){ 0 });

	return likely(any) ? any->all : ~0ull;
}
