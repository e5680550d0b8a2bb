// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What was worked out once about executables and their arguments: the hash of a file's name, and that of an argument
// vector's shape. Nothing here is a verdict, and an entry that is lost is only worked out again, so the maps may evict.
//
// A name is kept for files of the image alone: of the container's root, an overlay, with no copy in its upper layer. Such a
// file is read-only below, so no call changes its content or its place without copying it up first, and what is copied up is
// not looked up here. The key is what the kernel has of the file in memory, which no process chooses: the container, whose
// number is never used again, so that another file system at the same addresses is another key; dentry, parent and the hash
// of the last component, which tell hard links of one file apart; inode with its number and generation. Should all of these
// come again for another link of the file when the first was evicted from memory, it is still this content that is run under
// a name that it has. (Where the overlay was mounted with redirect_dir, a folder of the image can be moved as a whole: its
// files then keep the names that they had in the image.)

#pragma once

#include "hash.h"
#include "place.h"

struct name_key {
	__u64 origin;
	__u64 dentry;
	__u64 parent;
	__u64 inode;
	__u64 number;
	__u32 name;
	__u32 length;
	__u32 generation;
	__u32 device;
};

struct known_hash {
	__u64 hash[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct name_key);
	__type(value, struct known_hash);
} known_names SEC(".maps");

// Hash of the bytes of an argument vector -> hash of their shape. Both are keyed and of 128 bits.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct known_hash);
	__type(value, struct known_hash);
} known_shapes SEC(".maps");

// Hashes the name of the file. What is not the whole name is not to be kept.
__inline bool name_hash(struct scratch *s, __u64 origin, struct file *file, __u64 hash[2], bool *whole)
{
	struct hf_head *head = (struct hf_head *)s->bytes;
	__u16 flags = head->flags;
	struct hashed *text;
	__u32 length;

	head->flags = 0;
	length = place_append(s, origin, address_of(LOAD1(file, f_path.mnt)), address_of(LOAD1(file, f_path.dentry)));
	*whole = !head->flags;
	head->flags |= flags;
	if (!hash_text(s->slot, s->size, length))
		return false;
	text = hashed_of(s->slot);
	if (!text)
		return false;
	hash[0] = text->hash[0];
	hash[1] = text->hash[1];
	return true;
}

// What is known of a file by its inode, and the hash of its name.
struct named_file {
	struct hf_file is;
	__u64 hash[2];
	// hf_source
	__u32 source;
	__u32 pad;
};

// Names the file, kept where it can be. A function for what it needs of the stack.
static __attribute__((noinline)) bool name_known(struct scratch *s, __u64 origin, struct file *file,
						 struct named_file *to)
{
	struct dentry *dentry = LOAD1(file, f_path.dentry);
	struct name_key key = { .origin = origin };
	struct known_hash *known, fresh;
	bool whole;

	if (to->source != HF_SOURCE_IMAGE || !(to->is.flags & HF_FILE_OVERLAY))
		return name_hash(s, origin, file, to->hash, &whole);
	key.dentry = (__u64)dentry;
	key.parent = (__u64)LOAD1(dentry, d_parent);
	key.inode = (__u64)LOAD1(file, f_inode);
	key.number = to->is.inode;
	key.name = LOAD1(dentry, d_name.hash);
	key.length = LOAD1(dentry, d_name.len);
	key.generation = to->is.generation;
	key.device = to->is.device;
	known = bpf_map_lookup_elem(&known_names, &key);
	if (likely(known)) {
		to->hash[0] = known->hash[0];
		to->hash[1] = known->hash[1];
		return true;
	}
	if (!name_hash(s, origin, file, to->hash, &whole))
		return false;
	fresh.hash[0] = to->hash[0];
	fresh.hash[1] = to->hash[1];
	if (whole)
		bpf_map_update_elem(&known_names, &key, &fresh, BPF_ANY);
	return true;
}

// Hashes the shape of the arguments at the address in the current process's memory, no longer than HASHED_MAX, into the text
// buffer of the slot. 0 when they cannot be read. Global, so that it is verified once.
__attribute__((noinline)) int shape_known(__u32 slot, __u64 address, __u32 length)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	struct hashed *text = hashed_of(slot);
	struct known_hash key, fresh, *known;
	__u32 at;

	if (!s || !text || length == 0)
		return 0;
	if (length > HASHED_MAX)
		length = HASHED_MAX;
	*(__u64 *)&text->bytes[length & ~7u] = 0;
	if (bpf_probe_read_user(text->bytes, length, (void *)address) < 0)
		return 0;
	text->length = length;
	if (!hash_run(slot))
		return 0;
	key.hash[0] = text->hash[0];
	key.hash[1] = text->hash[1];
	known = bpf_map_lookup_elem(&known_shapes, &key);
	if (known) {
		text->hash[0] = known->hash[0];
		text->hash[1] = known->hash[1];
		return 1;
	}
	at = s->size & (SCRATCH_SIZE - 1);
	bpf_probe_read_kernel(&s->bytes[at], length, text->bytes);
	if (!hash_shape(slot, at, length))
		return 0;
	fresh.hash[0] = text->hash[0];
	fresh.hash[1] = text->hash[1];
	bpf_map_update_elem(&known_shapes, &key, &fresh, BPF_ANY);
	return 1;
}
