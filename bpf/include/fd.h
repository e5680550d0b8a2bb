// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Descriptors and texts of a caller, turned into what the kernel has behind them.

#pragma once

#include "descriptor.h"
#include "place.h"

// include/uapi/linux/fcntl.h
#define AT_FDCWD -100

// Where a path of the caller begins: the root for an absolute one, else the folder.
__inline const struct path *path_base(__s32 dir, __u8 first)
{
	struct fs_struct *fs = READ1(current_task(), fs);
	struct file *file;

	if (first == '/')
		return &fs->root;
	if (dir == AT_FDCWD)
		return &fs->pwd;
	file = file_of((__u32)dir);
	return file ? &file->f_path : &fs->pwd;
}

__inline __u32 base_append(struct scratch *s, const struct path *base, __u32 place)
{
	__u64 origin = ((struct hf_head *)s->bytes)->origin;
	bool within = place && on_root(origin, READ3(base, dentry, d_sb, s_dev));

	return path_append(s->slot, within ? 0 : (__u64)READ1(base, mnt), (__u64)READ1(base, dentry));
}

// Appends the path that a text of the caller means, and gives its length: what the folder is called, by the kernel, then
// the text as it is. An empty text means the folder itself. Symbolic links and dots in the text are not resolved. Where
// place is set, the folder is named as policies name it.
__attribute__((noinline)) __u32 path_user(__u32 slot, __s32 dir, __u64 address, __u32 place)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	const struct path *base;
	__u32 at, length;
	__u8 first = 0;

	if (!s)
		return 0;
	at = s->size;
	if (bpf_probe_read_user(&first, 1, (void *)address) < 0) {
		count(HF_C_USER_READ);
		((struct hf_head *)s->bytes)->flags |= HF_F_PARTIAL;
		return 0;
	}
	base = path_base(dir, first);
	length = base_append(s, base, place);
	if (!first)
		return length;
	// The root is "/".
	if (length == 1)
		s->size = at;
	if (first != '/') {
		s->bytes[s->size & (SCRATCH_SIZE - 1)] = '/';
		s->size++;
	}
	text_user_str(s, (void *)address, TEXT_MAX);
	if (s->size - at > TEXT_MAX) {
		s->size = at + TEXT_MAX;
		((struct hf_head *)s->bytes)->flags |= HF_F_TRUNCATED;
	}
	return s->size - at;
}
