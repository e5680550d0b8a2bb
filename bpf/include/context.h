// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The contexts of network programs and the constants of the protocols, as far as they are used. The structures are
// kernel ABI (include/uapi/linux/bpf.h): the verifier turns each access into one of the kernel's own.

#pragma once

#include "bpf.h"

struct bpf_sock {
	__u32 bound_dev_if;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 mark;
	__u32 priority;
	__u32 src_ip4;
	__u32 src_ip6[4];
	// Host byte order.
	__u32 src_port;
	__be16 dst_port;
	__u16 pad;
	__u32 dst_ip4;
	__u32 dst_ip6[4];
	__u32 state;
};

struct bpf_sock_addr {
	__u32 user_family;
	__u32 user_ip4;
	__u32 user_ip6[4];
	// Network byte order, in the lower half.
	__u32 user_port;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 msg_src_ip4;
	__u32 msg_src_ip6[4];
	struct bpf_sock *sk __attribute__((aligned(8)));
};

struct bpf_sock_ops {
	__u32 op;
	__u32 args[4];
	__u32 family;
	__u32 addresses[10];
	__u32 remote_port;
	__u32 local_port;
	__u32 is_fullsock;
	__u32 snd_cwnd;
	__u32 srtt_us;
	__u32 cb_flags;
	__u32 counts[20];
	__u64 bytes[2];
	struct bpf_sock *sk __attribute__((aligned(8)));
};
_Static_assert(__builtin_offsetof(struct bpf_sock_ops, cb_flags) == 84, "bpf_sock_ops");
_Static_assert(__builtin_offsetof(struct bpf_sock_ops, sk) == 184, "bpf_sock_ops");

struct __sk_buff {
	__u32 len;
	__u32 fields1[3];
	__u32 protocol;
	__u32 fields2[14];
	__u32 data;
	__u32 data_end;
	__u32 fields3[17];
	__u64 tstamp;
	__u32 wire_len;
	__u32 gso_segs;
	struct bpf_sock *sk __attribute__((aligned(8)));
};
_Static_assert(__builtin_offsetof(struct __sk_buff, data) == 76, "__sk_buff");
_Static_assert(__builtin_offsetof(struct __sk_buff, gso_segs) == 164, "__sk_buff");
_Static_assert(__builtin_offsetof(struct __sk_buff, sk) == 168, "__sk_buff");

enum {
	BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB = 4,
	BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB = 5,
	BPF_SOCK_OPS_STATE_CB = 10,
	BPF_SOCK_OPS_STATE_CB_FLAG = 4,
};

enum {
	AF_UNIX = 1,
	AF_INET = 2,
	AF_INET6 = 10,
	AF_NETLINK = 16,
	AF_PACKET = 17,
	AF_ALG = 38,
	AF_VSOCK = 40,
	AF_XDP = 44,
};

enum {
	SOCK_STREAM = 1,
	SOCK_RAW = 3,
};

enum {
	IPPROTO_IP = 0,
	IPPROTO_ICMP = 1,
	IPPROTO_TCP = 6,
	IPPROTO_UDP = 17,
	IPPROTO_ICMPV6 = 58,
	IPPROTO_MPTCP = 262,
};

#define DNS_PORT 53

enum {
	TCP_ESTABLISHED = 1,
	TCP_CLOSE = 7,
	TCP_LISTEN = 10,
};

#define swap16(x) __builtin_bswap16(x)
#define swap32(x) __builtin_bswap32(x)
