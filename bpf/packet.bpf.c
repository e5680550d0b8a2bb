// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Packets of sockets: those of datagram and raw sockets are counted by peer, and what goes from or to port 53 is handed
// to the agent. TCP counts for itself (flow.h), so that its packets cost a look at the header. These programs run in
// softirq as often as not: the process is the socket's owner. They always let the packet pass.

#include "packet.h"

// Gives a record of what the packet carries, from or to port 53.
__inline void dns_send(struct __sk_buff *skb, struct packet *packet, struct sock_state *state, bool out)
{
	__u32 length = packet->length;
	struct hf_dns *record;
	struct scratch *s;

	if (!length || !net_wanted(HF_DNS, state->owner.origin, false))
		return;
	s = scratch_claim();
	if (!s)
		return;
	head_owner(s, HF_DNS, sizeof(*record), &state->owner);
	record = (struct hf_dns *)s->bytes;
	record->cookie = bpf_get_socket_cookie(skb);
	__builtin_memcpy(record->local, packet->local, sizeof(record->local));
	__builtin_memcpy(record->remote, packet->peer.addr, sizeof(record->remote));
	record->local_port = packet->local_port;
	record->remote_port = packet->peer.port;
	record->family = packet->peer.family;
	record->protocol = packet->peer.protocol;
	record->outbound = out;
	record->message_size = length;
	record->sequence = packet->sequence;
	record->pad = 0;
	if (length > TEXT_MAX) {
		length = TEXT_MAX;
		record->head.flags |= HF_F_TRUNCATED;
	}
	// Known to the compiler, not to every verifier.
	barrier_var(length);
	length = ((length - 1) & (TEXT_MAX - 1)) + 1;
	if (bpf_skb_load_bytes(skb, packet->offset, s->bytes + sizeof(*record), length) < 0) {
		count(HF_C_PACKET_READ);
		record->head.flags |= HF_F_PARTIAL;
		length = 0;
	}
	record->message_len = (__u16)length;
	s->size = sizeof(*record) + length;
	record_send(s, RING_BULK);
}

// The state of the packet's socket. One that was there before the agent has only its cgroup until a task uses it.
__inline struct sock_state *packet_state(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct sock_state *state;

	if (!sk)
		return NULL;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return NULL;
	state = bpf_sk_storage_get(&sock_states, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state) {
		count(HF_C_SOCKET_MAP_FULL);
		return NULL;
	}
	if (unlikely(!state->home_cgroup)) {
		state->kind = (__u16)sk->type;
		state->protocol = (__u16)sk->protocol;
		state->home_cgroup = bpf_skb_cgroup_id(skb);
		state->home_origin = container_of_cgroup(state->home_cgroup);
	}
	if (unlikely(!state->owner.tgid)) {
		state->owner.cgroup = state->home_cgroup;
		state->owner.origin = state->home_origin;
	}
	return state;
}

__inline void flow_count(struct __sk_buff *skb, struct packet *packet, struct sock_state *state, bool out)
{
	__u32 packets = skb->gso_segs;
	struct flow *flow;
	bool first;

	flow = flow_with(state, bpf_get_socket_cookie(skb), &packet->peer, &first);
	if (!flow)
		return;
	if (first && out)
		flow->flags |= HF_NET_OUTBOUND;
	if (!flow->packets_out && !flow->packets_in) {
		__builtin_memcpy(flow->local, packet->local, sizeof(flow->local));
		flow->local_port = packet->local_port;
	}
	if (!packets)
		packets = 1;
	if (out) {
		__sync_fetch_and_add(&flow->bytes_out, packet->length);
		__sync_fetch_and_add(&flow->packets_out, packets);
	} else {
		__sync_fetch_and_add(&flow->bytes_in, packet->length);
		__sync_fetch_and_add(&flow->packets_in, packets);
	}
	flow->last = bpf_ktime_get_boot_ns();
}

__inline int on_packet(struct __sk_buff *skb, bool out)
{
	struct packet packet = {};
	struct sock_state *state;
	bool dns;

	if (!packet_read(skb, &packet, out))
		return ALLOW;
	dns = packet.local_port == DNS_PORT || packet.peer.port == DNS_PORT;
	if (packet.peer.protocol == IPPROTO_TCP && !dns)
		return ALLOW;
	state = packet_state(skb);
	if (!state)
		return ALLOW;
	if (packet.peer.protocol != IPPROTO_TCP)
		flow_count(skb, &packet, state, out);
	if (dns)
		dns_send(skb, &packet, state, out);
	return ALLOW;
}

SEC("cgroup_skb/egress")
int on_egress(struct __sk_buff *skb)
{
	return on_packet(skb, true);
}

SEC("cgroup_skb/ingress")
int on_ingress(struct __sk_buff *skb)
{
	return on_packet(skb, false);
}

char __license[] SEC("license") = "Dual BSD/GPL";
