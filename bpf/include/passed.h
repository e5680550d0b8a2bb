// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Sockets that one container made and another uses: inherited, or passed as a descriptor (SCM_RIGHTS, pidfd_getfd).
// Every cgroup program then acts for the container that made the socket, so the sender is looked at.

#pragma once

#include "egress.h"

// A socket is reported once for each container that uses it, and again after this time.
#define PASSED_AGAIN (10ull * 1000000000)

struct passed_key {
	// Of the socket's file: the kernel gives each socket another.
	__u64 inode;
	__u64 origin;
};

// When a socket was last reported. What is evicted is reported again, no more.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct passed_key);
	__type(value, __u64);
} passed_at SEC(".maps");

// UNIX and netlink sockets are passed and inherited all the time, by container runtimes too, and lead nowhere outside.
__inline bool leads_out(__u16 family)
{
	return family != AF_UNIX && family != AF_NETLINK;
}

__inline bool passed_again(struct sock *sk, __u64 origin)
{
	struct passed_key key = { .inode = READ4(sk, sk_socket, file, f_inode, i_ino), .origin = origin };
	__u64 now = bpf_ktime_get_boot_ns(), *last;

	last = bpf_map_lookup_elem(&passed_at, &key);
	if (last && now - *last < PASSED_AGAIN)
		return true;
	bpf_map_update_elem(&passed_at, &key, &now, BPF_ANY);
	return false;
}

// Judges and reports that the current task sends from a socket of another container, and says whether it is to be
// refused, which the caller may be able to do or not. The caller has found that the cgroups differ, and says whether it
// may read the socket's storage.
__inline bool passed_send(struct sock *sk, struct cgroup *home, __u64 bytes, bool storage, bool can_refuse)
{
	__u64 socket_cgroup = READ2(home, kn, id), socket_origin = container_of_cgroup(socket_cgroup);
	struct judgment judgment = {};
	struct sock_state *state;
	struct hf_policy policy;
	struct hf_net *record;
	struct actor actor;
	struct scratch *s;
	bool refused;

	if (!leads_out(READ1(sk, __sk_common.skc_family)) || !judges())
		return false;
	// The creator's lineage is better than its cgroup, where it is known.
	if (storage && is_inet(READ1(sk, __sk_common.skc_family))) {
		state = bpf_sk_storage_get(&sock_states, sk, NULL, 0);
		if (state && state->home_cgroup)
			socket_origin = state->home_origin;
	}
	actor_of(&actor, NULL);
	if (actor.origin == socket_origin)
		return false;
	// What is to be learned of it no policy can list.
	if (policy_of(actor.origin, &policy) && mode_of(&policy, HF_SIGNAL_EGRESS) > HF_MODE_LEARN) {
		if (can_refuse)
			judge(&judgment, &policy, false, HF_SIGNAL_EGRESS, HF_REASON_PASSED_SOCKET);
		else
			judge_late(&judgment, &policy, false, HF_SIGNAL_EGRESS, HF_REASON_PASSED_SOCKET);
	}
	refused = judgment.flag & HF_F_BLOCKED;
	if (passed_again(sk, actor.origin))
		return refused;
	if (!net_wanted(HF_PASSED_SOCKET, actor.origin, true) && !judgment.flag)
		return refused;
	s = net_begin(HF_PASSED_SOCKET);
	if (!s)
		return refused;
	record = (struct hf_net *)s->bytes;
	net_from_sock(record, sk);
	record->bytes_out = bytes;
	record->socket_cgroup = socket_cgroup;
	record->socket_origin = socket_origin;
	net_send_judged(s, true, &judgment, true);
	return refused;
}
