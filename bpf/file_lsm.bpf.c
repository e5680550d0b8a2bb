// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Files, at the kernel's own security decisions: what is about to be done, from the objects it will be done to. The
// loader attaches these programs as LSM programs or, under the same conditions, to the security_* functions. A program
// runs only while every one before it has allowed, so zero keeps the verdict. What the policy of the container does not
// list is refused with EPERM where its mode is to enforce.

#include "fileop.h"

// Begins the record of a deed that can still be refused.
__inline bool hook_begin(struct file_op *op, __u32 type, int *refuse)
{
	return op_begin_for(op, type, HF_F_BLOCKED, refuse);
}

// What an open for writing of a file that it made itself is to be judged for: nothing, where its making goes against a
// policy that only reports, which the hook before has told.
__attribute__((noinline)) __u32 made_deed(__u32 slot, __u32 at, __u32 length, __u32 cut)
{
	struct file_case *c = case_of(slot);

	if (!c || mode_of(&c->policy, HF_SIGNAL_FILE) != HF_MODE_MONITOR)
		return HF_MAY_WRITE;
	c->at = at;
	c->length = length;
	c->folder = folder_length(slot, at, length);
	return case_allowed(slot, HF_MAY_CREATE, JUDGE_QUIETLY | (cut ? JUDGE_CUT : 0)) ? HF_MAY_WRITE : 0;
}

// Opens that an exec makes are not opens, nor are those by which a stacked file system reaches the layer below.
SEC("lsm/file_open")
int on_open(__u64 *ctx)
{
	struct file *file = ARG(ctx, 0, struct file *);
	__u32 mode = LOAD1(file, f_mode), how = mode & FMODE_WRITE ? HF_WATCH_WRITE : HF_WATCH_READ;
	__u32 deed = mode & FMODE_WRITE ? HF_MAY_WRITE : HF_MAY_READ, flags = LOAD1(file, f_flags);
	struct dentry *dentry = LOAD1(file, f_path.dentry);
	struct vfsmount *mnt;
	struct file_op op;
	int refuse = 0;

	if (mode & FMODE_NOACCOUNT || flags & __FMODE_EXEC)
		return 0;
	if (how == HF_WATCH_READ && !read_passes(HF_OPEN, dentry, dentry_suspect(LOAD, dentry)))
		return 0;
	mnt = READ1(file, f_path.mnt);
	if (is_internal(mnt))
		return 0;
	if (!hook_begin(&op, HF_OPEN, &refuse))
		return refuse;
	op.record->flags = flags;
	read_file(&op.record->file, READ1(file, f_inode));
	op_path(&op, mnt, dentry, how);
	// A file without a name comes by no hook of its own.
	if (op.c->judged && deed == HF_MAY_WRITE && mode & FMODE_CREATED && !(flags & __O_TMPFILE))
		deed = made_deed(op.s->slot, op.at, op.length, op.cut);
	if (deed)
		op_judge(&op, deed);
	return op_end(&op, false);
}

// A name is about to come into a folder, or to go.
__inline int entry_change(__u32 type, const struct path *dir, struct dentry *dentry, __u32 mode, __u32 deed)
{
	struct vfsmount *mnt = READ1(dir, mnt);
	struct file_op op;
	int refuse = 0;

	if (!hook_begin(&op, type, &refuse))
		return refuse;
	op.record->mode = mode;
	op_dentry(&op, dentry);
	op_path(&op, mnt, dentry, HF_WATCH_WRITE);
	op_judge(&op, deed);
	return op_end(&op, false);
}

SEC("lsm/path_mknod")
int on_mknod(__u64 *ctx)
{
	__u32 mode = ARG(ctx, 2, __u32) & 0xffff;

	// open(2) gives no type.
	if (!(mode & S_IFMT))
		mode |= S_IFREG;
	return entry_change(HF_CREATE, ARG(ctx, 0, struct path *), ARG(ctx, 1, struct dentry *), mode, HF_MAY_CREATE);
}

SEC("lsm/path_mkdir")
int on_mkdir(__u64 *ctx)
{
	__u32 mode = (ARG(ctx, 2, __u32) & 07777) | S_IFDIR;

	return entry_change(HF_CREATE, ARG(ctx, 0, struct path *), ARG(ctx, 1, struct dentry *), mode, HF_MAY_CREATE);
}

SEC("lsm/path_unlink")
int on_unlink(__u64 *ctx)
{
	return entry_change(HF_UNLINK, ARG(ctx, 0, struct path *), ARG(ctx, 1, struct dentry *), 0, HF_MAY_DELETE);
}

SEC("lsm/path_rmdir")
int on_rmdir(__u64 *ctx)
{
	return entry_change(HF_UNLINK, ARG(ctx, 0, struct path *), ARG(ctx, 1, struct dentry *), 0, HF_MAY_DELETE);
}

// The flags of renameat2 are an argument only from 5.19 on; before, an exchange is two calls.
SEC("lsm/path_rename")
int on_rename(__u64 *ctx)
{
	struct path *from = ARG(ctx, 0, struct path *), *to = ARG(ctx, 2, struct path *);
	struct dentry *old = ARG(ctx, 1, struct dentry *), *new = ARG(ctx, 3, struct dentry *);
	struct file_op op;
	int refuse = 0;

	if (!hook_begin(&op, HF_RENAME, &refuse))
		return refuse;
	op_dentry(&op, old);
	op_path(&op, READ1(from, mnt), old, HF_WATCH_WRITE);
	op_judge(&op, HF_MAY_DELETE);
	op_target(&op, READ1(to, mnt), new, HF_WATCH_WRITE);
	op_judge(&op, HF_MAY_CREATE);
	return op_end(&op, false);
}

// Under a new name, a file that is protected could be read as if it were not.
SEC("lsm/path_link")
int on_link(__u64 *ctx)
{
	struct dentry *old = ARG(ctx, 0, struct dentry *), *new = ARG(ctx, 2, struct dentry *);
	struct path *dir = ARG(ctx, 1, struct path *);
	struct vfsmount *mnt = READ1(dir, mnt);
	struct file_op op;
	int refuse = 0;

	if (!hook_begin(&op, HF_LINK, &refuse))
		return refuse;
	op_dentry(&op, old);
	// A hard link never leaves its mount.
	op_path(&op, mnt, old, HF_WATCH_WRITE);
	op_judge(&op, HF_MAY_READ);
	op_target(&op, mnt, new, HF_WATCH_WRITE);
	op_judge(&op, HF_MAY_CREATE);
	return op_end(&op, false);
}

SEC("lsm/path_symlink")
int on_symlink(__u64 *ctx)
{
	struct dentry *dentry = ARG(ctx, 1, struct dentry *);
	struct path *dir = ARG(ctx, 0, struct path *);
	struct vfsmount *mnt = READ1(dir, mnt);
	struct file_op op;
	int refuse = 0;

	if (!hook_begin(&op, HF_SYMLINK, &refuse))
		return refuse;
	op_dentry(&op, dentry);
	op_path(&op, mnt, dentry, HF_WATCH_WRITE);
	op.record->target_len = (__u16)text_kernel_str(op.s, ARG(ctx, 2, char *), TEXT_MAX);
	op_judge(&op, HF_MAY_CREATE);
	return op_end(&op, false);
}

// A change of a file that is there: it is begun, and when its record is filled, judged.
__inline bool change_begin(struct file_op *op, __u32 type, const struct path *path, __u32 refusal, int *refuse)
{
	if (!op_begin_for(op, type, refusal, refuse))
		return false;
	op_dentry(op, READ1(path, dentry));
	op_path(op, READ1(path, mnt), READ1(path, dentry), HF_WATCH_WRITE);
	op_judge(op, HF_MAY_WRITE);
	return true;
}

SEC("lsm/path_chmod")
int on_chmod(__u64 *ctx)
{
	struct file_op op;
	int refuse = 0;

	if (!change_begin(&op, HF_CHMOD, ARG(ctx, 0, struct path *), HF_F_BLOCKED, &refuse))
		return refuse;
	op.record->mode = ARG(ctx, 1, __u32) & 07777;
	return op_end(&op, false);
}

__inline int chown_change(const struct path *path, __u32 uid, __u32 gid, __u32 refusal)
{
	struct file_op op;
	int refuse = 0;

	if (!change_begin(&op, HF_CHOWN, path, refusal, &refuse))
		return refuse;
	op.record->uid = uid;
	op.record->gid = gid;
	return op_end(&op, false);
}

SEC("lsm/path_chown")
int on_chown(__u64 *ctx)
{
	return chown_change(ARG(ctx, 0, struct path *), ARG(ctx, 1, __u32), ARG(ctx, 2, __u32), HF_F_BLOCKED);
}

// For kernels that cannot hand ids, which are structures, to programs: the function that calls the hook above, with the
// ids as the caller counts them. Nothing can be refused here.
SEC("fentry/chown_common")
int on_chown_common(__u64 *ctx)
{
	chown_change(ARG(ctx, 0, struct path *), ARG(ctx, 1, __u32), ARG(ctx, 2, __u32), HF_F_WOULD_BLOCK);
	return 0;
}

__inline int truncate_change(const struct path *path)
{
	struct file_op op;
	int refuse = 0;

	if (!change_begin(&op, HF_TRUNCATE, path, HF_F_BLOCKED, &refuse))
		return refuse;
	op.record->length = ~0ull;
	return op_end(&op, false);
}

SEC("lsm/path_truncate")
int on_truncate(__u64 *ctx)
{
	return truncate_change(ARG(ctx, 0, struct path *));
}

// From 6.2 on, for what is truncated by descriptor.
SEC("lsm/file_truncate")
int on_ftruncate(__u64 *ctx)
{
	return truncate_change(&ARG(ctx, 0, struct file *)->f_path);
}

// An executable mapping of a file: the program itself and its interpreter at exec, libraries after it. Of the program, the
// exec was judged; what the image has may be mapped, so that nearly all mappings end at that.
__inline int mapping_judge(const struct path *path, unsigned long protection)
{
	__u64 origin = origin_now(process_now());
	struct dentry *dentry = READ1(path, dentry);
	__u32 source = origin ? mapped_source(origin, address_of(dentry)) : HF_SOURCE_IMAGE;
	struct file_op op;
	int refuse = 0;

	if (source == HF_SOURCE_IMAGE && wanted_most(HF_MMAP_EXEC) == WANT_NOT) {
		count_normal(HF_MMAP_EXEC);
		return 0;
	}
	if (!hook_begin(&op, HF_MMAP_EXEC, &refuse))
		return refuse;
	op.record->flags = (__u32)protection;
	read_file(&op.record->file, READ1(dentry, d_inode));
	op_path(&op, READ1(path, mnt), dentry, HF_WATCH_READ);
	if (op.c->judged && source != HF_SOURCE_IMAGE && dentry != READ3(current_task(), mm, exe_file, f_path.dentry))
		library_judge(op.s->slot, op.at, op.length, source);
	return op_end(&op, false);
}

// Whether the file is in the image of the current process's container, as nearly all that is mapped is: of a type that the
// verifier knows, without a call for each field. False where it must be looked at with more care.
__inline bool maps_image(struct file *file)
{
	struct inode *inode = LOAD2(file, f_path.dentry, d_inode);
	__u64 origin = origin_now(process_now());

	if (!origin)
		return true;
	if (!LOAD1(inode, i_nlink))
		return false;
	if (LOAD2(inode, i_sb, s_magic) == OVERLAYFS_SUPER_MAGIC && overlay_upper(inode))
		return false;
	return on_root(origin, LOAD2(inode, i_sb, s_dev));
}

SEC("lsm/mmap_file")
int on_mmap(__u64 *ctx)
{
	struct file *file = ARG(ctx, 0, struct file *);
	unsigned long protection = ARG(ctx, 1, unsigned long);

	if (!file || !(protection & PROT_EXEC))
		return 0;
	if (likely(wanted_most(HF_MMAP_EXEC) == WANT_NOT && maps_image(file))) {
		count_normal(HF_MMAP_EXEC);
		return 0;
	}
	return mapping_judge(&file->f_path, protection);
}

// Of a mapping, the file that stands behind a file of an overlay is known: its path before 6.7 is that of the overlay's
// file, its inode never.
__inline const struct path *mapped_path(struct file *file)
{
	if (field_exists(struct backing_file, user_path) && READ1(file, f_mode) & FMODE_NOACCOUNT)
		return &((struct backing_file *)file)->user_path;
	return &file->f_path;
}

// A mapping of a file that becomes executable.
SEC("lsm/file_mprotect")
int on_mprotect(__u64 *ctx)
{
	unsigned long protection = ARG(ctx, 1, unsigned long);
	struct file *file;

	if (!(protection & PROT_EXEC))
		return 0;
	file = READ1(ARG(ctx, 0, struct vm_area_struct *), vm_file);
	if (!file)
		return 0;
	return mapping_judge(mapped_path(file), protection);
}

SEC("lsm/sb_mount")
int on_mount(__u64 *ctx)
{
	const char *source = ARG(ctx, 0, char *), *kind = ARG(ctx, 2, char *);
	struct path *path = ARG(ctx, 1, struct path *);
	struct file_op op;
	int refuse = 0;

	if (!change_begin(&op, HF_MOUNT, path, HF_F_WOULD_BLOCK, &refuse))
		return 0;
	op.record->flags = ARG(ctx, 3, __u32);
	if (kind)
		bpf_probe_read_kernel_str(op.record->fstype, sizeof(op.record->fstype), kind);
	if (source)
		op.record->target_len = (__u16)text_kernel_str(op.s, source, TEXT_MAX);
	op_end(&op, true);
	return 0;
}

// The new mount calls: what is mounted comes from fsmount or open_tree, and is not in the tree yet, or from elsewhere in it.
SEC("lsm/move_mount")
int on_move_mount(__u64 *ctx)
{
	struct path *from = ARG(ctx, 0, struct path *), *to = ARG(ctx, 1, struct path *);
	struct vfsmount *mnt = READ1(from, mnt);
	struct mount *mount = (struct mount *)((char *)mnt - field_offset(struct mount, mnt));
	struct file_op op;

	if (!op_begin(&op, HF_MOUNT))
		return 0;
	op_dentry(&op, READ1(from, dentry));
	op_path(&op, READ1(to, mnt), READ1(to, dentry), HF_WATCH_WRITE);
	bpf_probe_read_kernel_str(op.record->fstype, sizeof(op.record->fstype), READ3(mnt, mnt_sb, s_type, name));
	if (READ1(mount, mnt_parent) == mount)
		op.record->target_len = (__u16)text_kernel_str(op.s, READ1(mount, mnt_devname), TEXT_MAX);
	else
		op_target(&op, mnt, READ1(from, dentry), HF_WATCH_READ);
	op_end(&op, true);
	return 0;
}

char __license[] SEC("license") = "Dual BSD/GPL";
