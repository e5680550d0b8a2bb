// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Source routes: a program may give its packets a way through machines of its choice, without a privilege. The kernel then
// sends to the first of them, while whom the program contacts, by connect or a datagram's address, is the last. So such
// packets are contacts that no policy can list.

#pragma once

#include "egress.h"
#include "packet.h"

// RFC 791, 3.1. The header has room for 40 bytes of options.
#define OPTIONS_AT 20
#define OPTIONS_MAX 40
enum { OPTION_END = 0, OPTION_NONE = 1, OPTION_LOOSE_ROUTE = 131, OPTION_STRICT_ROUTE = 137 };

// Whether the options of the packet's IPv4 header have a route.
__attribute__((noinline)) int options_route(struct __sk_buff *skb)
{
	__u32 at = OPTIONS_AT, end;
	__u8 version_ihl, option[2];

	if (bpf_skb_load_bytes(skb, 0, &version_ihl, 1) < 0)
		return 0;
	end = (version_ihl & 15) * 4;
	for (__u32 i = 0; i < OPTIONS_MAX; i++) {
		if (at + 2 > end || bpf_skb_load_bytes(skb, at, option, 2) < 0 || option[0] == OPTION_END)
			break;
		if (option[0] == OPTION_LOOSE_ROUTE || option[0] == OPTION_STRICT_ROUTE)
			return 1;
		at += option[0] == OPTION_NONE ? 1 : option[1];
	}
	return 0;
}

__inline bool has_route(struct __sk_buff *skb)
{
	if (skb->protocol != swap16(ETH_P_IP))
		return true;
	return options_route(skb);
}

// Judges and reports a packet that names its way. Whether it is to be dropped.
static __attribute__((noinline)) bool routed_refused(struct __sk_buff *skb, const struct packet *packet,
						     const struct sock_state *state)
{
	struct actor actor = { .origin = state->owner.origin };
	struct judgment judgment = {};
	struct hf_policy policy;
	struct hf_net *record;
	struct scratch *s;

	if (!policy_of(actor.origin, &policy) || mode_of(&policy, HF_SIGNAL_EGRESS) == HF_MODE_OFF || !has_route(skb))
		return false;
	actor.exe = exe_of(state->owner.tgid);
	judge(&judgment, &policy, false, HF_SIGNAL_EGRESS, HF_REASON_ADDRESS);
	if (!judgment_fresh(&judgment, &actor, HF_SENDTO, *(__u64 *)packet->peer.addr))
		return judgment.flag & HF_F_BLOCKED;
	s = net_begin_owner(HF_SENDTO, &state->owner);
	if (!s)
		return judgment.flag & HF_F_BLOCKED;
	record = (struct hf_net *)s->bytes;
	record->cookie = bpf_get_socket_cookie(skb);
	__builtin_memcpy(record->local, packet->local, sizeof(record->local));
	__builtin_memcpy(record->remote, packet->peer.addr, sizeof(record->remote));
	record->local_port = packet->local_port;
	record->remote_port = packet->peer.port;
	record->family = packet->peer.family;
	record->kind = state->kind;
	record->protocol = packet->peer.protocol;
	record->net_flags |= HF_NET_OUTBOUND;
	record_put(s, net_judged(s, false, &judgment, true));
	return judgment.flag & HF_F_BLOCKED;
}
