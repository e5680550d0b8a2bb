// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What the packets of inspected containers carry, as far as the modes of their policies ask for it. Attached only while a
// container asks. Where TLS begins on a socket, its first packet is the last that is taken: what is inside comes from
// tls.bpf.c, or is not seen. Packets pass but those with what must not leave, and what follows them on their connection.

#include "contentsock.h"
#include "refuse.h"

// Bits of the 13th byte of a TCP header.
#define TCP_SYN 2
#define TCP_ACK 16

SEC("cgroup/sock_create")
int on_content_socket(struct bpf_sock *ctx)
{
	__u64 origin = origin_now(process_now());
	struct content_sock *state;

	if (!origin || !bpf_map_lookup_elem(&content_asked, &origin))
		return ALLOW;
	bpf_get_socket_cookie(ctx);
	state = bpf_sk_storage_get(&content_socks, ctx, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state) {
		count(HF_C_SOCKET_MAP_FULL);
		return ALLOW;
	}
	owner_set(&state->owner);
	state->flags = SOCK_MADE;
	return ALLOW;
}

// Reads and sends one piece of a packet, from the buffer of the slot. 0 when there is no more to send.
__attribute__((noinline)) int content_piece(struct __sk_buff *skb, __u32 slot, __u32 offset, __u32 at)
{
	struct content_buffer *b = bpf_map_lookup_elem(&content_buffers, &slot);
	__u32 length;

	if (!b || at >= b->record.total)
		return 0;
	length = b->record.total - at;
	if (length > HF_CONTENT_MAX)
		length = HF_CONTENT_MAX;
	barrier_var(length);
	length = ((length - 1) & (HF_CONTENT_MAX - 1)) + 1;
	if (bpf_skb_load_bytes(skb, offset + at, b->text, length) < 0) {
		count(HF_C_PACKET_READ);
		return 0;
	}
	content_put(b, at, length, b->record.content_flags & HF_CONTENT_TLS ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
	b->record.sequence += length;
	return 1;
}

// The pieces of the largest packet that the stack hands over, 512 KiB.
#define CONTENT_PIECES 128

// Beside hf_content_flag: the packet is refused.
#define CONTENT_REFUSED 0x10000

// Sends up to total bytes of what the packet carries.
static __attribute__((noinline)) void content_send(struct __sk_buff *skb, struct content_sock *state,
						   struct packet *packet, __u32 total, __u32 flags)
{
	__u32 out = flags & HF_CONTENT_OUT, slot;
	struct content_buffer *b;
	struct hf_content *r;

	if (!content_afford(state->owner.origin, total)) {
		state->skipped[out] += total;
		return;
	}
	b = content_claim();
	if (!b) {
		state->skipped[out] += total;
		return;
	}
	content_begin(b, &state->owner, state->owner.origin, flags | ((state->flags >> 4) & 6), HF_VIA_PACKET);
	r = &b->record;
	if (flags & CONTENT_REFUSED)
		r->head.flags = HF_F_BLOCKED;
	r->cookie = bpf_get_socket_cookie(skb);
	__builtin_memcpy(r->local, packet->local, sizeof(r->local));
	__builtin_memcpy(r->remote, packet->peer.addr, sizeof(r->remote));
	r->local_port = packet->local_port;
	r->remote_port = packet->peer.port;
	r->family = packet->peer.family;
	r->protocol = packet->peer.protocol;
	r->sequence = packet->sequence;
	r->total = total;
	r->skipped = state->skipped[out];
	state->skipped[out] = 0;
	slot = r->head.slot;
	for (__u32 i = 0; i < CONTENT_PIECES; i++) {
		if (!content_piece(skb, slot, packet->offset, i * HF_CONTENT_MAX))
			break;
	}
	content_release(b);
}

// Who began: the one who sends the first packet. That of TCP is a SYN; the listener that gets it hands down what is known.
__inline void begun(struct content_sock *state, const struct packet *packet, __u32 bits, bool out)
{
	if (packet->peer.protocol != IPPROTO_TCP) {
		state->flags |= out ? SOCK_DECIDED : SOCK_DECIDED | SOCK_INBOUND;
		return;
	}
	if (bits & TCP_SYN && !(bits & TCP_ACK)) {
		state->flags |= out ? SOCK_DECIDED : SOCK_DECIDED | SOCK_INBOUND | SOCK_MADE;
		return;
	}
	state->flags |= SOCK_DECIDED;
	if (state->flags & SOCK_MADE)
		state->flags |= SOCK_INBOUND;
	else
		state->flags |= packet->local_port < packet->peer.port ? SOCK_GUESSED | SOCK_INBOUND : SOCK_GUESSED;
}

// The rest of a TCP header: where the payload is, its sequence number, and the bits.
__inline bool tcp_read(struct __sk_buff *skb, struct packet *packet, __u32 transport, __u32 *bits)
{
	__be32 sequence;
	__u8 words[2];

	if (bpf_skb_load_bytes(skb, transport + 4, &sequence, sizeof(sequence)) < 0 ||
	    bpf_skb_load_bytes(skb, transport + 12, words, sizeof(words)) < 0)
		return false;
	// What comes with a SYN follows it.
	packet->sequence = swap32(sequence) + (words[1] & TCP_SYN ? 1 : 0);
	packet->offset = transport + (words[0] >> 4) * 4;
	packet->length = skb->len > packet->offset ? skb->len - packet->offset : 0;
	*bits = words[1];
	return true;
}

// Whether the packet is of a protocol whose payload is taken; finds it. What a server of names is asked and answers has its
// own way (packet.bpf.c); what is asked for may be data on its way out.
__inline bool content_transport(struct __sk_buff *skb, struct packet *packet, __u32 *bits)
{
	switch (packet->peer.protocol) {
	case IPPROTO_TCP:
		return packet->local_port != DNS_PORT && tcp_read(skb, packet, packet->offset, bits);
	case IPPROTO_UDP:
		return packet->local_port != DNS_PORT;
	default:
		return packet->peer.protocol == IPPROTO_ICMP || packet->peer.protocol == IPPROTO_ICMPV6;
	}
}

// What a payload looks like.
enum { NOT_TLS, TLS_RECORD, TLS_HELLO };

__inline int looks(struct __sk_buff *skb, const struct packet *packet)
{
	__u8 first[6];

	if (packet->peer.protocol != IPPROTO_TCP || packet->length < sizeof(first) ||
	    bpf_skb_load_bytes(skb, packet->offset, first, sizeof(first)) < 0)
		return NOT_TLS;
	if (first[0] < 20 || first[0] > 23 || first[1] != 3 || first[2] > 4)
		return NOT_TLS;
	return first[0] == 22 && (first[5] == 1 || first[5] == 2) ? TLS_HELLO : TLS_RECORD;
}

// Makes the process that sends the owner of a connection that was inherited, or that was there before.
__inline void sender(struct content_sock *state)
{
	struct task_struct *task = current_task();
	struct hf_process *process;
	__u32 tgid = READ1(task, tgid);

	if (state->flags & SOCK_SENDER || READ1(task, flags) & PF_KTHREAD)
		return;
	process = process_of(tgid);
	if (origin_of(process, task) != state->owner.origin)
		return;
	state->flags |= SOCK_SENDER;
	state->owner.tgid = tgid;
	state->owner.tid = READ1(task, pid);
	state->owner.start = process ? process->start : task_start(task);
	state->owner.cgroup = task_cgroup(task);
}

// Notes that TLS begins, or is there already, and finds who has it.
__inline void tls_note(struct __sk_buff *skb, struct content_sock *state, struct packet *packet, int look, bool out)
{
	if (look == TLS_HELLO)
		state->flags |= SOCK_TLS;
	if (state->tls || (look == NOT_TLS && !(state->flags & SOCK_TLS)))
		return;
	tls_bind(skb, state, packet, out);
	if (state->tls)
		state->flags |= SOCK_TLS;
}

__inline void count_opaque(const struct content_sock *state, __u32 bytes)
{
	struct hf_content_spent *spent = bpf_map_lookup_elem(&content_spent, &state->owner.origin);

	if (spent)
		__sync_fetch_and_add(&spent->opaque_bytes, bytes);
}

static __attribute__((noinline)) int content_packet(struct __sk_buff *skb, struct content_sock *state, __u32 want,
						    bool out)
{
	__u32 bits = 0, total, flags = out ? HF_CONTENT_OUT : 0;
	struct packet found = {}, packet;
	int look, fate = PASSES;

	if (!packet_read(skb, &found, out) || !content_transport(skb, &found, &bits))
		return ALLOW;
	// A copy of which the verifier knows nothing: what follows is then the same to it, whatever way led through the headers.
	bpf_probe_read_kernel(&packet, sizeof(packet), &found);
	if (!(state->flags & SOCK_DECIDED))
		begun(state, &packet, bits, out);
	if (!packet.length)
		return ALLOW;
	if (out && (!state->owner.tgid || state->flags & SOCK_INBOUND))
		sender(state);
	look = looks(skb, &packet);
	tls_note(skb, state, &packet, look, out);
	if (out && want & WANT_WALK) {
		if (want & WANT_BLOCK && state->flags & SOCK_REFUSED)
			return DENY;
		fate = refuses(skb, state, &packet, want);
		if (fate == REFUSED)
			flags |= CONTENT_REFUSED;
	}
	want &= out ? WANT_OUT : state->flags & SOCK_INBOUND ? WANT_IN : 0;
	total = packet.length;
	if (state->flags & SOCK_TLS) {
		if (look != TLS_HELLO || !want) {
			if (want && !state->tls)
				count_opaque(state, total);
			return fate == PASSES ? ALLOW : DENY;
		}
		flags |= state->tls ? HF_CONTENT_TLS | HF_CONTENT_SEEN : HF_CONTENT_TLS;
		if (total > HF_CONTENT_MAX)
			total = HF_CONTENT_MAX;
	}
	if (want)
		content_send(skb, state, &packet, total, flags);
	return fate == PASSES ? ALLOW : DENY;
}

__inline int on_content(struct __sk_buff *skb, bool out)
{
	struct bpf_sock *sk = skb->sk;
	struct content_sock *state;
	__u64 origin;
	__u32 want;

	if (!sk)
		return ALLOW;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return ALLOW;
	state = bpf_sk_storage_get(&content_socks, sk, NULL, 0);
	origin = state && state->owner.origin ? state->owner.origin : container_of_cgroup(bpf_skb_cgroup_id(skb));
	want = content_want(origin);
	if (!want)
		return ALLOW;
	if (!state) {
		state = bpf_sk_storage_get(&content_socks, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
		if (!state) {
			count(HF_C_SOCKET_MAP_FULL);
			return ALLOW;
		}
		state->owner.origin = origin;
		state->owner.cgroup = bpf_skb_cgroup_id(skb);
	}
	return content_packet(skb, state, want, out);
}

SEC("cgroup_skb/egress")
int on_content_egress(struct __sk_buff *skb)
{
	return on_content(skb, true);
}

SEC("cgroup_skb/ingress")
int on_content_ingress(struct __sk_buff *skb)
{
	return on_content(skb, false);
}

// A process of an inspected container has a new executable: the agent looks whether there is TLS in it.
SEC("tp_btf/sched_process_exec")
int on_content_exec(__u64 *ctx)
{
	struct task_struct *task = ARG(ctx, 0, struct task_struct *);
	struct hf_process *process = process_of(LOAD1(task, tgid));
	__u64 origin = origin_of(process, task);
	struct content_buffer *b;
	struct owner owner = {};

	if (!origin || !bpf_map_lookup_elem(&content_asked, &origin))
		return 0;
	b = content_claim();
	if (!b)
		return 0;
	owner.tgid = LOAD1(task, tgid);
	owner.tid = LOAD1(task, pid);
	owner.start = process ? process->start : task_start(task);
	owner.cgroup = task_cgroup(task);
	content_begin(b, &owner, origin, 0, 0);
	b->record.head.type = HF_CONTENT_EXEC;
	b->record.head.size = sizeof(struct hf_content_exec);
	b->record.head.seq = b->seq++;
	if (bpf_ringbuf_output(&ring_content, &b->record, sizeof(struct hf_content_exec), BPF_RB_FORCE_WAKEUP) < 0)
		count(HF_C_RING_CONTENT_FULL);
	content_release(b);
	return 0;
}

char __license[] SEC("license") = "Dual BSD/GPL";
