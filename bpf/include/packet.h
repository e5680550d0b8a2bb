// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What a packet says of itself: its ends and where its payload is. In cgroup_skb programs a packet begins with its IP
// header. Headers are read in place where they are in the linear part, which is where the kernel's own receive path
// has pulled them, and loaded otherwise.

#pragma once

#include "flow.h"

// The extension headers of IPv6 that are followed; the kernel itself sends at most four.
#define EXTENSIONS 6
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd

struct ipv4 {
	__u8 version_ihl;
	__u8 tos;
	__be16 length;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__u16 checksum;
	__be32 source;
	__be32 destination;
};

struct ipv6 {
	__be32 version_flow;
	__be16 payload;
	__u8 next;
	__u8 hops;
	__be32 source[4];
	__be32 destination[4];
};

struct packet {
	struct peer peer;
	__u8 local[16];
	__u16 local_port;
	// Of the payload of the transport, or of the IP packet where that is not known.
	__u32 offset;
	__u32 length;
	// TCP.
	__u32 sequence;
	// It may name its way: IPv4 options, an IPv6 routing header.
	__u32 routed;
};

struct transport {
	__be16 ports[2];
} __attribute__((aligned(4)));

// The protocol of a packet whose header names nothing but its ends, when neither of its ports is that of DNS; 0 for every
// other, which is to be read with care. Nearly all are such, and this is all that is done about those of TCP.
__inline __u32 packet_plain(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct transport *transport;
	struct ipv4 *ip4 = data;
	struct ipv6 *ip6 = data;
	__u32 protocol;

	if (skb->protocol == swap16(ETH_P_IP)) {
		transport = (void *)(ip4 + 1);
		if ((void *)(transport + 1) > end || ip4->version_ihl != 0x45 || ip4->fragment & swap16(0x1fff))
			return 0;
		protocol = ip4->protocol;
	} else {
		transport = (void *)(ip6 + 1);
		if ((void *)(transport + 1) > end || skb->protocol != swap16(ETH_P_IPV6))
			return 0;
		protocol = ip6->next;
	}
	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
		return 0;
	return transport->ports[0] == swap16(DNS_PORT) || transport->ports[1] == swap16(DNS_PORT) ? 0 : protocol;
}

__inline bool packet_ipv4(struct __sk_buff *skb, struct packet *to, bool out, __u32 *transport)
{
	struct ipv4 copy, *ip = (void *)(long)skb->data;

	if ((void *)(ip + 1) > (void *)(long)skb->data_end) {
		if (bpf_skb_load_bytes(skb, 0, &copy, sizeof(copy)) < 0)
			return false;
		ip = &copy;
	}
	to->peer.family = AF_INET;
	to->peer.protocol = ip->protocol;
	addr_set4(to->local, out ? ip->source : ip->destination);
	addr_set4(to->peer.addr, out ? ip->destination : ip->source);
	// A later fragment has no transport header. The kernel puts fragments together before it hands them to a
	// socket; only raw sockets send them.
	*transport = ip->fragment & swap16(0x1fff) ? 0 : (ip->version_ihl & 15) * 4;
	to->routed = (ip->version_ihl & 15) > 5;
	return true;
}

// The bytes of an extension header after the first two give its length, except that of fragments.
__inline bool is_extension(__u8 next)
{
	return next == 0 || next == 43 || next == 44 || next == 60;
}

__inline bool packet_ipv6(struct __sk_buff *skb, struct packet *to, bool out, __u32 *transport)
{
	struct ipv6 copy, *ip = (void *)(long)skb->data;
	__u32 at = sizeof(*ip);
	__u8 header[2], next;
	__be32 *local, *remote;

	if ((void *)(ip + 1) > (void *)(long)skb->data_end) {
		if (bpf_skb_load_bytes(skb, 0, &copy, sizeof(copy)) < 0)
			return false;
		ip = &copy;
	}
	local = out ? ip->source : ip->destination;
	remote = out ? ip->destination : ip->source;
	addr_set6(to->local, local[0], local[1], local[2], local[3]);
	to->peer.family = addr_set6(to->peer.addr, remote[0], remote[1], remote[2], remote[3]);
	next = ip->next;
	for (int i = 0; i < EXTENSIONS && is_extension(next); i++) {
		if (bpf_skb_load_bytes(skb, at, header, sizeof(header)) < 0)
			return false;
		at += next == 44 ? 8 : (header[1] + 1) * 8;
		to->routed |= next == 43;
		next = header[0];
	}
	to->peer.protocol = next;
	*transport = at;
	return true;
}

// The header of the transport. What is neither TCP nor UDP has its whole IP payload counted.
__inline bool packet_transport(struct __sk_buff *skb, struct packet *to, bool out, __u32 at)
{
	__be16 ports[2];
	__be32 sequence;
	__u8 words;

	to->offset = at;
	to->length = skb->len > at ? skb->len - at : 0;
	if (!at || (to->peer.protocol != IPPROTO_TCP && to->peer.protocol != IPPROTO_UDP))
		return true;
	if (bpf_skb_load_bytes(skb, at, ports, sizeof(ports)) < 0)
		return false;
	to->local_port = swap16(out ? ports[0] : ports[1]);
	to->peer.port = swap16(out ? ports[1] : ports[0]);
	if (to->peer.protocol == IPPROTO_UDP) {
		to->offset += 8;
	} else {
		// Nothing else is looked at.
		if (to->local_port != DNS_PORT && to->peer.port != DNS_PORT)
			return true;
		if (bpf_skb_load_bytes(skb, at + 4, &sequence, sizeof(sequence)) < 0 ||
		    bpf_skb_load_bytes(skb, at + 12, &words, sizeof(words)) < 0)
			return false;
		to->sequence = swap32(sequence);
		to->offset += (words >> 4) * 4;
	}
	to->length = skb->len > to->offset ? skb->len - to->offset : 0;
	return true;
}

__inline bool packet_read(struct __sk_buff *skb, struct packet *to, bool out)
{
	__u32 transport = 0;
	bool ok;

	if (skb->protocol == swap16(ETH_P_IP))
		ok = packet_ipv4(skb, to, out, &transport);
	else if (skb->protocol == swap16(ETH_P_IPV6))
		ok = packet_ipv6(skb, to, out, &transport);
	else
		return false;
	ok = ok && packet_transport(skb, to, out, transport);
	if (!ok)
		count(HF_C_PACKET_READ);
	return ok;
}
