// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What a process runs, as the records of an exec and of a process that is there have it (struct hf_exec): who it acts as,
// its file, its arguments.

#pragma once

#include "path.h"

#define ARGV_PART 4096
// What was given to exec is kept up to here; with the other texts at their longest, the record still fits its buffer.
#define FILENAME_MAX 1024

// AF_UNIX, include/linux/socket.h.
#define FAMILY_UNIX 1

// What an open file is, as the bit of hf_stdio for descriptor 0; 0 for anything but sockets and pipes.
__inline __u32 file_kind(struct file *file)
{
	__u16 kind;

	if (!file)
		return 0;
	kind = READ2(file, f_inode, i_mode) & S_IFMT;
	if (kind == S_IFSOCK) {
		struct socket *socket = READ1(file, private_data);

		return READ2(socket, sk, __sk_common.skc_family) == FAMILY_UNIX ? HF_STDIN_UNIX : HF_STDIN_SOCKET;
	}
	return kind == S_IFIFO ? HF_STDIN_PIPE : 0;
}

__inline __u32 stdio_kind(struct task_struct *task, __u32 n)
{
	struct fdtable *table = READ2(task, files, fdt);
	struct file **slots = READ1(table, fd), *file = NULL;

	if (READ1(table, max_fds) <= n)
		return 0;
	bpf_probe_read_kernel(&file, sizeof(file), &slots[n]);
	return file_kind(file);
}

// The same for descriptor 0 of a task whose type the verifier knows.
__inline __u32 stdin_kind(struct task_struct *task)
{
	struct fdtable *table = LOAD2(task, files, fdt);
	struct file *file = NULL;

	// Every table has room for this one.
	if (table)
		bpf_probe_read_kernel(&file, sizeof(file), LOAD1(table, fd));
	return file_kind(file);
}

// The fixed part that does not come from the program's arguments. This and exec_argv are functions for what they need of the
// stack, which whoever calls them must share with those that follow paths.
static __attribute__((noinline)) void exec_fill(struct scratch *s, struct task_struct *task)
{
	struct hf_exec *record = (struct hf_exec *)s->bytes;
	struct task_struct *parent = READ1(task, real_parent);

	read_cred(&record->cred, READ1(task, cred), task);
	read_spaces(&record->spaces, task);
	record->ppid = (__u32)READ1(parent, tgid);
	record->parent_start = task_start(parent);
	record->stdio = stdio_kind(task, 0) | stdio_kind(task, 1) << 1 | stdio_kind(task, 2) << 2;
	record->pad = 0;
	// The kernel may leave the end of an older name behind the NUL.
	__builtin_memset(record->comm, 0, sizeof(record->comm));
	bpf_probe_read_kernel_str(record->comm, sizeof(record->comm), &READ1(task, group_leader)->comm);
	__builtin_memset(record->tty, 0, sizeof(record->tty));
	bpf_probe_read_kernel_str(record->tty, sizeof(record->tty), READ2(task, signal, tty)->name);
}

__inline bool is_memfd(struct dentry *dentry)
{
	char name[8] = {};

	bpf_probe_read_kernel_str(name, sizeof(name), READ1(dentry, d_name.name));
	return name[0] == 'm' && name[1] == 'e' && name[2] == 'm' && name[3] == 'f' && name[4] == 'd' && name[5] == ':';
}

// The file that runs and the texts before argv. filename and interp are the kernel's own copies and may be NULL.
__inline void exec_names(struct scratch *s, struct task_struct *task, const char *filename, const char *interp)
{
	struct hf_exec *record = (struct hf_exec *)s->bytes;
	struct file *exe = READ2(task, mm, exe_file);
	struct fs_struct *fs = READ1(task, fs);

	read_file(&record->file, READ1(exe, f_inode));
	if (record->file.nlink == 0 && is_memfd(READ1(exe, f_path.dentry)))
		record->file.flags |= HF_FILE_MEMFD;
	record->exe_len = (__u16)text_path(s, &exe->f_path);
	record->filename_len = filename ? (__u16)text_kernel_str(s, filename, FILENAME_MAX) : 0;
	record->interp_len = interp && interp != filename ? (__u16)text_kernel_str(s, interp, FILENAME_MAX) : 0;
	if (record->filename_len == FILENAME_MAX - 1)
		record->head.flags |= HF_F_TRUNCATED;
	record->cwd_len = (__u16)text_path(s, &fs->pwd);
	// The arguments come before the working directory where there is no room for both.
	if (s->size > SCRATCH_SIZE - 2 * ARGV_PART) {
		s->size -= record->cwd_len;
		record->cwd_len = 0;
		record->head.flags |= HF_F_TRUNCATED;
	}
}

#define HASH_START 14695981039346656037ull
#define HASH_PRIME 1099511628211ull
// Parts of ARGV_PART bytes in a block, and blocks in the longest vector that the kernel takes: 6 MiB (fs/exec.c,
// bprm_stack_limits).
#define HASH_PARTS 32
#define HASH_BLOCKS 48

// Goes on with the hash over the first ARGV_PART of size bytes of the vector; 0 if they could not be read. These functions
// are global, so that each loop is verified once.
__attribute__((noinline)) __u64 hash_part(__u32 slot, __u64 address, __u64 size, __u64 hash)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	__u32 at, words;

	if (!s || size == 0)
		return 0;
	if (size > ARGV_PART)
		size = ARGV_PART;
	at = (s->size + 7) & (SCRATCH_SIZE - 8);
	words = ((__u32)size + 7) / 8;
	*(__u64 *)&s->bytes[at + ((words - 1) & (ARGV_PART / 8 - 1)) * 8] = 0;
	if (bpf_probe_read_user(&s->bytes[at], (__u32)size, (void *)address) < 0)
		return 0;
	for (__u32 i = 0; i < ARGV_PART / 8; i++) {
		if (i >= words)
			break;
		hash = (hash ^ *(__u64 *)&s->bytes[at + i * 8]) * HASH_PRIME;
	}
	return hash;
}

// The same over the first HASH_PARTS parts.
__attribute__((noinline)) __u64 hash_block(__u32 slot, __u64 address, __u64 size, __u64 hash)
{
	for (__u64 done = 0; done < HASH_PARTS * ARGV_PART; done += ARGV_PART) {
		if (done >= size || hash == 0)
			break;
		hash = hash_part(slot, address + done, size - done, hash);
	}
	return hash;
}

// The hash of the whole vector; 0 when not all of it could be read.
__attribute__((noinline)) __u64 hash_argv(__u32 slot, __u64 address, __u64 size)
{
	const __u64 block = HASH_PARTS * ARGV_PART;
	__u64 hash = HASH_START;

	for (__u64 done = 0; done < HASH_BLOCKS * block; done += block) {
		if (done >= size || hash == 0)
			return hash;
		hash = hash_block(slot, address + done, size - done, hash);
	}
	return 0;
}

// The argument vector as it stands in the new image: nothing but the kernel has written there yet.
static __attribute__((noinline)) void exec_argv(struct scratch *s, struct task_struct *task)
{
	struct hf_exec *record = (struct hf_exec *)s->bytes;
	struct mm_struct *mm = READ1(task, mm);
	unsigned long from = READ1(mm, arg_start), to = READ1(mm, arg_end);
	__u64 size = to > from ? to - from : 0;
	__u32 head = size > ARGV_PART ? ARGV_PART : (__u32)size, rest = 0, got;

	record->argv_size = (__u32)size;
	record->argv_hash = 0;
	got = text_user(s, (void *)from, head);
	if (got != head)
		goto unread;
	if (size > ARGV_PART) {
		rest = size > 2 * ARGV_PART ? ARGV_PART : (__u32)(size - ARGV_PART);
		if (text_user(s, (void *)(to - rest), rest) != rest)
			goto unread;
	}
	record->argv_len = (__u16)(got + rest);
	if (size > 2 * ARGV_PART)
		record->head.flags |= HF_F_TRUNCATED;
	record->argv_hash = hash_argv(s->slot, from, size);
	if (!record->argv_hash) {
		count(HF_C_ARGV_HASH_PARTIAL);
		record->head.flags |= HF_F_PARTIAL;
	}
	return;
unread:
	count(HF_C_ARGV_READ);
	record->head.flags |= HF_F_PARTIAL;
	record->argv_len = (__u16)got;
}
