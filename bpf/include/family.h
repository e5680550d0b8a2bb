// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Sockets of families other than IP, for which no cgroup program runs.

#pragma once

#include "socket.h"

// Families through which data leaves or the kernel is attacked: worth a person's attention wherever they are made.
__inline bool is_sensitive(__u32 family)
{
	return family == AF_PACKET || family == AF_ALG || family == AF_VSOCK || family == AF_XDP;
}

// Reports a socket that the current task makes. UNIX sockets are left out: every name look-up makes one.
__inline void family_send(__u32 family, __u32 kind, __u32 protocol, __s32 result, __u16 flags)
{
	bool sensitive = is_sensitive(family);
	enum wanted want;
	struct hf_net *record;
	struct scratch *s;

	if (is_inet(family) || family == AF_UNIX)
		return;
	want = wanted(HF_SOCKET);
	if (want == WANT_NOT || (want == WANT_WATCHED && !sensitive)) {
		count_normal(HF_SOCKET);
		return;
	}
	s = net_begin(HF_SOCKET);
	if (!s)
		return;
	record = (struct hf_net *)s->bytes;
	record->family = (__u16)family;
	// Without SOCK_NONBLOCK and SOCK_CLOEXEC.
	record->kind = kind & 15;
	record->protocol = (__u16)protocol;
	record->head.result = result;
	record->head.flags |= flags;
	net_send(s, sensitive);
}
