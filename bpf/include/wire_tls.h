// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The part of the contract (wire.h) that is about calls to TLS libraries that go on: the agent takes those out whose end is seen no
// more, when it takes out probes.

#pragma once

#include "wire.h"

// hf_tls_caller says who is in a call to a TLS library: the thread's ids (tgid << 32 | tid) and 0, or 1 while it is in a handshake; or
// a process (tgid) and a goroutine.
struct hf_tls_caller {
	__u64 ids;
	__u64 routine;
};

// hf_tls_call is a call that goes on.
struct hf_tls_call {
	__u64 object;
	// 0 of a handshake.
	__u64 buffer;
	// Bytes that were given; of a call that reads, 0.
	__u64 size;
	// Where the number of bytes is told; 0 where it is the result.
	__u64 result;
	// hf_via
	__u32 via;
	// Whether it writes.
	__u32 out;
};
_Static_assert(sizeof(struct hf_tls_call) == 40, "hf_tls_call");
