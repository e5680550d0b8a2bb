// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Packets of sockets: those of datagram and raw sockets are counted by peer, and what goes from or to port 53 is handed
// to the agent. TCP counts for itself (flow.h), so that its packets cost a look at the header. These programs run in
// softirq as often as not: the process is the socket's owner. They let every packet pass but a question for a name that the
// policy does not list, and what names its own way.

#include "lookup.h"
#include "routed.h"

// Puts what the packet carries into the record of the slot, after the head, and its ends where they are judged. 0 when
// it cannot be read or carries nothing.
__attribute__((noinline)) int dns_load(struct __sk_buff *skb, __u32 slot, __u32 out)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	struct names *n = names_of(slot);
	struct packet packet = {};
	struct hf_dns *record;
	__u32 length;

	if (!s || !n || !packet_read(skb, &packet, out) || !packet.length)
		return 0;
	n->packet = packet;
	length = packet.length;
	record = (struct hf_dns *)s->bytes;
	record->cookie = bpf_get_socket_cookie(skb);
	__builtin_memcpy(record->local, packet.local, sizeof(record->local));
	__builtin_memcpy(record->remote, packet.peer.addr, sizeof(record->remote));
	record->local_port = packet.local_port;
	record->remote_port = packet.peer.port;
	record->family = packet.peer.family;
	record->protocol = packet.peer.protocol;
	record->outbound = (__u16)out;
	record->message_size = length;
	record->sequence = packet.sequence;
	record->pad = 0;
	if (length > TEXT_MAX) {
		length = TEXT_MAX;
		record->head.flags |= HF_F_TRUNCATED;
	}
	// Known to the compiler, not to every verifier.
	barrier_var(length);
	length = ((length - 1) & (TEXT_MAX - 1)) + 1;
	if (bpf_skb_load_bytes(skb, packet.offset, s->bytes + sizeof(*record), length) < 0) {
		count(HF_C_PACKET_READ);
		record->head.flags |= HF_F_PARTIAL;
		length = 0;
	}
	record->message_len = (__u16)length;
	s->size = sizeof(*record) + length;
	return 1;
}

// Judges what the record of the slot carries. Whether it is to be told, whatever was asked for: what the policy does not
// list; while a policy is learned also the answers, since addresses are known by them, and those of names that are not
// listed later too.
__inline bool dns_judge(struct __sk_buff *skb, struct scratch *s, struct names *n, struct judgment *judgment, bool out)
{
	struct told_key key = { .origin = n->container, .type = HF_DNS };
	__u32 mode = mode_of(&n->policy, HF_SIGNAL_EGRESS);
	bool listed;

	if (out) {
		judgment->flag = (__u32)question_judge(skb, s->slot);
		if (!judgment->flag)
			return false;
	} else {
		listed = answer_judge(skb, s->slot);
		if (mode == HF_MODE_ENFORCE || (mode == HF_MODE_MONITOR && listed))
			return false;
		if (mode == HF_MODE_LEARN && !listed)
			judgment->flag = VERDICT_LEARN;
	}
	judgment->signal = HF_SIGNAL_EGRESS;
	judgment->reason = HF_REASON_DOMAIN;
	key.object = n->hash;
	key.access = out;
	key.verdict = (__u8)(judgment->flag >> 8);
	return !told(&key);
}

// Judges and reports what goes from or to port 53. False: the packet is to be dropped.
__inline bool dns_packet(struct __sk_buff *skb, const struct owner *owner, bool out)
{
	struct judgment judgment = {};
	struct scratch *s;
	struct names *n;
	bool wanted, judged, fresh = false;

	wanted = net_wanted(HF_DNS, owner->origin, false);
	if (!wanted && !bpf_map_lookup_elem(&policy_by_container, &owner->origin))
		return true;
	s = scratch_claim();
	if (!s)
		return true;
	n = names_of(s->slot);
	if (!n) {
		scratch_release(s);
		return true;
	}
	n->container = owner->origin;
	judged = policy_of(owner->origin, &n->policy) && mode_of(&n->policy, HF_SIGNAL_EGRESS) != HF_MODE_OFF;
	head_owner(s, HF_DNS, sizeof(struct hf_dns), owner);
	if (!dns_load(skb, s->slot, out)) {
		scratch_release(s);
		return true;
	}
	if (judged && n->packet.peer.port == DNS_PORT)
		fresh = dns_judge(skb, s, n, &judgment, out);
	if (wanted || fresh)
		record_put(s, net_judged(s, false, &judgment, fresh));
	else
		scratch_release(s);
	return !(judgment.flag & HF_F_BLOCKED);
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

static __attribute__((noinline)) void flow_count(struct __sk_buff *skb, struct packet *packet, struct sock_state *state,
						 bool out)
{
	__u32 packets = skb->gso_segs;
	struct flow *flow;
	bool first;

	flow = flow_with(state, skb, &packet->peer, &first);
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
	// That of the socket itself ends with it.
	if (flow != &state->flow)
		flow->last = bpf_ktime_get_boot_ns();
}

// Whether a plain datagram of IPv4 that comes in is from the first peer of its socket, and not the first from there.
__inline bool from_known(struct __sk_buff *skb, const struct sock_state *state)
{
	struct ipv4 *ip = (void *)(long)skb->data;
	struct transport *transport = (void *)(ip + 1);

	if (skb->protocol != swap16(ETH_P_IP) || (void *)(transport + 1) > (void *)(long)skb->data_end)
		return false;
	return state->flow.packets_in && state->peer.family == AF_INET && state->peer.protocol == IPPROTO_UDP &&
	       state->peer.port == swap16(transport->ports[0]) && *(__u32 *)state->peer.addr == ip->source;
}

// Whether a plain datagram adds nothing to what is known of its socket: where nobody asks for flows, all that matters is who
// of the two spoke first, which what comes in tells. A socket without a state is connected, or has sent nothing and is
// bound to nothing.
__inline bool datagram_passes(struct __sk_buff *skb, bool out)
{
	struct sock_state *state;
	struct bpf_sock *sk;

	if (state_always())
		return false;
	if (out)
		return true;
	sk = skb->sk;
	if (!sk)
		return true;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return true;
	state = bpf_sk_storage_get(&sock_states, sk, NULL, 0);
	return !state || from_known(skb, state);
}

// A packet that is more than one of TCP between two ends.
static __attribute__((noinline)) int packet_judge(struct __sk_buff *skb, bool out)
{
	struct packet packet = {};
	struct sock_state *state;
	bool dns, routed;

	if (!packet_read(skb, &packet, out))
		return ALLOW;
	dns = packet.local_port == DNS_PORT || packet.peer.port == DNS_PORT;
	routed = out && unlikely(packet.routed);
	if (packet.peer.protocol == IPPROTO_TCP && !dns && !routed)
		return ALLOW;
	state = packet_state(skb);
	if (!state)
		return ALLOW;
	if (routed && routed_refused(skb, &packet, state))
		return DENY;
	if (packet.peer.protocol != IPPROTO_TCP)
		flow_count(skb, &packet, state, out);
	return dns && !dns_packet(skb, &state->owner, out) ? DENY : ALLOW;
}

__inline int on_packet(struct __sk_buff *skb, bool out)
{
	__u32 protocol = packet_plain(skb);

	if (likely(protocol == IPPROTO_TCP) || (protocol == IPPROTO_UDP && datagram_passes(skb, out)))
		return ALLOW;
	return packet_judge(skb, out);
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
