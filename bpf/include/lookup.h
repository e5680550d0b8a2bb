// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Packets to and from port 53, judged: a question for a name that the policy does not list is not sent where the mode is
// enforce, and what answers tell of listed names is admitted. The packet's payload stands in the scratch buffer, after
// the fixed part of struct hf_dns.

#pragma once

#include "asked.h"

#define PAYLOAD_AT sizeof(struct hf_dns)
// Messages of one packet of TCP. The C library sends two.
#define MESSAGES 4

// The questions that the packet's socket has asked; made for the first.
__inline struct asked_ring *packet_asked(struct __sk_buff *skb, bool make)
{
	struct bpf_sock *sk = skb->sk;
	struct asked_ring *ring;

	if (!sk)
		return NULL;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return NULL;
	ring = bpf_sk_storage_get(&asked_by_socket, sk, NULL, make ? BPF_SK_STORAGE_GET_F_CREATE : 0);
	if (!ring && make)
		count(HF_C_QUESTION_LOST);
	return ring;
}

// Reads the question of the message that stands ready, and remembers it if its answer can be believed. Gives whether its
// name is listed.
__attribute__((noinline)) int question_take(struct __sk_buff *skb, __u32 slot, __u32 believed)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	struct names *n = names_of(slot);
	struct asked_ring *ring;
	int listed;

	if (!s || !n)
		return 0;
	listed = question_read(slot);
	ring = believed ? packet_asked(skb, true) : NULL;
	if (ring)
		asked_note(ring, n, word_at(s, n->message));
	return listed > 0;
}

// Admits what the answer that stands ready tells. Gives whether it answers a question for a listed name.
__attribute__((noinline)) int answer_take(struct __sk_buff *skb, __u32 slot)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	struct names *n = names_of(slot);
	struct asked_ring *ring;

	if (!s || !n)
		return 0;
	ring = packet_asked(skb, false);
	n->listed[0] = 0;
	if (ring)
		asked_find(ring, n, word_at(s, n->message));
	if (!n->listed[0]) {
		answer_begin(slot, 0);
		return 0;
	}
	answer_admit(slot, n->hash);
	return 1;
}

// Makes the next message of a stream stand ready. False when there is none. What goes on in further packets is cut.
__inline bool message_next(struct scratch *s, struct names *n)
{
	__u32 at = n->next, end = n->payload_end, size;

	if (at + 2 >= end)
		return false;
	size = word_at(s, at);
	n->next = at + 2 + size;
	n->message = at + 2;
	n->end = n->next < end ? n->next : end;
	return true;
}

// Whether all questions of the payload are for listed names. Over TCP they must be whole messages; one whose length went
// ahead of it is a message too.
__inline bool questions_listed(struct __sk_buff *skb, struct scratch *s, struct names *n, __u32 believed)
{
	if (n->packet.peer.protocol == IPPROTO_UDP)
		return question_take(skb, s->slot, believed);
	if (n->payload_end == PAYLOAD_AT + 2)
		return true;
	if (PAYLOAD_AT + 2 + word_at(s, PAYLOAD_AT) > n->payload_end)
		return question_take(skb, s->slot, believed);
	n->unlisted = 0;
	for (__u32 i = 0; i < MESSAGES; i++) {
		if (!message_next(s, n))
			break;
		if (!question_take(skb, s->slot, believed))
			n->unlisted = 1;
	}
	return !n->unlisted && n->next == n->payload_end;
}

// Whether all answers of the payload are to questions for listed names, after what they tell was admitted.
__inline bool answers_listed(struct __sk_buff *skb, struct scratch *s, struct names *n)
{
	if (n->packet.peer.protocol == IPPROTO_UDP)
		return answer_take(skb, s->slot);
	n->unlisted = 0;
	for (__u32 i = 0; i < MESSAGES; i++) {
		if (!message_next(s, n))
			break;
		if (!answer_take(skb, s->slot))
			n->unlisted = 1;
	}
	return !n->unlisted;
}

// Begins with the payload, which ends where the record does.
__inline void payload_begin(struct scratch *s, struct names *n)
{
	n->now = bpf_ktime_get_boot_ns();
	n->hash = 0;
	n->message = PAYLOAD_AT;
	n->next = PAYLOAD_AT;
	n->payload_end = s->size;
	n->end = s->size;
}

// A packet to port 53: gives the verdict. Several datagrams that the kernel is to make of one are not looked at one by one.
__attribute__((noinline)) int question_judge(struct __sk_buff *skb, __u32 slot)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	struct names *n = names_of(slot);
	struct judgment judgment = {};
	__u64 resolver[2];
	bool listed;

	if (!s || !n)
		return 0;
	payload_begin(s, n);
	addr_key((__u8 *)resolver, n->packet.peer.addr, n->packet.peer.family);
	listed = questions_listed(skb, s, n,
				  allowed(&n->policy, HF_ALLOW_RESOLVER, HF_EXE_ANY, resolver[0], resolver[1], 1) & 1);
	if (n->packet.peer.protocol == IPPROTO_UDP && skb->gso_segs > 1)
		listed = false;
	judge(&judgment, &n->policy, listed, HF_SIGNAL_EGRESS, HF_REASON_DOMAIN);
	return (int)judgment.flag;
}

// A packet from port 53: admits what it tells and gives whether that is of listed names.
__attribute__((noinline)) int answer_judge(struct __sk_buff *skb, __u32 slot)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	struct names *n = names_of(slot);

	if (!s || !n)
		return 0;
	payload_begin(s, n);
	return answers_listed(skb, s, n);
}
