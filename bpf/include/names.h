// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// DNS messages (RFC 1035), as far as egress by name needs them: the name of the question, which a policy lists or not, and
// the addresses of the answer, which are admitted for the listed names before the packet goes on to the program that
// asked. So a contact never comes before its admission.
//
// The message stands in the scratch buffer of a slot, the name is written out behind it. All state is in a map value of
// the same slot and the loops are in global functions, for the verifier's sake (see path.h).

#pragma once

#include "egress.h"
#include "hash.h"
#include "packet.h"

// Where the name is written, beyond every record.
#define NAME_AT 8192
// RFC 1035, 2.3.4, with the dots written out.
#define DOMAIN_MAX 254
#define LABELS 128
// Domains of a name that are looked up as ones whose names below are listed: those with the fewest labels.
#define DOMAINS 16
// Listed names that a name stands for: itself and the nearest domains.
#define LISTED_MAX 3
// Records of an answer that are read: more do not fit into what is read of a packet.
#define RECORDS 256

#define DNS_HEADER 12
enum { DNS_A = 1, DNS_AAAA = 28, DNS_IN = 1 };

struct names {
	struct hf_policy policy;
	struct packet packet;
	__u64 container;
	__u64 now;
	// Where what was searched for is.
	__u32 found;
	__u32 pad;
	// First half of the hash of the name, and the listed names that it stands for, 0 after the last.
	__u64 hash;
	__u64 listed[LISTED_MAX];
	__u32 listed_count;
	// Places in the scratch buffer: of the message, of its end, of what is read next of it; of the message after it, of the
	// end of all.
	__u32 message;
	__u32 end;
	__u32 at;
	__u32 next;
	__u32 payload_end;
	__u32 unlisted;
	// Of the name that is written out: its length, its labels and where each begins, what is left of the present one.
	__u32 length;
	__u32 labels;
	__u32 left;
	__u32 ended;
	__u8 label[LABELS];
	// An address to admit, and until when.
	__u64 until;
	__u8 addr[16];
	// As struct hf_admitted, for an address that is new.
	__u64 fresh[sizeof(struct hf_admitted) / 8];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCH_SLOTS);
	__type(key, __u32);
	__type(value, struct names);
} names_read SEC(".maps");

__inline struct names *names_of(__u32 slot)
{
	return bpf_map_lookup_elem(&names_read, &slot);
}

__inline __u8 byte_at(struct scratch *s, __u32 at)
{
	return s->bytes[at & (SCRATCH_SIZE - 1)];
}

__inline __u32 word_at(struct scratch *s, __u32 at)
{
	return (__u32)byte_at(s, at) << 8 | byte_at(s, at + 1);
}

__inline void name_put(struct scratch *s, struct names *n, __u8 c)
{
	s->bytes[NAME_AT + (n->length & 255)] = c;
	n->length++;
}

// Begins a label of the length. A question has no compressed names.
__inline bool label_begin(struct scratch *s, struct names *n, __u8 length)
{
	if (length > 63)
		return false;
	if (!length) {
		n->ended = 1;
		return false;
	}
	if (n->length)
		name_put(s, n, '.');
	n->label[n->labels & (LABELS - 1)] = (__u8)n->length;
	n->labels++;
	n->left = length;
	return true;
}

// Reads one byte of a name. False at its end, and where it is none.
__inline bool name_byte(struct scratch *s, struct names *n)
{
	__u8 c;

	if (n->at >= n->end || n->length > DOMAIN_MAX)
		return false;
	c = byte_at(s, n->at);
	n->at++;
	if (!n->left)
		return label_begin(s, n, c);
	// Within a label, a dot would make two of it.
	if (c == '.')
		return false;
	if ((__u8)(c - 'A') < 26)
		c |= 0x20;
	name_put(s, n, c);
	n->left--;
	return true;
}

// Reads the name at the present place and writes it out: dotted, in lower case. False when it is none.
__attribute__((noinline)) int name_read(__u32 slot)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	struct names *n = names_of(slot);

	if (!s || !n)
		return 0;
	n->length = 0;
	n->labels = 0;
	n->left = 0;
	n->ended = 0;
	for (__u32 i = 0; i < DOMAIN_MAX + 2; i++)
		if (!name_byte(s, n))
			break;
	return n->ended && n->length <= DOMAIN_MAX;
}

// Hashes the name that is written out from the offset on. False when that fails.
__inline struct hashed *name_hash(__u32 slot, struct names *n, __u32 from)
{
	if (from > n->length || !hash_text(slot, NAME_AT + (from & 255), n->length - from))
		return NULL;
	return hashed_of(slot);
}

__inline void name_note(struct names *n, __u64 hash)
{
	__u32 at = n->listed_count;

	if (at >= LISTED_MAX)
		return;
	n->listed[at] = hash;
	n->listed_count = at + 1;
}

__inline bool domain_listed(__u32 slot, struct names *n, __u32 label)
{
	struct hashed *text = name_hash(slot, n, n->label[label & (LABELS - 1)]);

	if (!text)
		return false;
	// All bits changed, so that what is below a domain is not the domain.
	if (allowed(&n->policy, HF_ALLOW_NAME_BELOW, HF_EXE_ANY, text->hash[0], text->hash[1], 1) & 1)
		name_note(n, ~text->hash[0]);
	return true;
}

// Finds what the name that is written out stands for in the policy. Gives the number of listed names.
__attribute__((noinline)) int name_listed(__u32 slot)
{
	struct names *n = names_of(slot);
	struct hashed *text;
	__u32 first;

	if (!n)
		return 0;
	n->listed_count = 0;
	n->listed[0] = n->listed[1] = n->listed[2] = 0;
	text = name_hash(slot, n, 0);
	if (!text)
		return 0;
	n->hash = text->hash[0];
	if (allowed(&n->policy, HF_ALLOW_NAME, HF_EXE_ANY, text->hash[0], text->hash[1], 1) & 1)
		name_note(n, text->hash[0]);
	first = n->labels > DOMAINS ? n->labels - DOMAINS : 1;
	for (__u32 i = 0; i < DOMAINS; i++) {
		if (first + i >= n->labels)
			break;
		if (!domain_listed(slot, n, first + i))
			break;
	}
	return (int)n->listed_count;
}

// Reads the question of a message that begins at the place, and finds what its name is listed as: one question of
// the ordinary kind and nothing else but what extensions add. Gives the number of listed names, -1 when it is no such.
__attribute__((noinline)) int question_read(__u32 slot)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	struct names *n = names_of(slot);
	__u32 at;

	if (!s || !n)
		return -1;
	n->hash = 0;
	n->listed[0] = n->listed[1] = n->listed[2] = 0;
	at = n->message;
	if (at + DNS_HEADER > n->end)
		return -1;
	// Neither a response nor another operation; one question, no answers, no authorities.
	if (byte_at(s, at + 2) & 0xf8 || word_at(s, at + 4) != 1 || word_at(s, at + 6) || word_at(s, at + 8))
		return -1;
	n->at = at + DNS_HEADER;
	if (!name_read(slot) || n->at + 4 > n->end)
		return -1;
	return name_listed(slot);
}

// Passes over a name, compressed or not. False when the message ends in it.
__attribute__((noinline)) int name_skip(__u32 slot)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	struct names *n = names_of(slot);
	__u8 c;

	if (!s || !n)
		return 0;
	for (__u32 i = 0; i < LABELS; i++) {
		if (n->at >= n->end)
			return 0;
		c = byte_at(s, n->at);
		if (c >= 0xc0) {
			n->at += 2;
			return n->at <= n->end;
		}
		n->at += c + 1;
		if (!c)
			return 1;
	}
	return 0;
}

// Adds a listed name to an address that is known already.
__inline void admit_name(struct names *n, struct hf_admitted *known, __u64 name)
{
	__u64 now = n->now, until = n->until;
	// In memory, as all that is found in a loop.
	volatile __u32 *found = &n->found;
	__u32 at;

	*found = HF_ADMIT_NAMES;
	bpf_spin_lock(&known->lock);
	for (__u32 i = 0; i < HF_ADMIT_NAMES; i++)
		if (known->until[i] <= now)
			*found = i;
	// The name's own place before a free one.
	for (__u32 i = 0; i < HF_ADMIT_NAMES; i++)
		if (known->name[i] == name && known->until[i] > now)
			*found = i;
	at = *found;
	if (at < HF_ADMIT_NAMES) {
		if (known->name[at] != name || known->until[at] < until)
			known->until[at] = until;
		known->name[at] = name;
	}
	bpf_spin_unlock(&known->lock);
	if (at >= HF_ADMIT_NAMES)
		count(HF_C_ADMIT_FULL);
}

// Admits the address for the listed names.
__attribute__((noinline)) int name_admit(__u32 slot)
{
	struct names *n = names_of(slot);
	struct hf_admit_key key = {};
	struct hf_admitted *known;

	if (!n)
		return 0;
	key.container = n->container;
	__builtin_memcpy(key.addr, n->addr, sizeof(key.addr));
	known = bpf_map_lookup_elem(&admitted, &key);
	if (!known) {
		__builtin_memset(n->fresh, 0, sizeof(n->fresh));
		for (__u32 i = 0; i < LISTED_MAX; i++) {
			n->fresh[i] = n->listed[i];
			n->fresh[HF_ADMIT_NAMES + i] = n->listed[i] ? n->until : 0;
		}
		if (bpf_map_update_elem(&admitted, &key, n->fresh, BPF_NOEXIST) == 0)
			return 1;
		// Another CPU was faster, or there is no room.
		known = bpf_map_lookup_elem(&admitted, &key);
	}
	if (!known) {
		count(HF_C_ADMIT_FULL);
		return 0;
	}
	for (__u32 i = 0; i < LISTED_MAX; i++)
		if (n->listed[i])
			admit_name(n, known, n->listed[i]);
	return 1;
}

// Seconds. An address is admitted a little longer than it lives, and not for less than programs keep one that lives
// shorter: a JVM does for 30 s, whatever the answer says (networkaddress.cache.ttl), and then takes a while to use it.
#define TTL_GRACE 2ull
#define TTL_LEAST 35ull
// A week (RFC 8767, 4).
#define TTL_MOST 604800
#define SECOND 1000000000ull

// Takes a resource record and admits its address. False when the message ends in it.
__attribute__((noinline)) int answer_record(__u32 slot)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	struct names *n = names_of(slot);
	__u32 at, type, length, ttl, *addr;

	if (!s || !n || !name_skip(slot))
		return 0;
	at = n->at;
	if (at + 10 > n->end)
		return 0;
	type = word_at(s, at);
	length = word_at(s, at + 8);
	n->at = at + 10 + length;
	if (n->at > n->end)
		return 0;
	if (word_at(s, at + 2) != DNS_IN || !((type == DNS_A && length == 4) || (type == DNS_AAAA && length == 16)))
		return 1;
	// RFC 2181, 8: with the highest bit set it is zero.
	ttl = word_at(s, at + 4) << 16 | word_at(s, at + 6);
	if (ttl >> 31)
		ttl = 0;
	if (ttl > TTL_MOST)
		ttl = TTL_MOST;
	n->until = n->now + SECOND * (ttl + TTL_GRACE > TTL_LEAST ? ttl + TTL_GRACE : TTL_LEAST);
	at += 10;
	addr = (__u32 *)n->addr;
	if (type == DNS_A) {
		addr[0] = addr[1] = 0;
		addr[2] = swap32(0xffff);
		at -= 12;
	} else {
		for (__u32 i = 0; i < 12; i++)
			n->addr[i] = byte_at(s, at + i);
	}
	for (__u32 i = 12; i < 16; i++)
		n->addr[i] = byte_at(s, at + i);
	name_admit(slot);
	return 1;
}

// Reads the question of an answer that begins at the place; its name must be the one that was asked for. Then the place is
// that of the first record. Notes the name. Gives the number of records in the answer.
__attribute__((noinline)) int answer_begin(__u32 slot, __u64 asked)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	struct names *n = names_of(slot);
	struct hashed *text;
	__u32 at;

	if (!s || !n)
		return 0;
	at = n->message;
	if (at + DNS_HEADER > n->end || !(byte_at(s, at + 2) & 0x80) || word_at(s, at + 4) != 1)
		return 0;
	n->at = at + DNS_HEADER;
	if (!name_read(slot))
		return 0;
	n->at += 4;
	text = name_hash(slot, n, 0);
	if (!text)
		return 0;
	n->hash = text->hash[0];
	return n->hash == asked ? (int)word_at(s, at + 6) : 0;
}

// Admits the addresses of an answer for the names listed there.
__attribute__((noinline)) int answer_admit(__u32 slot, __u64 asked)
{
	__u32 records = (__u32)answer_begin(slot, asked);

	for (__u32 i = 0; i < RECORDS; i++) {
		if (i >= records || !answer_record(slot))
			break;
	}
	return 0;
}
