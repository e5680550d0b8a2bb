// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// How a record of a file operation is begun, filled and ended, whatever hook saw it.

#pragma once

#include "regs.h"
#include "watch.h"

// A file operation on its way: what is wanted of its class, and whether something watched has been met.
struct file_op {
	struct scratch *s;
	struct hf_file_op *record;
	enum wanted want;
	bool watched;
};

// Begins a record when events of the class are wanted at all; else counts and gives false.
__inline bool op_begin(struct file_op *op, __u32 type)
{
	struct scratch *s;

	op->watched = false;
	op->want = wanted(type);
	if (op->want == WANT_NOT) {
		count_normal(type);
		return false;
	}
	s = record_begin(type, sizeof(*op->record));
	if (!s)
		return false;
	op->s = s;
	op->record = (struct hf_file_op *)s->bytes;
	__builtin_memset((char *)op->record + sizeof(struct hf_head), 0, sizeof(*op->record) - sizeof(struct hf_head));
	if (is_compat())
		op->record->head.flags |= HF_F_COMPAT;
	// Workers and the submission thread of io_uring.
	if (READ1(current_task(), flags) & PF_IO_WORKER)
		op->record->head.flags |= HF_F_URING;
	return true;
}

// Notes a file by its dentry, for the records that have no struct file.
__inline void op_dentry(struct file_op *op, struct dentry *dentry)
{
	struct inode *inode = READ1(dentry, d_inode);

	if (inode)
		read_file(&op->record->file, inode);
	else
		op->record->file.device = READ2(dentry, d_sb, s_dev);
}

// Appends the first text, the path of the dentry, and looks whether it is watched.
__inline void op_path(struct file_op *op, struct vfsmount *mnt, struct dentry *dentry, __u32 how)
{
	__u32 length = path_append(op->s->slot, address_of(mnt), address_of(dentry));

	op->record->path_len = (__u16)length;
	if (dentry_watched(dentry, how) || path_watched(op->s, sizeof(*op->record), length, how))
		op->watched = true;
}

// The same for the second text.
__inline void op_target(struct file_op *op, struct vfsmount *mnt, struct dentry *dentry, __u32 how)
{
	__u32 at = op->s->size, length = path_append(op->s->slot, address_of(mnt), address_of(dentry));

	op->record->target_len = (__u16)length;
	if (dentry_watched(dentry, how) || path_watched(op->s, at, length, how))
		op->watched = true;
}

// Sends the record or, where only what is watched is wanted and this is not, counts it. A record of a class that a
// person must hear of is urgent, others only when watched.
__inline void op_end(struct file_op *op, bool urgent)
{
	if (op->watched)
		op->record->head.flags |= HF_F_WATCHED;
	if (op->watched || op->want == WANT_ALL) {
		record_send(op->s, op->watched || urgent ? RING_URGENT : RING_BULK);
		return;
	}
	count_normal(op->record->head.type);
	scratch_release(op->s);
}

// Whether the mount is one that the kernel made for itself: an overlay's layers, for one, which it opens behind every
// file of the overlay.
__inline bool is_internal(struct vfsmount *mnt)
{
	struct mount *mount = (struct mount *)((char *)mnt - field_offset(struct mount, mnt));

	// MNT_NS_INTERNAL, fs/mount.h.
	return (__s64)READ1(mount, mnt_ns) == -22;
}
