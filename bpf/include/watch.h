// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What is watched: files by name, cheap enough to ask at every open, and paths by prefix, asked once the path is known.

#pragma once

#include "interest.h"
#include "path.h"

// Names, with the bits of hf_watch. A file matches by the last component of its path or by the one before, or by the last
// ENDING bytes of the last one: such a key begins with a star.
#define ENDING 4

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct hf_watch_name);
	__type(value, __u32);
} watched_names SEC(".maps");

// Index 0: the filter of the names above, which is never less than they are.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hf_name_filter);
} watched_filter SEC(".maps");

// Prefixes of paths, with the bits of hf_watch.
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct hf_watch_key);
	__type(value, __u32);
} watched_paths SEC(".maps");

// Odd numbers that spread what is multiplied by them over the highest bits.
#define SPREAD 0x9e3779b97f4a7c15ull
#define SPREAD_ENDING 0x9e3779b1u
// What a key has room for.
#define WATCH_NAME_MAX 47

__inline bool bit_of(const __u64 *bits, __u32 at)
{
	return bits[at / 64] >> (at & 63) & 1;
}

__inline bool name_suspect(const struct hf_name_filter *filter, const void *name, __u32 length, bool endings)
{
	__u64 first = 0;
	__u32 last;

	bpf_probe_read_kernel(&first, sizeof(first), name);
	if (length < sizeof(first))
		first &= (1ull << (length * 8)) - 1;
	if (bit_of(filter->names, (first ^ (length < WATCH_NAME_MAX ? length : WATCH_NAME_MAX)) * SPREAD >> 52))
		return true;
	if (!endings || length <= ENDING || !filter->any_ending)
		return false;
	if (length <= sizeof(first))
		last = first >> ((length - ENDING) * 8);
	else if (bpf_probe_read_kernel(&last, sizeof(last), name + length - ENDING) < 0)
		return true;
	return bit_of(filter->endings, last * SPREAD_ENDING >> 24);
}

// Whether the dentry, read by READ or LOAD, may have a name that is watched. Nearly all have none, and this finds it out in
// a tenth of the time.
#define dentry_suspect(read, dentry) \
	({ \
		struct hf_name_filter *__filter = bpf_map_lookup_elem(&watched_filter, &(__u32){ 0 }); \
		struct dentry *__parent = read##1(dentry, d_parent); \
		!__filter || \
			name_suspect(__filter, read##1(dentry, d_name.name), read##1(dentry, d_name.len), true) || \
			name_suspect(__filter, read##1(__parent, d_name.name), read##1(__parent, d_name.len), false); \
	})

__inline __u32 name_watch(struct dentry *dentry)
{
	struct hf_watch_name key = {};
	__u32 *bits;

	bpf_probe_read_kernel_str(key.name, sizeof(key.name), READ1(dentry, d_name.name));
	bits = bpf_map_lookup_elem(&watched_names, &key);
	return bits ? *bits : 0;
}

__inline __u32 ending_watch(struct dentry *dentry)
{
	__u32 length = READ1(dentry, d_name.len);
	struct hf_watch_name key = {};
	__u32 *bits;

	if (length <= ENDING)
		return 0;
	key.name[0] = '*';
	bpf_probe_read_kernel(&key.name[1], ENDING, READ1(dentry, d_name.name) + length - ENDING);
	bits = bpf_map_lookup_elem(&watched_names, &key);
	return bits ? *bits : 0;
}

// The bits of what is watched of the dentry, which comes as a number: by its name, its ending and its folder's name. This
// and the next are global functions because of their keys: the stacks of functions that call each other add up.
__attribute__((noinline)) __u32 dentry_watch(__u64 address)
{
	struct dentry *dentry = (struct dentry *)address;

	if (!dentry_suspect(READ, dentry))
		return 0;
	return name_watch(dentry) | ending_watch(dentry) | name_watch(READ1(dentry, d_parent));
}

// The bits of the watched prefix that the path begins with, which has the length and stands at the offset in the record.
// The kernel compares no more than the key's bits, so that what stands after the path does not matter.
__attribute__((noinline)) __u32 path_watch(__u32 slot, __u32 at, __u32 length)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	struct hf_watch_key key;
	__u32 *bits;

	if (!s)
		return 0;
	if (length > sizeof(key.path))
		length = sizeof(key.path);
	key.bits = length * 8;
	bpf_probe_read_kernel(key.path, sizeof(key.path), &s->bytes[at & (SCRATCH_SIZE - 1)]);
	bits = bpf_map_lookup_elem(&watched_paths, &key);
	return bits ? *bits : 0;
}
