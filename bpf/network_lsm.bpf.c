// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What the kernel's security hooks see of the network beyond the cgroup programs: sockets of all families, addresses of
// protocols that no cgroup program stands before, accept with the task that called it, sockets of other containers. The
// loader attaches them as LSM programs or, under the same conditions, to the security_* functions.

#include "family.h"
#include "listen.h"
#include "passed.h"
#include "unix.h"

// Programs that modify a return may not read a socket's storage (net/core/bpf_sk_storage.c,
// bpf_sk_storage_tracing_allowed). Set at load.
const volatile bool storage_here = true;

SEC("lsm/socket_create")
int on_socket_create(__u64 *ctx)
{
	bool by_kernel = ARG(ctx, 3, int) != 0;

	if (by_kernel)
		return 0;
	return refusal(family_made(ARG(ctx, 0, int), ARG(ctx, 1, int), ARG(ctx, 2, int), 0, FAMILY_BEFORE));
}

// Refuses to listen. What is not refused is reported as it begins to listen (network.bpf.c).
SEC("lsm/socket_listen")
int on_listen(__u64 *ctx)
{
	struct sock *sk = ARG(ctx, 0, struct socket *)->sk;
	struct judgment judgment = {};
	struct actor actor;

	if (!sk || !is_inet(READ1(sk, __sk_common.skc_family)) || !judges())
		return 0;
	actor_of(&actor, NULL);
	if (!listen_refused(&judgment, &actor, sk))
		return 0;
	listen_send(sk, (__u16)ARG(ctx, 1, int), &actor, &judgment);
	return -EPERM;
}

// Refuses to send from another container's socket, and reports it where no tracepoint tells of sends (before 6.3).
SEC("lsm/socket_sendmsg")
int on_sendmsg(__u64 *ctx)
{
	struct sock *sk = LOAD1(ARG(ctx, 0, struct socket *), sk);
	struct cgroup *home;

	if (!sk || likely(field_exists(struct sock_cgroup_data, cgroup) &&
			  LOAD3(sk, sk_cgrp_data.cgroup, kn, id) == bpf_get_current_cgroup_id()))
		return 0;
	home = sock_cgroup(sk);
	if (home == READ2(current_task(), cgroups, dfl_cgrp) || !home)
		return 0;
	return refusal(passed_send(sk, home, (__u64)ARG(ctx, 2, int), storage_here, true));
}

// sendfile and splice into a socket, which before 6.5 went around the hook above. The function is called through the
// file's operations only, so that it is there to be entered.
SEC("fentry/sock_sendpage")
int on_sendpage(__u64 *ctx)
{
	struct socket *socket = READ1(ARG(ctx, 0, struct file *), private_data);
	struct sock *sk = READ1(socket, sk);
	struct cgroup *home = sock_cgroup(sk);

	if (likely(home == READ2(current_task(), cgroups, dfl_cgrp)) || !home)
		return 0;
	passed_send(sk, home, ARG(ctx, 3, __u64), false, false);
	return 0;
}

// The last step of accept(2), with the connection and the task that has it now (net/ipv4/af_inet.c, __inet_accept).
// Other protocols come here for other reasons, when there is no peer yet.
SEC("lsm/sock_graft")
int on_accept(__u64 *ctx)
{
	struct sock *sk = ARG(ctx, 0, struct sock *);
	struct hf_net *record;
	struct scratch *s;
	bool watched;

	if (!is_inet(LOAD1(sk, __sk_common.skc_family)) || !LOAD1(sk, __sk_common.skc_dport))
		return 0;
	// Until now it was the listener's owner's.
	if (storage_here && state_always())
		sock_use(sk);
	if (likely(wanted_most(HF_ACCEPT) == WANT_NOT)) {
		count_normal(HF_ACCEPT);
		return 0;
	}
	s = net_begin(HF_ACCEPT);
	if (!s)
		return 0;
	record = (struct hf_net *)s->bytes;
	net_from_sock(record, sk);
	record->head.flags |= HF_F_RESULT;
	watched = addr_watched(record->remote, record->family);
	if (net_wanted(HF_ACCEPT, record->head.origin, watched))
		net_send(s, watched);
	else
		scratch_release(s);
	return 0;
}

SEC("lsm/unix_stream_connect")
int on_unix_connect(__u64 *ctx)
{
	unix_connect_send(ARG(ctx, 1, struct sock *), 0);
	return 0;
}

// Whether the cgroup programs see connect and bind of a socket.
__inline bool is_covered(struct sock *sk)
{
	__u16 family = LOAD1(sk, __sk_common.skc_family), protocol = LOAD1(sk, sk_protocol);

	if (family == AF_UNIX || family == AF_NETLINK)
		return true;
	return is_inet(family) && LOAD1(sk, sk_type) != SOCK_RAW &&
	       (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_MPTCP);
}

struct sockaddr_in {
	__u16 family;
	__be16 port;
	__be32 addr;
};

struct sockaddr_in6 {
	__u16 family;
	__be16 port;
	__be32 flow;
	__be32 addr[4];
};

struct sockaddr_vm {
	__u16 family;
	__u16 pad;
	__u32 port;
	__u32 cid;
};

// Reads an address that the kernel has copied, and gives its family. An address of AF_VSOCK is the context id and the
// port, four bytes each.
__inline __u16 addr_read(__u8 *to, __u16 *port, const void *from)
{
	struct sockaddr_in6 six = {};

	bpf_probe_read_kernel(&six, sizeof(six), from);
	if (six.family == AF_INET) {
		*port = swap16(six.port);
		addr_set4(to, ((struct sockaddr_in *)&six)->addr);
	} else if (six.family == AF_INET6) {
		*port = swap16(six.port);
		return addr_set6(to, six.addr[0], six.addr[1], six.addr[2], six.addr[3]);
	} else if (six.family == AF_VSOCK) {
		addr_set4(to, ((struct sockaddr_vm *)&six)->cid);
		((__u32 *)to)[1] = ((struct sockaddr_vm *)&six)->port;
	}
	return six.family;
}

__inline void other_send(__u32 type, struct socket *socket, const void *addr)
{
	struct sock *sk = LOAD1(socket, sk);
	struct hf_net *record;
	struct scratch *s;
	bool watched;

	if (!sk || is_covered(sk))
		return;
	s = net_begin(type);
	if (!s)
		return;
	record = (struct hf_net *)s->bytes;
	net_from_sock(record, sk);
	if (type == HF_CONNECT) {
		record->net_flags |= HF_NET_OUTBOUND;
		record->family = addr_read(record->remote, &record->remote_port, addr);
	} else {
		record->family = addr_read(record->local, &record->local_port, addr);
	}
	watched = is_inet(record->family) &&
		  addr_watched(type == HF_CONNECT ? record->remote : record->local, record->family);
	if (net_wanted(type, record->head.origin, watched))
		net_send(s, watched);
	else
		scratch_release(s);
}

SEC("lsm/socket_connect")
int on_socket_connect(__u64 *ctx)
{
	other_send(HF_CONNECT, ARG(ctx, 0, struct socket *), ARG(ctx, 1, void *));
	return 0;
}

SEC("lsm/socket_bind")
int on_socket_bind(__u64 *ctx)
{
	other_send(HF_BIND, ARG(ctx, 0, struct socket *), ARG(ctx, 1, void *));
	return 0;
}

char __license[] SEC("license") = "Dual BSD/GPL";
