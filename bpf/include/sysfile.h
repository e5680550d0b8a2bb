// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Files, seen when a system call that worked returns. What has a descriptor is read from the kernel's own objects; of
// calls that name files by text, the text is all that is left, and the caller could have changed it meanwhile.

#pragma once

#include "fd.h"
#include "fileop.h"

// include/linux/fs.h
#define FMODE_PATH 0x4000
// include/uapi/asm-generic/fcntl.h
#define O_WRONLY 01
#define O_CREAT 0100
#define O_TRUNC 01000
// open(2) flags of creat(2)
#define CREAT_FLAGS (O_CREAT | O_WRONLY | O_TRUNC)

// System calls, by number. Filled by the agent; what it leaves empty is not looked at.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 512);
	__type(key, __u32);
	__type(value, struct hf_syscall_row);
} syscalls SEC(".maps");

// A call that returned. regs are the caller's saved registers.
struct call {
	const struct hf_syscall *how;
	__u64 regs;
	__s64 result;
	bool compat;
};

__inline __u64 call_argument(const struct call *call, __u32 n)
{
	return syscall_argument(call->regs, n, call->compat);
}

__inline __u32 call_flags(const struct call *call)
{
	__u64 value = call_argument(call, call->how->flags);

	if (call->how->how & HF_HOW_CREAT)
		return CREAT_FLAGS;
	if (call->how->how & HF_HOW_FLAGS_POINTER && bpf_probe_read_user(&value, sizeof(value), (void *)value) < 0)
		count(HF_C_USER_READ);
	return (__u32)value;
}

// A 16-bit id as a 32-bit one: the highest means "leave".
__inline __u32 id_from_16(__u32 id)
{
	id &= 0xffff;
	return id == 0xffff ? ~0u : id;
}

// Fills what a call gives as numbers.
__inline void call_numbers(const struct call *call, struct hf_file_op *record)
{
	const struct hf_syscall *how = call->how;

	record->head.flags |= HF_F_RESULT;
	if (how->fd == HF_ARG_RESULT)
		record->head.result = (__s32)call->result;
	if (how->flags || how->how & HF_HOW_CREAT)
		record->flags = call_flags(call);
	if (how->mode)
		record->mode = (__u32)call_argument(call, how->mode) & 0xffff;
	if (how->how & HF_HOW_DIRECTORY)
		record->mode = (record->mode & 07777) | S_IFDIR;
	else if (how->type == HF_CREATE && !(record->mode & S_IFMT))
		record->mode |= S_IFREG;
	if (how->uid) {
		record->uid = (__u32)call_argument(call, how->uid);
		record->gid = (__u32)call_argument(call, how->uid + 1);
		if (how->how & HF_HOW_IDS16) {
			record->uid = id_from_16(record->uid);
			record->gid = id_from_16(record->gid);
		}
	}
	if (how->length)
		record->length = call_argument(call, how->length);
	if (how->how & HF_HOW_LENGTH_PAIR)
		record->length |= call_argument(call, how->length + 1) << 32;
}

// Reports the file that came to be with an open, and says whether its making goes against the policy: that is told of it,
// then, and done about it, and its opening is no second deed.
__inline bool created_send(struct file *file)
{
	struct file_op op;
	int refuse = 0;
	bool against;

	if (!op_begin_for(&op, HF_CREATE, HF_F_KILLED, &refuse))
		return false;
	op.record->head.flags |= HF_F_RESULT;
	op.record->mode = READ2(file, f_inode, i_mode);
	read_file(&op.record->file, READ1(file, f_inode));
	op_path(&op, READ1(file, f_path.mnt), READ1(file, f_path.dentry), HF_WATCH_WRITE);
	op_judge(&op, HF_MAY_CREATE);
	against = op.record->head.flags & HF_F_VERDICT & ~HF_F_LEARN;
	op_end(&op, false);
	return against;
}

// Whether a file is worth a record. Only reads are many enough to ask.
__inline bool file_passes(__u32 type, struct file *file, __u32 watch)
{
	struct dentry *dentry = READ1(file, f_path.dentry);

	return watch == HF_WATCH_WRITE || read_passes(type, dentry, dentry_suspect(READ, dentry));
}

// A mapping for execution that has been made, and that nobody has run yet: the call returns first. What the image has may
// be mapped.
__inline void mapping_call(const struct call *call, struct file *file)
{
	struct dentry *dentry = READ1(file, f_path.dentry);
	__u64 origin = origin_now(process_now());
	__u32 source = origin ? mapped_source(origin, address_of(dentry)) : HF_SOURCE_IMAGE;
	struct file_op op;

	if (source == HF_SOURCE_IMAGE && !file_passes(HF_MMAP_EXEC, file, HF_WATCH_READ))
		return;
	if (!op_begin(&op, HF_MMAP_EXEC))
		return;
	op.record->head.flags |= HF_F_RESULT;
	op.record->flags = call_flags(call);
	read_file(&op.record->file, READ1(file, f_inode));
	op_path(&op, READ1(file, f_path.mnt), dentry, HF_WATCH_READ);
	if (op.c->judged && source != HF_SOURCE_IMAGE)
		library_judge(op.s->slot, op.at, op.length, source);
	op_end(&op, false);
}

__inline void file_call(const struct call *call, struct file *file)
{
	__u32 type = call->how->type, watch = HF_WATCH_WRITE, mode = READ1(file, f_mode);
	bool against = false;
	struct file_op op;

	if (type == HF_OPEN && mode & FMODE_PATH)
		return;
	if (type == HF_OPEN && !(mode & FMODE_WRITE))
		watch = HF_WATCH_READ;
	if (type == HF_OPEN && mode & FMODE_CREATED)
		against = created_send(file);
	if (!file_passes(type, file, watch) || !op_begin(&op, type))
		return;
	call_numbers(call, op.record);
	read_file(&op.record->file, READ1(file, f_inode));
	op_path(&op, READ1(file, f_path.mnt), READ1(file, f_path.dentry), watch);
	if (!against)
		op_judge(&op, watch == HF_WATCH_WRITE ? HF_MAY_WRITE : HF_MAY_READ);
	op_end(&op, false);
}

// The same for an open through io_uring.
__inline void uring_open(struct file *file, __u32 flags, __s32 result)
{
	__u32 mode = READ1(file, f_mode), watch = mode & FMODE_WRITE ? HF_WATCH_WRITE : HF_WATCH_READ;
	bool against = false;
	struct file_op op;

	if (mode & FMODE_PATH)
		return;
	if (mode & FMODE_CREATED)
		against = created_send(file);
	if (!file_passes(HF_OPEN, file, watch) || !op_begin(&op, HF_OPEN))
		return;
	op.record->head.flags |= HF_F_RESULT | HF_F_URING;
	op.record->head.result = result;
	op.record->flags = flags;
	read_file(&op.record->file, READ1(file, f_inode));
	op_path(&op, READ1(file, f_path.mnt), READ1(file, f_path.dentry), watch);
	if (!against)
		op_judge(&op, watch == HF_WATCH_WRITE ? HF_MAY_WRITE : HF_MAY_READ);
	op_end(&op, false);
}

// The bits of a watched name that stands in the buffer; of an ending, the key begins with a star.
__inline __u32 text_name_watch(struct scratch *s, struct hf_watch_name *key, __u32 at, __u32 length, __u32 skip)
{
	__u32 *bits, size = length;

	__builtin_memset(key, 0, sizeof(*key));
	key->name[0] = '*';
	// The bound is put on the very register that is handed over: 5.10 does not carry it to copies.
	barrier_var(size);
	if (size > sizeof(key->name) - 1 - skip)
		size = sizeof(key->name) - 1 - skip;
	if (bpf_probe_read_kernel(&key->name[skip], size, &s->bytes[at & (SCRATCH_SIZE - 1)]) < 0)
		return 0;
	bits = bpf_map_lookup_elem(&watched_names, key);
	return bits ? *bits : 0;
}

// The bits of what is watched of a path that stands in the buffer, as dentry_watch has them of a dentry: by its name, its
// ending and its folder's name.
__attribute__((noinline)) __u32 text_watch(__u32 slot, __u32 at, __u32 length)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	struct file_case *c = case_of(slot);
	__u32 folder, name, above, bits;

	if (!s || !c)
		return 0;
	folder = folder_length(slot, at, length);
	name = folder > 1 ? folder + 1 : 1;
	if (length <= name)
		return 0;
	bits = text_name_watch(s, &c->name, at + name, length - name, 0);
	if (length - name > ENDING)
		bits |= text_name_watch(s, &c->name, at + length - ENDING, ENDING, 1);
	if (folder <= 1)
		return bits;
	above = folder_length(slot, at, folder);
	name = above > 1 ? above + 1 : 1;
	if (folder > name)
		bits |= text_name_watch(s, &c->name, at + name, folder - name, 0);
	return bits;
}

// What a call that names a file by text does with the first that it names; 0 for what policies say nothing of.
__inline __u32 deed_of(__u32 type)
{
	switch (type) {
	case HF_CREATE:
	case HF_SYMLINK:
		return HF_MAY_CREATE;
	case HF_UNLINK:
	case HF_RENAME:
		return HF_MAY_DELETE;
	case HF_CHMOD:
	case HF_CHOWN:
	case HF_TRUNCATE:
		return HF_MAY_WRITE;
	default:
		return 0;
	}
}

// What a link does with the file that it is made to. Under a new name, one that is protected could be read as if it were not.
__inline __u32 link_deed(const struct file_op *op)
{
	__u32 bits = text_watch(op->s->slot, op->at, op->length) | path_watch(op->s->slot, op->at, op->length);

	return bits & HF_WATCH_PROTECT ? HF_MAY_READ : 0;
}

// Appends the path that the caller gave, which is all that is left of it, as policies know it where one is to judge, and
// gives its length.
__inline __u32 text_append(struct file_op *op, __s32 dir, __u64 address)
{
	op->at = op->s->size;
	op->length = path_user(op->s->slot, dir, address, op->c->judged);
	op->cut = 0;
	if (path_watch(op->s->slot, op->at, op->length) & HF_WATCH_WRITE)
		op->c->watched = true;
	return op->length;
}

// Judges a deed on the file whose path was appended last. It is done, and cannot be refused.
__inline void text_deed(struct file_op *op, __u32 deed)
{
	if (deed)
		op_judge(op, deed);
}

// Appends the second text: another path, or for a symbolic link and a mount what the caller wrote.
__inline void text_target(const struct call *call, struct file_op *op)
{
	const struct hf_syscall *how = call->how;
	__u64 address = call_argument(call, how->target);
	__s32 dir = AT_FDCWD;

	if (how->type == HF_SYMLINK || (how->type == HF_MOUNT && !how->target_dir)) {
		if (address)
			op->record->target_len = (__u16)text_user_str(op->s, (void *)address, TEXT_MAX);
		return;
	}
	if (how->target_dir)
		dir = (__s32)call_argument(call, how->target_dir);
	op->record->target_len = (__u16)text_append(op, dir, address);
	if (how->type == HF_RENAME || how->type == HF_LINK)
		text_deed(op, HF_MAY_CREATE);
}

// What a mount call says of what it mounted: the type as text or, of a mount that a descriptor stands for, the real one.
__inline void mount_kind(const struct call *call, struct hf_file_op *record)
{
	const struct hf_syscall *how = call->how;
	struct file *file;

	if (how->kind) {
		bpf_probe_read_user_str(record->fstype, sizeof(record->fstype), (void *)call_argument(call, how->kind));
		return;
	}
	file = file_of((__u32)call_argument(call, how->target_dir));
	if (!file)
		return;
	read_file(&record->file, READ1(file, f_inode));
	bpf_probe_read_kernel_str(record->fstype, sizeof(record->fstype),
				  READ4(file, f_path.mnt, mnt_sb, s_type, name));
}

__inline void text_call(const struct call *call)
{
	const struct hf_syscall *how = call->how;
	__u32 type = how->type;
	__s32 dir = AT_FDCWD;
	struct file_op op;

	if (!op_begin(&op, type))
		return;
	call_numbers(call, op.record);
	op.record->head.flags |= HF_F_USER_TEXT;
	if (type == HF_MOUNT)
		mount_kind(call, op.record);
	if (how->dir)
		dir = (__s32)call_argument(call, how->dir);
	op.record->path_len = (__u16)text_append(&op, dir, call_argument(call, how->path));
	// Only of a link to what is protected, reading is asked about.
	op.c->protected = true;
	text_deed(&op, type == HF_LINK ? link_deed(&op) : deed_of(type));
	if (how->target)
		text_target(call, &op);
	op_end(&op, type == HF_MOUNT);
}

// The row of a call; NULL when it is not looked at.
__inline const struct hf_syscall *call_row(__u32 number, bool compat)
{
	struct hf_syscall_row *row = bpf_map_lookup_elem(&syscalls, &number);

	if (!row)
		return NULL;
	return compat ? &row->compat : &row->native;
}

// What a call did to files that it names by text. This and the next are global, so that each is verified for itself and
// has no more of the stack than it needs.
__attribute__((noinline)) int sys_text(__u32 number, __u32 compat, __u64 regs, __s64 result)
{
	struct call call = { .how = call_row(number, compat), .regs = regs, .result = result, .compat = compat };

	if (call.how)
		text_call(&call);
	return 0;
}

// What a call did to a file that it has a descriptor of.
__attribute__((noinline)) int sys_file(__u32 number, __u32 compat, __u64 regs, __s64 result)
{
	struct call call = { .how = call_row(number, compat), .regs = regs, .result = result, .compat = compat };
	struct file *file;
	__u32 fd;

	if (!call.how)
		return 0;
	fd = call.how->fd == HF_ARG_RESULT ? (__u32)result : (__u32)call_argument(&call, call.how->fd);
	file = file_of(fd);
	if (file)
		file_call(&call, file);
	return 0;
}

// The same for mmap.
__attribute__((noinline)) int sys_mapping(__u32 number, __u32 compat, __u64 regs)
{
	struct call call = { .how = call_row(number, compat), .regs = regs, .compat = compat };
	struct file *file;

	if (!call.how || !(call_argument(&call, call.how->flags) & PROT_EXEC))
		return 0;
	file = file_of((__u32)call_argument(&call, call.how->fd));
	if (file)
		mapping_call(&call, file);
	return 0;
}
