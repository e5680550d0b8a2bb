// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The kernel types that Holdfast reads, with only the fields it reads. Each access is relocated at load against the
// BTF of the running kernel (CO-RE), so order, offsets and the fields left out do not matter. Names and types follow
// include/linux/ of the kernel; a field that some kernel from 5.10 on lacks says so.

#pragma once

#include "constants.h"
#include "bpf.h"

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	__u32 val;
} kuid_t;

typedef struct {
	__u32 val;
} kgid_t;

struct qstr {
	// hash and len share a 64-bit word in an anonymous union.
	__u32 hash;
	__u32 len;
	const unsigned char *name;
} __core;

struct file_system_type {
	const char *name;
} __core;

struct super_block {
	__u32 s_dev;
	unsigned long s_magic;
	struct file_system_type *s_type;
	struct dentry *s_root;
} __core;

struct inode {
	__u16 i_mode;
	kuid_t i_uid;
	kgid_t i_gid;
	struct super_block *i_sb;
	unsigned long i_ino;
	__u32 i_nlink;
	__u32 i_generation;
	__u32 i_rdev;
} __core;

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	struct super_block *d_sb;
} __core;

struct vfsmount {
	struct dentry *mnt_root;
	struct super_block *mnt_sb;
} __core;

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	const char *mnt_devname;
	// An error value (MNT_NS_INTERNAL) for mounts that the kernel made for itself.
	struct mnt_namespace *mnt_ns;
} __core;

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
} __core;

struct file {
	struct path f_path;
	struct inode *f_inode;
	__u32 f_flags;
	// fmode_t; moved within the structure over time.
	__u32 f_mode;
	void *private_data;
} __core;

// fs/file_table.c. From 6.7 on, what stands behind a file of an overlay has a path of its own, and this beside it.
struct backing_file {
	struct path user_path;
} __core;

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
} __core;

struct files_struct {
	struct fdtable *fdt;
} __core;

struct fs_struct {
	struct path root;
	struct path pwd;
} __core;

struct mm_struct {
	struct file *exe_file;
	unsigned long arg_start;
	unsigned long arg_end;
	unsigned long env_start;
	unsigned long env_end;
} __core;

struct ns_common {
	unsigned int inum;
} __core;

struct mnt_namespace {
	struct ns_common ns;
} __core;

struct pid_namespace {
	struct ns_common ns;
} __core;

struct net {
	struct ns_common ns;
} __core;

struct user_namespace {
	struct ns_common ns;
	int level;
} __core;

struct ipc_namespace {
	struct ns_common ns;
} __core;

struct uts_namespace {
	struct ns_common ns;
} __core;

struct cgroup_namespace {
	struct ns_common ns;
} __core;

struct nsproxy {
	struct uts_namespace *uts_ns;
	struct ipc_namespace *ipc_ns;
	struct mnt_namespace *mnt_ns;
	struct pid_namespace *pid_ns_for_children;
	struct net *net_ns;
	struct cgroup_namespace *cgroup_ns;
} __core;

struct upid {
	int nr;
	struct pid_namespace *ns;
} __core;

struct pid {
	unsigned int level;
	struct upid numbers[1];
} __core;

// One 64-bit word before 6.3 was two 32-bit ones; both are eight bytes in the same order on little-endian machines.
typedef struct {
	__u64 val;
} kernel_cap_t;

struct cred {
	kuid_t uid;
	kgid_t gid;
	kuid_t suid;
	kgid_t sgid;
	kuid_t euid;
	kgid_t egid;
	kuid_t fsuid;
	kernel_cap_t cap_inheritable;
	kernel_cap_t cap_permitted;
	kernel_cap_t cap_effective;
	kernel_cap_t cap_bset;
	kernel_cap_t cap_ambient;
	struct user_namespace *user_ns;
} __core;

struct tty_struct {
	char name[64];
} __core;

struct signal_struct {
	struct tty_struct *tty;
	int group_exit_code;
	atomic_t live;
} __core;

struct kernfs_node {
	__u64 id;
	const char *name;
} __core;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
} __core;

struct cgroup_root {
	int hierarchy_id;
} __core;

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
	int level;
	struct cgroup_root *root;
} __core;

struct css_set {
	struct cgroup *dfl_cgrp;
} __core;

struct list_head {
	struct list_head *next;
} __core;

// TS_COMPAT of x86 is in status; arm64 has no such field, and a bit in flags.
struct thread_info {
	unsigned long flags;
	__u32 status;
} __core;

// arch/x86/include/asm/ptrace.h
struct pt_regs___x86 {
	unsigned long r14;
	unsigned long r10;
	unsigned long r9;
	unsigned long r8;
	unsigned long bx;
	unsigned long bp;
	unsigned long cx;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long ax;
	unsigned long orig_ax;
} __core;

// arch/arm64/include/asm/ptrace.h
struct pt_regs___arm64 {
	__u64 regs[31];
	__u64 orig_x0;
	__s32 syscallno;
} __core;

struct module {
	char name[56];
	unsigned long taints;
} __core;

// io_uring/, include/linux/io_uring_types.h
struct io_cmd_data {
	struct file *file;
} __core;

struct io_kiocb {
	// From 6.0; what the operation has copied of the request begins here.
	struct io_cmd_data cmd;
	__u8 opcode;
} __core;

struct open_how {
	__u64 flags;
} __core;

struct io_open {
	// Not 0 for an open into the table of the ring.
	__u32 file_slot;
	struct open_how how;
} __core;

struct io_uring_cqe {
	__s32 res;
} __core;

// From 5.19.
struct io_socket {
	int domain;
	int type;
	int protocol;
} __core;

struct task_struct {
	struct thread_info thread_info;
	int pid;
	int tgid;
	unsigned int flags;
	int exit_code;
	__u64 start_boottime;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	const struct cred *real_cred;
	const struct cred *cred;
	char comm[16];
	struct mm_struct *mm;
	struct fs_struct *fs;
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	struct css_set *cgroups;
	struct pid *thread_pid;
	// CONFIG_AUDIT.
	kuid_t loginuid;
	// Tasks that this one traces, and its place in its tracer's list.
	struct list_head ptraced;
	struct list_head ptrace_entry;
} __core;

struct linux_binprm {
	struct file *file;
	const char *filename;
	const char *interp;
	const struct cred *cred;
	// The first bytes of the file.
	char buf[256];
} __core;

struct vm_area_struct {
	struct file *vm_file;
} __core;

typedef struct {
	__s64 counter;
} atomic64_t;

struct in6_addr {
	union {
		__u8 u6_addr8[16];
		__be32 u6_addr32[4];
	} in6_u;
} __core;

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	unsigned char skc_state;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
	unsigned long skc_flags;
} __core;

struct sock_cgroup_data {
	// From 5.15.
	struct cgroup *cgroup;
} __core;

struct sock_cgroup_data___before_5_15 {
	// A pointer to the cgroup, unless one of the two lowest bits is set.
	__u64 val;
} __core;

struct sock {
	struct sock_common __sk_common;
	struct socket *sk_socket;
	__u16 sk_type;
	__u16 sk_protocol;
	__u32 sk_max_ack_backlog;
	struct sock_cgroup_data sk_cgrp_data;
} __core;

struct socket {
	short type;
	struct file *file;
	struct sock *sk;
} __core;

struct tcp_sock {
	__u32 data_segs_out;
	__u32 data_segs_in;
	__u64 bytes_sent;
	__u64 bytes_retrans;
	__u64 bytes_received;
} __core;

struct sockaddr_un {
	__u16 sun_family;
	char sun_path[108];
} __core;

struct unix_address {
	int len;
	struct sockaddr_un name[0];
} __core;

struct unix_sock {
	struct sock sk;
	struct unix_address *addr;
	struct path path;
	struct sock *peer;
} __core;
