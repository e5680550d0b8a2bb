// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The eBPF side of the C language: fixed-width types, section and map macros, and the helpers that Holdfast calls.
// Helper numbers are kernel ABI (include/uapi/linux/bpf.h, enum bpf_func_id); a helper is listed with the first kernel
// that has it where that is newer than 5.10. Nothing else is included from the system, so that an object depends on
// the compiler alone.

#pragma once

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef short __s16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef _Bool bool;

#define true 1
#define false 0
#define NULL ((void *)0)

#define SEC(name) __attribute__((section(name), used))
#define __inline static inline __attribute__((always_inline))
#define __hidden __attribute__((visibility("hidden")))
#define __core __attribute__((preserve_access_index))

// Keeps the compiler from undoing a bound that the verifier has to see.
#define barrier_var(var) asm volatile("" : "+r"(var))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

// Map definitions, read by the loader from BTF.
#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]

enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LPM_TRIE = 11,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_EXIST = 2,
	BPF_F_NO_PREALLOC = 1,
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
	BPF_SK_STORAGE_GET_F_CREATE = 1,
	BPF_F_CLONE = 512,
};

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
// int, not long: before 6.4 the verifier puts the map's own function in place of these helpers, and that leaves the
// upper half of the result undefined, so that an error read as long is a positive number.
static int (*bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) = (void *)2;
static int (*bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static __u32 (*bpf_get_smp_processor_id)(void) = (void *)8;
static __u64 (*bpf_get_current_pid_tgid)(void) = (void *)14;
static __u64 (*bpf_get_current_uid_gid)(void) = (void *)15;
static long (*bpf_get_current_comm)(void *buf, __u32 size) = (void *)16;
static long (*bpf_skb_load_bytes)(const void *skb, __u32 offset, void *to, __u32 len) = (void *)26;
static __u64 (*bpf_get_current_task)(void) = (void *)35;
static __u64 (*bpf_get_socket_cookie)(void *ctx) = (void *)46;
static __u64 (*bpf_get_current_cgroup_id)(void) = (void *)80;
static long (*bpf_probe_read_user)(void *dst, __u32 size, const void *unsafe) = (void *)112;
static long (*bpf_probe_read_kernel)(void *dst, __u32 size, const void *unsafe) = (void *)113;
static long (*bpf_probe_read_user_str)(void *dst, __u32 size, const void *unsafe) = (void *)114;
static long (*bpf_probe_read_kernel_str)(void *dst, __u32 size, const void *unsafe) = (void *)115;
static long (*bpf_sock_ops_cb_flags_set)(void *ctx, int flags) = (void *)59;
static void *(*bpf_sk_fullsock)(void *sk) = (void *)95;
struct bpf_spin_lock;
static long (*bpf_spin_lock)(struct bpf_spin_lock *lock) = (void *)93;
static long (*bpf_spin_unlock)(struct bpf_spin_lock *lock) = (void *)94;
static long (*bpf_send_signal)(__u32 signal) = (void *)109;
static void *(*bpf_skc_to_tcp_sock)(void *sk) = (void *)137;
static void *(*bpf_sk_storage_get)(void *map, void *sk, void *value, __u64 flags) = (void *)107;
static __u64 (*bpf_ktime_get_boot_ns)(void) = (void *)125;
static long (*bpf_ringbuf_output)(void *ring, void *data, __u64 size, __u64 flags) = (void *)130;
static __u64 (*bpf_skb_cgroup_id)(void *skb) = (void *)79;
// 5.11
static struct task_struct *(*bpf_get_current_task_btf)(void) = (void *)158;
static struct socket *(*bpf_sock_from_file)(void *file) = (void *)162;
// 5.17
static long (*bpf_loop)(__u32 count, void *callback, void *context, __u64 flags) = (void *)181;

// Reads a chain of kernel pointers, each field relocated to the running kernel (CO-RE). A read that fails leaves zero,
// which every caller treats as "not there".
#define READ1(src, a) \
	({ \
		__typeof_unqual__((src)->a) __v = 0; \
		bpf_probe_read_kernel(&__v, sizeof(__v), &(src)->a); \
		__v; \
	})
#define READ2(src, a, b) READ1(READ1(src, a), b)
#define READ3(src, a, b, c) READ1(READ2(src, a, b), c)
#define READ4(src, a, b, c, d) READ1(READ3(src, a, b, c), d)
#define READ5(src, a, b, c, d, e) READ1(READ4(src, a, b, c, d), e)

// The same for a pointer whose type the verifier knows: an argument of a tp_btf, LSM, fmod_ret or fentry program, and what
// is loaded from one by this. Each field is one load, that gives zero where nothing is there, instead of a call.
#define LOAD1(src, a) ((src)->a)
#define LOAD2(src, a, b) LOAD1(LOAD1(src, a), b)
#define LOAD3(src, a, b, c) LOAD1(LOAD2(src, a, b), c)
#define LOAD4(src, a, b, c, d) LOAD1(LOAD3(src, a, b, c), d)

// A kernel pointer as a number, which is all that a global function takes: to the verifier, what is read back from
// memory is no pointer any more.
__inline __u64 address_of(const void *pointer)
{
	__u64 address = 0;

	bpf_probe_read_kernel(&address, sizeof(address), &pointer);
	return address;
}

// CO-RE questions, answered at load from the kernel's own types.
#define field_exists(type, field) __builtin_preserve_field_info(((typeof(type) *)0)->field, 2)
#define field_offset(type, field) __builtin_preserve_field_info(((typeof(type) *)0)->field, 0)
#define type_size(type) __builtin_preserve_type_info(*(typeof(type) *)0, 1)
#define type_exists(type) __builtin_preserve_type_info(*(typeof(type) *)0, 0)

// Hands the arguments of a BTF-typed program (tp_btf, LSM, fmod_ret) to a function with real parameter types. The
// kernel passes them as an array of 64-bit values.
#define ARG(ctx, n, type) ((type)((__u64 *)(ctx))[n])
