// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Connections to UNIX sockets, such as a container runtime's: by the path that the listener is bound to, as it really
// stands in the file system.

#pragma once

#include "socket.h"
#include "path.h"

// Appends the name of a UNIX socket: its path, or a NUL and the abstract name. Gives its length.
__inline __u32 text_unix(struct scratch *s, struct unix_sock *unix_sk)
{
	struct path *path = &unix_sk->path;
	struct unix_address *address = READ1(unix_sk, addr);
	__u32 at = s->size & (SCRATCH_SIZE - 1);
	int length;

	if (READ1(path, dentry))
		return text_path(s, path);
	if (!address)
		return 0;
	length = READ1(address, len) - (int)sizeof(__u16);
	if (length <= 0 || length > 108)
		return 0;
	if (bpf_probe_read_kernel(&s->bytes[at], (__u32)length & 127, &address->name[0].sun_path) < 0)
		return 0;
	s->size = at + (__u32)length;
	return (__u32)length;
}

// Reports that the current task connects to the UNIX socket, which is the listener or what stands for it.
__inline void unix_connect_send(struct sock *to, __u16 flags)
{
	struct hf_net *record;
	struct scratch *s;

	if (wanted(HF_CONNECT) != WANT_ALL) {
		count_normal(HF_CONNECT);
		return;
	}
	s = net_begin(HF_CONNECT);
	if (!s)
		return;
	record = (struct hf_net *)s->bytes;
	record->family = AF_UNIX;
	record->kind = READ1(to, sk_type);
	record->net_flags = HF_NET_OUTBOUND;
	record->head.flags |= flags;
	record->path_len = (__u16)text_unix(s, (struct unix_sock *)to);
	net_send(s, false);
}
