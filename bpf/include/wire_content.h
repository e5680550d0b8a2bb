// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The part of the contract (wire.h) that is about content: what the containers that are inspected send and get. Its records
// go through a ring of their own, so that no amount of them takes the place of a verdict.

#pragma once

// Flags of hf_content.
enum hf_content_flag {
	// From the process to its peer; else the other way.
	HF_CONTENT_OUT = 1,
	// The peer began the connection, or spoke first.
	HF_CONTENT_INBOUND = 2,
	// Which of the two began is guessed from the ports: the connection was there before it was looked at.
	HF_CONTENT_GUESSED = 4,
	// TLS begins with this packet. It is the last that is taken of the socket as it is on the wire.
	HF_CONTENT_TLS = 8,
	// With TLS: what is inside comes through a probe in the process, which has found the socket.
	HF_CONTENT_SEEN = 16,
	// The last piece of the packet or call.
	HF_CONTENT_LAST = 32,
};

// Where content was taken.
enum hf_via {
	HF_VIA_PACKET = 0,
	// In the calls of a library, before it is encrypted or after it is decrypted.
	HF_VIA_OPENSSL = 1,
	HF_VIA_GNUTLS = 2,
	HF_VIA_NSS = 3,
	HF_VIA_GO = 4,
};

// The most bytes in one record.
#define HF_CONTENT_MAX 4096

// hf_content, for HF_CONTENT: a piece of what one packet carries after its transport header, or one call of a TLS library was
// given or gave. The head names the socket's owner or, inside TLS, the caller; its HF_F_BLOCKED says that this did not leave, nor will
// what follows it on the connection. Text: length bytes.
struct hf_content {
	struct hf_head head;
	// 0 where the socket of a TLS call is not known.
	__u64 cookie;
	// The library's object in the memory of the caller; 0 for packets.
	__u64 tls;
	__u8 local[16];
	__u8 remote[16];
	// Host byte order.
	__u16 local_port;
	__u16 remote_port;
	__u16 family;
	__u16 protocol;
	// TCP: sequence number of the first byte of the piece; what is sent again comes again. TLS: the bytes before it in this
	// direction, taken or not, modulo 2^32.
	__u32 sequence;
	// Bytes of the packet or call, and where in them the piece begins.
	__u32 total;
	__u32 at;
	// Bytes of this direction that were not taken since the last record of it: over budget, or for want of room.
	__u32 skipped;
	__u16 length;
	// hf_content_flag
	__u16 content_flags;
	// hf_via
	__u8 via;
	__u8 pad[3];
};
_Static_assert(sizeof(struct hf_content) == 144, "hf_content");

// hf_content_exec, for HF_CONTENT_EXEC: the process of the head, of an inspected container, has a new executable.
struct hf_content_exec {
	struct hf_head head;
};
_Static_assert(sizeof(struct hf_content_exec) == 64, "hf_content_exec");

// HF_CONTENT_REFUSED is an hf_content without text: the kernel lets nothing of the socket leave any more.

// Bounds of the automaton that decides what leaves, those of rules/dlp. In next, BLOCK_ACCEPT says that a value has ended.
#define HF_BLOCK_STATES 1024
#define HF_BLOCK_CLASSES 64
#define HF_BLOCK_DETECTORS 128
#define HF_BLOCK_ACCEPT 0x8000

// hf_block is the automaton: byte b leads from state s to next[s * 64 + classes[b]].
struct hf_block {
	__u8 classes[256];
	// By state, a detector's number and one: whose value has ended there, and whose has begun so that few ways lead on. 0: none.
	__u8 accept[HF_BLOCK_STATES];
	__u8 partial[HF_BLOCK_STATES];
	__u16 next[HF_BLOCK_STATES * HF_BLOCK_CLASSES];
};

// hf_block_detector says how many values, and how many different ones, may leave by one connection within the time less one.
struct hf_block_detector {
	__u8 name[48];
	__u32 name_len;
	__u32 count;
	// At most HF_BLOCK_VALUES.
	__u32 distinct;
	__u32 pad;
	__u64 window;
};
_Static_assert(sizeof(struct hf_block_detector) == 72, "hf_block_detector");

#define HF_BLOCK_VALUES 8

// hf_content_asked says that a container is inspected, as far as the modes of its policy ask for it, and how much of it is
// taken: bytes a second over time, and at once.
struct hf_content_asked {
	__u64 rate;
	__u64 burst;
};

// hf_content_spent is what became of a container's budget: 64 bytes.
struct hf_content_spent {
	// What is left now, as of the time.
	__u64 tokens;
	__u64 last;
	__u64 bytes;
	__u64 records;
	// Over budget.
	__u64 skipped_bytes;
	__u64 skipped_packets;
	// For want of room in the ring, or of a buffer.
	__u64 lost_bytes;
	// Of TLS that no probe sees, packets after the first that would have been taken.
	__u64 opaque_bytes;
};
_Static_assert(sizeof(struct hf_content_spent) == 64, "hf_content_spent");
