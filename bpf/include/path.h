// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Paths from the kernel's own objects: the dentry is followed to the root of its mount and on through the mount points
// to the root of the mount namespace, so that chroot, bind mounts and /proc/self/root tell the truth. bpf_d_path would
// be dearer and is refused in most programs of 5.10.
//
// Two passes, because names are found leaf first and wanted root first: the first keeps the dentries in a per-CPU
// list, the second writes the names. All that changes from step to step lives in that list, not in registers: what the
// verifier reads from memory it takes as any number, so that every step looks alike to it. Without that it follows
// each combination of turns and gives up. For the same reason the walk is a global function, verified once.

#pragma once

#include "task.h"

#define PATH_DEPTH 64
#define PATH_STEPS (PATH_DEPTH + 16)
#define PATH_BLOCK 8
#define NAME_MAX 255

struct path_walk {
	struct dentry *dentry;
	struct dentry *root;
	struct mount *mount;
	__u32 names;
	__u32 at;
	struct dentry *name[PATH_DEPTH];
};

// The walk goes with the scratch buffer of the same slot.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCH_SLOTS);
	__type(key, __u32);
	__type(value, struct path_walk);
} path_walks SEC(".maps");

__inline void path_keep(struct path_walk *walk, struct dentry *dentry)
{
	walk->name[walk->names & (PATH_DEPTH - 1)] = dentry;
	walk->names++;
}

// At the top of all mounts the path ends, unless it has not begun: a file that is a mount of its own and is detached,
// as runc makes of itself, is named by its place in its file system.
__inline bool path_leave(struct path_walk *walk)
{
	if (walk->names > 0 || READ1(walk->dentry, d_parent) == walk->dentry)
		return false;
	walk->root = NULL;
	return true;
}

// Goes one dentry up, or from the root of a mount to where it is mounted. False at the end.
__inline bool path_step(struct path_walk *walk)
{
	struct dentry *dentry = walk->dentry, *parent;

	if (dentry == walk->root) {
		struct mount *up = READ1(walk->mount, mnt_parent);

		if (!up || up == walk->mount)
			return path_leave(walk);
		walk->dentry = READ1(walk->mount, mnt_mountpoint);
		walk->mount = up;
		walk->root = READ1(up, mnt.mnt_root);
		return true;
	}
	parent = READ1(dentry, d_parent);
	// No longer mounted, or a pseudo file (memfd:, pipe:, socket:): its name is all there is.
	if (!parent || parent == dentry) {
		if (walk->names == 0)
			path_keep(walk, dentry);
		return false;
	}
	path_keep(walk, dentry);
	walk->dentry = parent;
	return true;
}

// Appends name i, counted from the root. False when there is none or no room.
__inline bool path_name(struct scratch *s, struct path_walk *walk, __u32 i)
{
	struct hf_head *head = (struct hf_head *)s->bytes;
	__u32 at = s->size & (SCRATCH_SIZE - 1), names = walk->names;
	struct dentry *dentry;
	long length;

	if (i >= names)
		return false;
	dentry = walk->name[(names - 1 - i) & (PATH_DEPTH - 1)];
	s->bytes[at] = '/';
	length = bpf_probe_read_kernel_str(&s->bytes[at + 1], NAME_MAX + 1, READ1(dentry, d_name.name));
	if (length <= 0 || length > NAME_MAX + 1) {
		count(HF_C_PATH_READ);
		head->flags |= HF_F_PARTIAL;
		return false;
	}
	if (at + length - walk->at > TEXT_MAX) {
		head->flags |= HF_F_TRUNCATED;
		return false;
	}
	s->size = at + (__u32)length;
	return true;
}

// Goes up by some steps. False at the end. This and the next are global functions of few steps, which are verified once,
// instead of as often as the longest path has names.
__attribute__((noinline)) int path_steps(__u32 slot)
{
	struct path_walk *walk = bpf_map_lookup_elem(&path_walks, &slot);

	if (!walk)
		return 0;
	for (__u32 i = 0; i < PATH_BLOCK; i++)
		if (!path_step(walk))
			return 0;
	return 1;
}

// Appends some names, from the one at the place on. False at the end.
__attribute__((noinline)) int path_names(__u32 slot, __u32 from)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	struct path_walk *walk = bpf_map_lookup_elem(&path_walks, &slot);

	if (!s || !walk)
		return 0;
	for (__u32 i = 0; i < PATH_BLOCK; i++)
		if (!path_name(s, walk, from + i))
			return 0;
	return 1;
}

// Appends the path of a dentry to the scratch buffer of the slot and gives its length. Sets HF_F_TRUNCATED where it
// had to be cut. The pointers come as numbers, since a global function takes no others. Without a mount, the path is that
// within the file system.
__attribute__((noinline)) __u32 path_append(__u32 slot, __u64 mnt_address, __u64 dentry_address)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	struct path_walk *walk = bpf_map_lookup_elem(&path_walks, &slot);
	struct vfsmount *mnt = (struct vfsmount *)mnt_address;

	if (!s || !walk || !dentry_address)
		return 0;
	walk->dentry = (struct dentry *)dentry_address;
	walk->mount = mnt ? (struct mount *)((char *)mnt - field_offset(struct mount, mnt)) : NULL;
	walk->root = mnt ? READ1(mnt, mnt_root) : READ2(walk->dentry, d_sb, s_root);
	walk->names = 0;
	walk->at = s->size;
	for (__u32 i = 0; i < PATH_STEPS; i += PATH_BLOCK)
		if (!path_steps(slot))
			break;
	if (walk->names > PATH_DEPTH) {
		count(HF_C_PATH_TOO_DEEP);
		((struct hf_head *)s->bytes)->flags |= HF_F_TRUNCATED;
		walk->names = PATH_DEPTH;
	}
	for (__u32 i = 0; i < PATH_DEPTH; i += PATH_BLOCK)
		if (!path_names(slot, i))
			break;
	if (s->size == walk->at) {
		s->bytes[s->size & (SCRATCH_SIZE - 1)] = '/';
		s->size++;
	}
	return s->size - walk->at;
}

__inline __u32 text_path(struct scratch *s, const struct path *path)
{
	return path_append(s->slot, (__u64)READ1(path, mnt), (__u64)READ1(path, dentry));
}

// The overlay inode is followed in memory by the pointer to the upper dentry, in every kernel from 5.10 to 7.x
// (fs/overlayfs/ovl_entry.h, struct ovl_inode); overlay is a module on most distributions, whose types are not in the
// kernel's BTF, hence by position.
__inline bool overlay_upper(struct inode *inode)
{
	void *upper = NULL;

	bpf_probe_read_kernel(&upper, sizeof(upper), (char *)inode + type_size(struct inode));
	return upper != NULL;
}

// Derives the flags from what was read of the file.
__inline void file_flags(struct hf_file *to, struct inode *inode)
{
	to->flags = 0;
	to->pad = 0;
	if (to->magic == OVERLAYFS_SUPER_MAGIC) {
		to->flags |= HF_FILE_OVERLAY;
		if (overlay_upper(inode))
			to->flags |= HF_FILE_UPPER;
	}
	if (to->magic == TMPFS_MAGIC)
		to->flags |= HF_FILE_TMPFS;
	if (to->nlink == 0)
		to->flags |= HF_FILE_DELETED;
	if (to->mode & S_ISUID)
		to->flags |= HF_FILE_SETUID;
	if (to->mode & S_ISGID)
		to->flags |= HF_FILE_SETGID;
}

__inline void read_file(struct hf_file *to, struct inode *inode)
{
	struct super_block *sb = READ1(inode, i_sb);

	to->inode = READ1(inode, i_ino);
	to->device = READ1(sb, s_dev);
	to->generation = READ1(inode, i_generation);
	to->magic = (__u32)READ1(sb, s_magic);
	to->mode = READ1(inode, i_mode);
	to->nlink = (__u16)READ1(inode, i_nlink);
	file_flags(to, inode);
}

// The same where the verifier knows the pointer's type.
__inline void load_file(struct hf_file *to, struct inode *inode)
{
	to->inode = LOAD1(inode, i_ino);
	to->device = LOAD2(inode, i_sb, s_dev);
	to->generation = LOAD1(inode, i_generation);
	to->magic = (__u32)LOAD2(inode, i_sb, s_magic);
	to->mode = LOAD1(inode, i_mode);
	to->nlink = (__u16)LOAD1(inode, i_nlink);
	file_flags(to, inode);
}
