// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// How a record of a file operation is begun, filled and ended, whatever hook saw it.

#pragma once

#include "fileverdict.h"
#include "introduce.h"
#include "regs.h"
#include "watch.h"

// A file operation on its way.
struct file_op {
	struct scratch *s;
	struct hf_file_op *record;
	struct file_case *c;
	// The path that was appended last: where it stands, its length, and whether it was cut.
	__u32 at;
	__u32 length;
	__u32 cut;
};

// Whether a deed that only reads is looked at: of a class that is recorded whole, under a watched name or, where something
// holds for the container, a protected one.
__inline bool suspect_passes(__u32 type, struct dentry *dentry)
{
	__u64 origin = origin_now(process_now());
	enum wanted want = wanted_of(type, origin);
	__u32 names = want == WANT_NOT ? 0 : HF_WATCH_READ;

	if (want == WANT_ALL)
		return true;
	if (origin && bpf_map_lookup_elem(&policy_by_container, &origin))
		names |= HF_WATCH_PROTECT;
	if (names && dentry_watch(address_of(dentry)) & names)
		return true;
	count_normal(type);
	return false;
}

// The same for a dentry that is suspect or not by its name (watch.h): of what nobody can have asked for, nothing is found
// out about who reads it.
__inline bool read_passes(__u32 type, struct dentry *dentry, bool suspect)
{
	if (likely(!suspect && wanted_most(type) != WANT_ALL)) {
		count_normal(type);
		return false;
	}
	return suspect_passes(type, dentry);
}

// Whether a policy speaks of a class of deeds, and to whom.
__inline bool op_concerns(__u32 type, __u64 origin, struct hf_policy *policy, __u64 *subject)
{
	if (type == HF_MOUNT)
		return false;
	if (type == HF_MMAP_EXEC)
		return case_concerns(policy, subject, origin, HF_SIGNAL_PROCESS, HF_SIGNAL_PROCESS);
	return case_concerns(policy, subject, origin, HF_SIGNAL_FILE, HF_SIGNAL_PROTECT);
}

// Begins a record when events of the class are wanted at all or a policy speaks of them; else counts and gives false.
// Where refusal is what a hook does that can still refuse, *refuse is set when there is no buffer to find that out in.
__inline bool op_begin_for(struct file_op *op, __u32 type, __u32 refusal, int *refuse)
{
	struct hf_process *process = process_now();
	__u64 origin = origin_now(process), subject = 0;
	struct hf_policy policy = {};
	struct file_case *c;
	enum wanted want;
	struct scratch *s;
	bool judged;

	if (!judges())
		return false;
	want = wanted_of(type, origin);
	judged = op_concerns(type, origin, &policy, &subject);
	if (want == WANT_NOT && !judged) {
		count_normal(type);
		return false;
	}
	s = record_begin_of(type, sizeof(*op->record), process);
	c = s ? case_of(s->slot) : NULL;
	if (!s || !c) {
		if (s)
			scratch_release(s);
		if (judged && mode_of(&policy, HF_SIGNAL_FILE) == HF_MODE_ENFORCE)
			*refuse = -EPERM;
		return false;
	}
	c->policy = policy;
	c->origin = origin;
	c->subject = subject;
	c->refusal = refusal;
	c->want = want;
	c->judged = judged;
	c->watched = c->protected = c->known = c->unknown = false;
	op->c = c;
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

// The same for what can no longer be refused. Who opens or maps is killed before anything comes of it.
__inline bool op_begin(struct file_op *op, __u32 type)
{
	int refuse = 0;

	return op_begin_for(op, type, type == HF_OPEN || type == HF_MMAP_EXEC ? HF_F_KILLED : HF_F_WOULD_BLOCK,
			    &refuse);
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

// Notes what is watched about a file whose path stands in the buffer.
__inline void op_watch(struct file_op *op, struct dentry *dentry, __u32 at, __u32 length, __u32 how)
{
	__u32 bits = dentry_watch(address_of(dentry)) | path_watch(op->s->slot, at, length);

	if (bits & how)
		op->c->watched = true;
	if (bits & HF_WATCH_PROTECT)
		op->c->protected = true;
}

// Appends the path of the dentry and looks whether it is watched. Where a policy is to judge, it is the path that policies
// know, so that what is told, and learned, is what was judged.
__inline void op_append(struct file_op *op, struct vfsmount *mnt, struct dentry *dentry, __u32 how)
{
	struct hf_head *head = &op->record->head;
	__u16 truncated = head->flags & HF_F_TRUNCATED;
	bool within = op->c->judged && on_root(head->origin, READ2(dentry, d_sb, s_dev));

	head->flags &= ~HF_F_TRUNCATED;
	op->at = op->s->size;
	op->length = path_append(op->s->slot, within ? 0 : address_of(mnt), address_of(dentry));
	op->cut = head->flags & HF_F_TRUNCATED;
	head->flags |= truncated;
	op_watch(op, dentry, op->at, op->length, how);
}

// The first text.
__inline void op_path(struct file_op *op, struct vfsmount *mnt, struct dentry *dentry, __u32 how)
{
	op_append(op, mnt, dentry, how);
	op->record->path_len = (__u16)op->length;
}

// The second.
__inline void op_target(struct file_op *op, struct vfsmount *mnt, struct dentry *dentry, __u32 how)
{
	op_append(op, mnt, dentry, how);
	op->record->target_len = (__u16)op->length;
}

// Policies speak of regular files, folders and symbolic links, not of devices, pipes and sockets, nor of /proc.
__inline bool op_judges(const struct file_op *op)
{
	__u32 kind = (op->record->file.mode ? op->record->file.mode : op->record->mode) & S_IFMT;

	if (!op->c->judged || op->record->file.magic == PROC_SUPER_MAGIC)
		return false;
	return !kind || kind == S_IFREG || kind == S_IFDIR || kind == S_IFLNK;
}

// Asks the policy whether the deed, of hf_access_bit, is allowed on the file whose path was appended last. Reading is asked
// about only of what is protected. Of two deeds of one operation, one that is refused decides.
__inline void op_judge(struct file_op *op, __u32 deed)
{
	if (!op_judges(op) || op->record->head.flags & HF_F_BLOCKED)
		return;
	if (deed == HF_MAY_READ && !op->c->protected)
		return;
	if (path_judge(op->s->slot, op->at, op->length, deed | (op->cut ? JUDGE_CUT : 0)) == JUDGED_KNOWN)
		op->c->known = true;
	else
		op->c->unknown = true;
}

// Whether the verdict in the head of the slot's record is to be told: the same one once a second. Global, for its key's
// place on the stack.
__attribute__((noinline)) int case_tells(__u32 slot)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	struct file_case *c = case_of(slot);
	struct told_key key = {};
	struct hf_head *head;

	if (!s || !c)
		return 0;
	head = (struct hf_head *)s->bytes;
	if (!(head->flags & HF_F_VERDICT))
		return 0;
	key.origin = c->origin;
	key.subject = c->subject;
	key.object = c->object;
	key.policy = c->policy.id;
	key.type = (__u8)head->type;
	key.reason = head->reason;
	key.verdict = (__u8)(head->flags >> 8);
	return !told(&key);
}

// Sends the record where it is wanted or tells a verdict, else counts it. A record of a class that a person must hear of is
// urgent, others only when watched or not allowed. Gives what the hook returns: 0, or -EPERM for what is refused.
__inline int op_end(struct file_op *op, bool urgent)
{
	__u32 flags = op->record->head.flags & HF_F_VERDICT;
	bool tells = flags && case_tells(op->s->slot);

	// What the policy lists is no news under a watched name either.
	if (op->c->want == WANT_NOT || (op->c->known && !op->c->unknown))
		op->c->watched = false;
	if (op->c->watched)
		op->record->head.flags |= HF_F_WATCHED;
	if (op->c->watched || op->c->want == WANT_ALL || tells) {
		if (op->c->watched || flags & ~HF_F_LEARN)
			urgent = true;
		record_send(op->s, urgent ? RING_URGENT : RING_BULK);
	} else {
		count_normal(op->record->head.type);
		scratch_release(op->s);
	}
	if (flags & HF_F_KILLED)
		bpf_send_signal(SIGKILL);
	return flags & HF_F_BLOCKED ? -EPERM : 0;
}

// Where a file that is mapped comes from, before there is a record of it; the dentry comes as a number. Global, so that the
// verifier takes the answer as any number and does not follow each.
__attribute__((noinline)) __u32 mapped_source(__u64 origin, __u64 address)
{
	struct dentry *dentry = (struct dentry *)address;
	struct inode *inode = READ1(dentry, d_inode);
	struct super_block *sb = READ1(inode, i_sb);

	if (!READ1(inode, i_nlink))
		return HF_SOURCE_MEMORY;
	if (READ1(sb, s_magic) == OVERLAYFS_SUPER_MAGIC && overlay_upper(inode))
		return HF_SOURCE_UPPER;
	return on_root(origin, READ1(sb, s_dev)) ? HF_SOURCE_IMAGE : HF_SOURCE_VOLUME;
}

// Whether the mount is one that the kernel made for itself: an overlay's layers, for one, which it opens behind every
// file of the overlay.
__inline bool is_internal(struct vfsmount *mnt)
{
	struct mount *mount = (struct mount *)((char *)mnt - field_offset(struct mount, mnt));

	// MNT_NS_INTERNAL, fs/mount.h.
	return (__s64)READ1(mount, mnt_ns) == -22;
}
