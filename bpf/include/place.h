// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Files as policies name them. A file of the container's root file system is named by its place in that file system,
// whatever mounts, links and changes of root lead to it; any other by its path through the mounts. The root is noted at
// the first exec in the container's own mounts, which is the runtime's start of the program.

#pragma once

#include "path.h"
#include "policy.h"

// How far up a process of the container looks for one that is none. The runtime is never further.
#define ANCESTORS 256

// Whether the task is in mounts and a root of its own: not those of the nearest ancestor that is in no container, which is
// the runtime. What the runtime executes on its way into a container, hooks included, is not the container's. Global, so
// that its loop is verified once.
__attribute__((noinline)) int in_own_root(__u64 address)
{
	struct task_struct *task = (struct task_struct *)address, *up = task;
	struct inode *mine, *theirs;

	for (__u32 i = 0; i < ANCESTORS; i++) {
		up = READ1(up, real_parent);
		if (!container_of_cgroup(task_cgroup(up)))
			break;
	}
	if (READ3(task, nsproxy, mnt_ns, ns.inum) == READ3(up, nsproxy, mnt_ns, ns.inum))
		return 0;
	mine = READ3(task, fs, root.dentry, d_inode);
	theirs = READ3(up, fs, root.dentry, d_inode);
	return mine != theirs;
}

// The device of a container's root, 0 where none could be noted, and whether it was noted just now.
struct root {
	__u32 device;
	bool first;
};

// Notes the task's root as that of the container, unless one is noted.
__inline struct root root_note(__u64 origin, struct task_struct *task)
{
	const __u32 *known = bpf_map_lookup_elem(&root_by_container, &origin);
	struct root root = {};
	int error;

	if (likely(known)) {
		root.device = *known;
		return root;
	}
	root.device = READ4(task, fs, root.dentry, d_sb, s_dev);
	error = bpf_map_update_elem(&root_by_container, &origin, &root.device, BPF_NOEXIST);
	if (error < 0 && error != -EEXIST)
		count(HF_C_CGROUP_MAP_FULL);
	root.first = !error;
	known = bpf_map_lookup_elem(&root_by_container, &origin);
	root.device = known ? *known : 0;
	return root;
}

__inline bool on_root(__u64 origin, __u32 device)
{
	__u32 *root = bpf_map_lookup_elem(&root_by_container, &origin);

	return root && *root == device;
}

// Appends the name of a file, gives its length and leaves the size of the buffer as it was. Pointers come as numbers.
__inline __u32 place_append(struct scratch *s, __u64 origin, __u64 mnt, __u64 dentry)
{
	__u32 at = s->size, length;

	length = path_append(s->slot, on_root(origin, READ2((struct dentry *)dentry, d_sb, s_dev)) ? 0 : mnt, dentry);
	s->size = at;
	return length;
}

// Where an executable file comes from, the device of the container's root being given: a bit of hf_source.
__inline __u32 source_in(__u32 root, const struct hf_file *file)
{
	if (file->flags & HF_FILE_DELETED)
		return HF_SOURCE_MEMORY;
	if (file->flags & HF_FILE_UPPER)
		return HF_SOURCE_UPPER;
	return file->device == root ? HF_SOURCE_IMAGE : HF_SOURCE_VOLUME;
}

__inline __u32 source_of(__u64 origin, const struct hf_file *file)
{
	const __u32 *root = bpf_map_lookup_elem(&root_by_container, &origin);

	return source_in(root ? *root : 0, file);
}
