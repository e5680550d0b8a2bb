// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Sockets: whom one belongs to, and the ends of what it talks. Much of the network runs in softirq, where the current
// task is anybody, so the owner is kept with the socket (sk_storage): written in the context of the task that creates,
// connects or uses it, copied by the kernel from a listener to what it accepts, freed with the socket. So nothing is
// evicted and nothing has to be cleaned up.

#pragma once

#include "context.h"
#include "interest.h"
#include "introduce.h"
#include "regs.h"

// The verdict of a cgroup program.
enum { DENY = 0, ALLOW = 1 };

struct owner {
	__u64 start;
	__u64 origin;
	__u64 cgroup;
	__u32 tgid;
	__u32 tid;
};

// The other end of a flow. Addresses are as in hf_net, ports in host byte order.
struct peer {
	__u8 addr[16];
	__u16 port;
	__u16 family;
	__u16 protocol;
	__u16 pad;
};

// What went over a flow, and this end of it.
struct flow {
	__u64 bytes_out;
	__u64 bytes_in;
	__u64 packets_out;
	__u64 packets_in;
	// Packets at the last report.
	__u64 reported;
	__u64 last;
	__u8 local[16];
	__u16 local_port;
	// hf_net_flag
	__u16 flags;
	__u32 pad;
};

struct sock_state {
	struct owner owner;
	// The container of the socket's creator, and its cgroup.
	__u64 home_origin;
	__u64 home_cgroup;
	// When it was last reported as used from another container, and from which.
	__u64 passed_time;
	__u64 passed_origin;
	// The first peer of a socket that has no connection, or the only one; further ones are in flow_by_peer.
	struct peer peer;
	struct flow flow;
	__u16 kind;
	__u16 protocol;
	// The port of a bind that is under way; 0 when the kernel is to choose one.
	__u16 bind_port;
	__u16 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, __u32);
	__type(value, struct sock_state);
} sock_states SEC(".maps");

// Prefixes of addresses that a record is wanted for even where not all are: the metadata service, for one. The value
// is not looked at.
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct hf_watch_addr);
	__type(value, __u32);
} watched_addresses SEC(".maps");

// Whether a socket gets its state when it is first needed, not when it is made: from 5.12 on, where the kernel acts for a
// process in that process's own threads, and an iterator finds what was there before. Set at load.
const volatile bool state_when_needed = false;

// Whether every socket is to have its state from its making on. It is memory that the kernel gives and takes for each
// socket, and dearer than everything else that is done about one.
__inline bool state_always(void)
{
	return !state_when_needed || wanted_most(HF_FLOW) != WANT_NOT;
}

__inline bool is_inet(__u32 family)
{
	return family == AF_INET || family == AF_INET6;
}

// Sets an IPv4 address.
__inline void addr_set4(__u8 *to, __be32 addr)
{
	__u32 *words = (__u32 *)to;

	words[0] = addr;
	words[1] = words[2] = words[3] = 0;
}

__inline bool is_mapped(__be32 w0, __be32 w1, __be32 w2)
{
	return w0 == 0 && w1 == 0 && w2 == swap32(0xffff);
}

// Sets an IPv6 address, or the IPv4 address that it maps, and gives the family.
__inline __u16 addr_set6(__u8 *to, __be32 w0, __be32 w1, __be32 w2, __be32 w3)
{
	__u32 *words = (__u32 *)to;

	if (is_mapped(w0, w1, w2)) {
		addr_set4(to, w3);
		return AF_INET;
	}
	words[0] = w0;
	words[1] = w1;
	words[2] = w2;
	words[3] = w3;
	return AF_INET6;
}

__inline bool addr_watched(const __u8 *addr, __u16 family)
{
	struct hf_watch_addr key = { .bits = 128 };
	__u32 *to = (__u32 *)key.addr;
	const __u32 *from = (const __u32 *)addr;

	if (family == AF_INET) {
		to[2] = swap32(0xffff);
		to[3] = from[0];
	} else {
		to[0] = from[0];
		to[1] = from[1];
		to[2] = from[2];
		to[3] = from[3];
	}
	return bpf_map_lookup_elem(&watched_addresses, &key) != NULL;
}

// The same, asked only where somebody wants to hear of what is watched.
__inline bool net_watched(__u32 type, const __u8 *addr, __u16 family)
{
	return wanted_most(type) != WANT_NOT && addr_watched(addr, family);
}

// Fills the ends and the kind of a record from the kernel's socket.
__inline void net_from_sock(struct hf_net *record, struct sock *sk)
{
	struct in6_addr local = {}, remote = {};

	record->family = READ1(sk, __sk_common.skc_family);
	record->kind = READ1(sk, sk_type);
	record->protocol = READ1(sk, sk_protocol);
	if (!is_inet(record->family))
		return;
	record->local_port = READ1(sk, __sk_common.skc_num);
	record->remote_port = swap16(READ1(sk, __sk_common.skc_dport));
	record->cookie = (__u64)READ1(sk, __sk_common.skc_cookie.counter);
	if (record->family == AF_INET) {
		addr_set4(record->local, READ1(sk, __sk_common.skc_rcv_saddr));
		addr_set4(record->remote, READ1(sk, __sk_common.skc_daddr));
		return;
	}
	bpf_probe_read_kernel(&local, sizeof(local), &sk->__sk_common.skc_v6_rcv_saddr);
	bpf_probe_read_kernel(&remote, sizeof(remote), &sk->__sk_common.skc_v6_daddr);
	__be32 *r = remote.in6_u.u6_addr32, *l = local.in6_u.u6_addr32;
	addr_set6(record->local, l[0], l[1], l[2], l[3]);
	record->family = addr_set6(record->remote, r[0], r[1], r[2], r[3]);
	if (record->family == AF_INET)
		record->net_flags |= HF_NET_MAPPED;
}

// The cgroup2 that the socket was made in; NULL when it is not known.
__inline struct cgroup *sock_cgroup(struct sock *sk)
{
	struct sock_cgroup_data___before_5_15 *old = (void *)&sk->sk_cgrp_data;
	__u64 value;

	if (field_exists(struct sock_cgroup_data, cgroup))
		return READ1(sk, sk_cgrp_data.cgroup);
	value = READ1(old, val);
	return value & 3 ? NULL : (struct cgroup *)value;
}

// Whether the current task is a thread of the kernel's own, which acts on behalf of somebody.
__inline bool is_kthread(void)
{
	return READ1(current_task(), flags) & PF_KTHREAD;
}

// Makes the current task the owner.
__inline void owner_set(struct owner *owner)
{
	__u64 ids = bpf_get_current_pid_tgid();
	struct hf_process *process;

	if (likely(owner->tgid == ids >> 32 && owner->tid == (__u32)ids)) {
		// A cgroup may have been told to be a container's since.
		if (!owner->origin)
			owner->origin = origin_now(process_now());
		return;
	}
	if (unlikely(is_kthread()))
		return;
	owner->tgid = ids >> 32;
	owner->tid = (__u32)ids;
	process = process_now();
	owner->start = process ? process->start : task_start(current_task());
	owner->cgroup = bpf_get_current_cgroup_id();
	owner->origin = origin_now(process);
}

// The state of a socket that the current task is using, whose owner it becomes; NULL (counted) when there is no memory
// left for it within the socket's own bounds. The socket must be a program's context or come from it.
#define sock_use(sk) \
	({ \
		struct sock_state *__state = bpf_sk_storage_get(&sock_states, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE); \
		if (__state) \
			sock_own(__state); \
		else \
			count(HF_C_SOCKET_MAP_FULL); \
		__state; \
	})

__inline void sock_own(struct sock_state *state)
{
	owner_set(&state->owner);
	if (!state->home_cgroup) {
		state->home_cgroup = state->owner.cgroup;
		state->home_origin = state->owner.origin;
	}
}

// Whether a record is sent; counts what is not.
__inline bool net_wanted(__u32 type, __u64 origin, bool watched)
{
	enum wanted want = wanted_most(type);

	if (want == WANT_ALL || (want == WANT_WATCHED && watched))
		want = wanted_of(type, origin);
	if (want == WANT_ALL || (want == WANT_WATCHED && watched))
		return true;
	count_normal(type);
	return false;
}

__inline void net_clear(struct scratch *s)
{
	__builtin_memset(s->bytes + sizeof(struct hf_head), 0, sizeof(struct hf_net) - sizeof(struct hf_head));
}

// Begins a record about the current task.
__inline struct scratch *net_begin(__u32 type)
{
	struct scratch *s = record_begin(type, sizeof(struct hf_net));
	struct hf_head *head;

	if (!s)
		return NULL;
	net_clear(s);
	head = (struct hf_head *)s->bytes;
	if (is_compat())
		head->flags |= HF_F_COMPAT;
	// Workers and the submission thread of io_uring; what it does in the caller's own time looks like any call.
	if (READ1(current_task(), flags) & PF_IO_WORKER)
		head->flags |= HF_F_URING;
	return s;
}

// Fills the head for a record about a socket's owner, in whatever context.
__inline void head_owner(struct scratch *s, __u32 type, __u32 size, const struct owner *owner)
{
	struct hf_head *head = (struct hf_head *)s->bytes;

	s->size = size;
	head->type = (__u16)type;
	head->flags = 0;
	head->signal = HF_SIGNAL_NONE;
	head->reason = HF_REASON_NONE;
	head->result = 0;
	head->time = bpf_ktime_get_boot_ns();
	head->tgid = owner->tgid;
	head->tid = owner->tid;
	head->start = owner->start;
	head->cgroup = owner->cgroup;
	head->origin = owner->origin;
	if (owner->tgid == 0)
		count(HF_C_SOCKET_UNKNOWN);
}

__inline struct scratch *net_begin_owner(__u32 type, const struct owner *owner)
{
	struct scratch *s = scratch_claim();

	if (!s)
		return NULL;
	head_owner(s, type, sizeof(struct hf_net), owner);
	net_clear(s);
	((struct hf_net *)s->bytes)->net_flags = HF_NET_OWNER;
	return s;
}

// The ring of a record: what is watched is told at once, the rest with the others.
__inline __u32 net_ring(struct scratch *s, bool watched)
{
	if (!watched)
		return RING_BULK;
	((struct hf_head *)s->bytes)->flags |= HF_F_WATCHED;
	return RING_URGENT;
}

__inline void net_send(struct scratch *s, bool watched)
{
	record_send(s, net_ring(s, watched));
}
