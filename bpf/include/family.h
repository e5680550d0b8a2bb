// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Sockets of families other than IP, for which no cgroup program runs.

#pragma once

#include "egress.h"

// Families through which data leaves or the kernel is attacked: worth a person's attention wherever they are made.
__inline bool is_sensitive(__u32 family)
{
	return family == AF_PACKET || family == AF_ALG || family == AF_VSOCK || family == AF_XDP;
}

// When the judgment on a socket is made: before there is one, or when the program is about to have it, which ends the
// process.
enum family_when { FAMILY_BEFORE, FAMILY_AFTER };

// Judges and reports a socket that the current task makes, and says whether it is to be refused; one that the process has
// already is lost with it. UNIX sockets are left out: every name look-up makes one.
__inline bool family_made(__u32 family, __u32 kind, __u32 protocol, __u16 flags, enum family_when when)
{
	bool sensitive = is_sensitive(family), fresh;
	struct judgment judgment = {};
	struct hf_net *record;
	struct actor actor;
	struct scratch *s;

	if (is_inet(family) || family == AF_UNIX || !judges())
		return false;
	// Without SOCK_NONBLOCK and SOCK_CLOEXEC.
	kind &= 15;
	actor_of(&actor, NULL);
	judge_socket(&judgment, &actor, family, kind);
	if (when == FAMILY_AFTER && judgment.flag == HF_F_BLOCKED && bpf_send_signal(SIGKILL) == 0)
		judgment.flag = HF_F_KILLED;
	fresh = judgment_fresh(&judgment, &actor, HF_SOCKET, family << 16 | kind);
	if (!net_wanted(HF_SOCKET, actor.origin, sensitive) && !fresh)
		return judgment.flag & HF_F_BLOCKED;
	s = net_begin(HF_SOCKET);
	if (!s)
		return judgment.flag & HF_F_BLOCKED;
	record = (struct hf_net *)s->bytes;
	record->family = (__u16)family;
	record->kind = (__u16)kind;
	record->protocol = (__u16)protocol;
	record->head.flags |= flags;
	net_send_judged(s, sensitive, &judgment, fresh);
	return judgment.flag & HF_F_BLOCKED;
}

// Reports a socket that the kernel refused to make.
__inline void family_failed(__u32 family, __u32 kind, __u32 protocol, __s32 result)
{
	struct hf_net *record;
	struct scratch *s;
	__u64 origin = origin_now(process_now());

	if (is_inet(family) || family == AF_UNIX || !net_wanted(HF_SOCKET, origin, is_sensitive(family)))
		return;
	s = net_begin(HF_SOCKET);
	if (!s)
		return;
	record = (struct hf_net *)s->bytes;
	record->family = (__u16)family;
	record->kind = kind & 15;
	record->protocol = (__u16)protocol;
	record->head.result = result;
	record->head.flags |= HF_F_RESULT;
	net_send(s, is_sensitive(family));
}
