// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Judgments of what a container does on the network: who is judged, what is found, how it is told. Here also are the kinds
// of sockets that a policy lists; contacts are in contact.h, names in names.h, ports in listen.h.

#pragma once

#include "policy.h"
#include "socket.h"

// Who is judged: the container and the executable.
struct actor {
	__u64 origin;
	__u64 exe;
};

// What was found about a deed; flag is 0 when there is nothing to tell.
struct judgment {
	__u32 flag;
	__u32 signal;
	__u32 reason;
};

// The current process, whose entry may be NULL; where the kernel acts on its behalf in a thread of its own (the workers of
// io_uring before 5.12, further paths of MPTCP), the socket's owner.
__inline void actor_from(struct actor *to, const struct hf_process *process, const struct sock_state *state)
{
	to->exe = exe_in(process);
	to->origin = process ? process->origin : 0;
	if (likely(to->origin))
		return;
	if (state && is_kthread()) {
		to->origin = state->owner.origin;
		to->exe = exe_of(state->owner.tgid);
		return;
	}
	to->origin = container_of_cgroup(bpf_get_current_cgroup_id());
}

__inline void actor_of(struct actor *to, const struct sock_state *state)
{
	actor_from(to, process_now(), state);
}

// The verdict on what is not listed, or the count of what is.
__inline void judge(struct judgment *to, const struct hf_policy *policy, bool listed, __u32 signal, __u32 reason)
{
	if (mode_of(policy, signal) == HF_MODE_OFF)
		return;
	if (listed) {
		count_known(policy, signal);
		return;
	}
	to->flag = verdict(policy, signal);
	to->signal = signal;
	to->reason = reason;
}

// The same where nothing can be refused any more.
__inline void judge_late(struct judgment *to, const struct hf_policy *policy, bool listed, __u32 signal, __u32 reason)
{
	if (listed || verdict_of(policy, signal) != VERDICT_BLOCK) {
		judge(to, policy, listed, signal, reason);
		return;
	}
	count_verdict(policy, signal, VERDICT_WOULD_BLOCK);
	to->flag = VERDICT_WOULD_BLOCK;
	to->signal = signal;
	to->reason = reason;
}

// The answer of a security hook. By two ways: the verifier has to see the two numbers, not a calculation of one.
__inline int refusal(bool refused)
{
	if (!refused)
		return 0;
	asm volatile("");
	return -EPERM;
}

// Sets an address as the keys of maps have it: IPv4 as v4-mapped IPv6.
__inline void addr_key(__u8 *to, const __u8 *addr, __u16 family)
{
	const __u32 *from = (const __u32 *)addr;
	__u32 *words = (__u32 *)to;

	if (family == AF_INET) {
		words[0] = words[1] = 0;
		words[2] = swap32(0xffff);
		words[3] = from[0];
		return;
	}
	words[0] = from[0];
	words[1] = from[1];
	words[2] = from[2];
	words[3] = from[3];
}

// A TCP connection of MPTCP is one of TCP.
__inline __u8 protocol_key(__u32 protocol)
{
	return protocol == IPPROTO_MPTCP ? IPPROTO_TCP : (__u8)protocol;
}

// A socket that carries what no policy can look into: of another family, raw, or of another protocol than TCP and UDP.
__inline void judge_socket(struct judgment *to, const struct actor *actor, __u32 family, __u32 kind)
{
	bool raw = family == AF_PACKET || (is_inet(family) && kind == SOCK_RAW), listed;
	struct hf_policy policy;

	if (!policy_of(actor->origin, &policy))
		return;
	listed = allowed(&policy, HF_ALLOW_SOCKET, actor->exe, family << 16 | kind, 0, 1) & 1;
	if (raw)
		judge(to, &policy, listed, stronger(&policy, HF_SIGNAL_PROTECT, HF_SIGNAL_EGRESS),
		      HF_REASON_RAW_SOCKET);
	else
		judge(to, &policy, listed, HF_SIGNAL_EGRESS, HF_REASON_SOCKET);
}

// A port to listen on; 0 for one that the kernel chooses.
__inline bool listen_listed(const struct hf_policy *policy, const struct actor *actor, __u32 protocol, __u16 port)
{
	__u64 object = (__u64)protocol_key(protocol) << 16 | port;

	return allowed(policy, HF_ALLOW_LISTEN, actor->exe, object, 0, 1) & 1;
}

// Whether a judgment is to be told: there is one, and the same was not told just now. object tells deeds of a type apart.
__inline bool judgment_fresh(const struct judgment *judgment, const struct actor *actor, __u32 type, __u64 object)
{
	struct told_key key = { .origin = actor->origin, .subject = actor->exe, .object = object, .type = (__u8)type };

	if (!judgment->flag)
		return false;
	key.reason = (__u8)judgment->reason;
	key.verdict = (__u8)(judgment->flag >> 8);
	return !told(&key);
}

// Notes in a record what was found. What was refused has failed.
__inline void judgment_note(struct hf_head *head, const struct judgment *judgment)
{
	if (!judgment->flag)
		return;
	head_verdict(head, judgment->flag, judgment->signal, judgment->reason);
	if (judgment->flag & HF_F_BLOCKED) {
		head->result = -EPERM;
		head->flags |= HF_F_RESULT;
	}
}

// Completes a record and gives its ring: at once goes what is watched or goes against the policy, the rest with the others.
__inline __u32 net_judged(struct scratch *s, bool watched, const struct judgment *judgment, bool fresh)
{
	struct hf_head *head = (struct hf_head *)s->bytes;

	judgment_note(head, judgment);
	if (watched)
		head->flags |= HF_F_WATCHED;
	return watched || (fresh && judgment->flag != VERDICT_LEARN) ? RING_URGENT : RING_BULK;
}

__inline void net_send_judged(struct scratch *s, bool watched, const struct judgment *judgment, bool fresh)
{
	record_send(s, net_judged(s, watched, judgment, fresh));
}
