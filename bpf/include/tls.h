// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What is known of TLS in processes: the calls that threads are in, and which socket an object of a library writes to. The
// socket is learned from the call that gives it to the library, or else from the packet that goes out while a thread is in a
// call with the object. All of it may be forgotten: then a message comes without its socket, or not at all.

#pragma once

#include "content.h"
#include "wire_tls.h"

struct tls_key {
	__u64 object;
	__u64 tgid;
};

// What became of the walk over what was written (block.h).
struct tls_block {
	// The state, that before the last call, and whether nothing leaves any more.
	__u16 walk;
	__u16 before;
	__u32 refused;
	// Since when nothing leaves, because a value may have begun; 0: nothing waits.
	__u64 held;
};

struct tls_flow {
	__u64 cookie;
	__u8 local[16];
	__u8 remote[16];
	__u16 local_port;
	__u16 remote_port;
	__u16 family;
	// HF_CONTENT_INBOUND, HF_CONTENT_GUESSED, TLS_DECIDED.
	__u16 flags;
	// By direction: bytes so far, and those of them not taken since the last record. Index 1: out.
	__u32 sequence[2];
	__u32 skipped[2];
	// The descriptor that the library was given, and one; 0 for none. A connection that was just accepted has no cookie yet.
	__u32 given;
	__u32 pad;
	struct tls_block block;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, struct tls_key);
	__type(value, struct tls_flow);
} tls_flows SEC(".maps");

// Who began is known.
#define TLS_DECIDED 0x8000
#define TLS_SIDES (HF_CONTENT_INBOUND | HF_CONTENT_GUESSED | TLS_DECIDED)

// A socket on which TLS was seen, or that a library was given: the object that has it, as far as it is known, and who began.
struct tls_socket {
	struct tls_key key;
	__u64 flags;
};

// By cookie.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, __u64);
	__type(value, struct tls_socket);
} tls_sockets SEC(".maps");

// The routine of a thread that is in a handshake, which may be within a call that carries text.
#define IN_HANDSHAKE 1

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct hf_tls_caller);
	__type(value, struct hf_tls_call);
} tls_calls SEC(".maps");
