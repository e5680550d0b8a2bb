// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Texts as entries of a policy know them: by a keyed hash of 128 bits (NH of UMAC, RFC 4418, with a key as long as the
// text, which makes collisions a matter of chance, whoever chooses the texts), of the text itself or of its shape.
//
// The shape: a word is a run of ASCII letters and digits. A word of four or more hexadecimal digits becomes one byte 1;
// in other words each run of digits does; a byte 1 becomes 2. agent/policy has the same in Go.
//
// A text stands in the scratch buffer of a slot; what is hashed, in the text buffer of the same slot. All state is in
// there, for the verifier's sake (see path.h), and each loop is a global function, verified once.

#pragma once

#include "record.h"

// The longest text: what is longer is cut.
#define HASHED_MAX 4096
// Characters that are shaped by one call.
#define SHAPE_BLOCK 16
// Pairs that are hashed by one call.
#define HASH_BLOCK 32

struct hashed {
	// Of the text hashed last.
	__u64 hash[2];
	// Length of the text in bytes, and where in it the present word began. Volatile, so that the compiler keeps them out of
	// registers.
	volatile __u32 length;
	volatile __u32 word;
	// Characters in the present word, and what they were.
	volatile __u32 run;
	volatile __u32 kind;
	// With room for the zeros after it.
	__u8 bytes[HASHED_MAX + 8];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCH_SLOTS);
	__type(key, __u32);
	__type(value, struct hashed);
} hashed_texts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hf_hash_key);
} hash_key SEC(".maps");

__inline struct hashed *hashed_of(__u32 slot)
{
	return bpf_map_lookup_elem(&hashed_texts, &slot);
}

// Adds to the hash the pairs of a block of the text buffer, from the place on.
__attribute__((noinline)) int hash_pairs(__u32 slot, __u32 from, __u32 pairs)
{
	struct hashed *text = hashed_of(slot);
	struct hf_hash_key *key = bpf_map_lookup_elem(&hash_key, &(__u32){ 0 });
	__u64 a = 0, b = 0;

	if (!text || !key)
		return 0;
	from &= HASHED_MAX / 8 - HASH_BLOCK;
	for (__u32 i = 0; i < HASH_BLOCK; i++) {
		__u64 pair = *(__u64 *)&text->bytes[(from + i) * 8];
		__u32 low = (__u32)pair, high = (__u32)(pair >> 32);

		if (i >= pairs)
			break;
		a += (__u64)(low + key->word[2 * (from + i)]) * (high + key->word[2 * (from + i) + 1]);
		b += (__u64)(low + key->word[2 * (from + i) + 4]) * (high + key->word[2 * (from + i) + 5]);
	}
	text->hash[0] += a;
	text->hash[1] += b;
	return 1;
}

// Hashes the text in the text buffer. 0 when there is no such slot.
__inline int hash_run(__u32 slot)
{
	struct hashed *text = hashed_of(slot);
	struct hf_hash_key *key = bpf_map_lookup_elem(&hash_key, &(__u32){ 0 });
	__u64 length;
	__u32 pairs;

	if (!text || !key)
		return 0;
	length = text->length;
	pairs = ((__u32)length + 7) / 8;
	text->hash[0] = length * (key->word[HF_HASH_WORDS - 2] | 1) << 32;
	text->hash[1] = length * (key->word[HF_HASH_WORDS - 1] | 1) << 32;
	for (__u32 done = 0; done < HASHED_MAX / 8; done += HASH_BLOCK) {
		if (done >= pairs)
			break;
		hash_pairs(slot, done, pairs - done);
	}
	return 1;
}

// Hashes the text of the length at the offset in the scratch buffer.
__attribute__((noinline)) int hash_text(__u32 slot, __u32 at, __u32 length)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	struct hashed *text = hashed_of(slot);

	if (!s || !text)
		return 0;
	if (length > HASHED_MAX)
		length = HASHED_MAX;
	text->length = length;
	// Zeros up to the end of the last pair.
	*(__u64 *)&text->bytes[length & ~7u] = 0;
	if (bpf_probe_read_kernel(text->bytes, length, &s->bytes[at & (SCRATCH_SIZE - 1)]) < 0)
		return 0;
	return hash_run(slot);
}

#define SHAPED_NUMBER 1
#define SHAPED_LITERAL 2

enum { KIND_NOT_HEX = 1, KIND_AFTER_DIGIT = 2 };

__inline void shape_put(struct hashed *text, __u8 c)
{
	text->bytes[text->length & (HASHED_MAX - 1)] = c;
	text->length++;
}

// A word that was all hexadecimal digits, and long enough, becomes one byte.
__inline void shape_word_end(struct hashed *text)
{
	if (text->run >= 4 && !(text->kind & KIND_NOT_HEX)) {
		text->length = text->word;
		shape_put(text, SHAPED_NUMBER);
	}
	text->run = 0;
}

__inline void shape_char(struct hashed *text, __u8 c)
{
	bool digit = (__u8)(c - '0') < 10, letter = (__u8)((c | 0x20) - 'a') < 26;

	if (!digit && !letter) {
		shape_word_end(text);
		shape_put(text, c == SHAPED_NUMBER ? SHAPED_LITERAL : c);
		return;
	}
	if (!text->run) {
		text->word = text->length;
		text->kind = 0;
	}
	text->run++;
	if (letter) {
		text->kind = (text->kind & KIND_NOT_HEX) | ((c | 0x20) > 'f' ? KIND_NOT_HEX : 0);
		shape_put(text, c);
		return;
	}
	if (!(text->kind & KIND_AFTER_DIGIT))
		shape_put(text, SHAPED_NUMBER);
	text->kind |= KIND_AFTER_DIGIT;
}

// Goes on with the shape by a block of the text that begins at the offset in the scratch buffer.
__attribute__((noinline)) int shape_block(__u32 slot, __u32 at, __u32 done, __u32 length)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	struct hashed *text = hashed_of(slot);

	if (!s || !text)
		return 0;
	at = (at & (SCRATCH_SIZE - 1)) + (done & (HASHED_MAX - SHAPE_BLOCK));
	for (__u32 i = 0; i < SHAPE_BLOCK; i++) {
		if (done + i >= length)
			break;
		shape_char(text, s->bytes[at + i]);
	}
	return 1;
}

// Hashes the shape of the text of the length at the offset in the scratch buffer.
__attribute__((noinline)) int hash_shape(__u32 slot, __u32 at, __u32 length)
{
	struct hashed *text = hashed_of(slot);
	__u32 end;

	if (!text)
		return 0;
	if (length > HASHED_MAX)
		length = HASHED_MAX;
	text->length = 0;
	text->run = 0;
	for (__u32 done = 0; done < HASHED_MAX; done += SHAPE_BLOCK) {
		if (done >= length)
			break;
		shape_block(slot, at, done, length);
	}
	shape_word_end(text);
	end = text->length;
	if (end > HASHED_MAX)
		return 0;
	__builtin_memset(&text->bytes[end], 0, 8);
	return hash_run(slot);
}

// The subject that an executable's hash makes: 0 and 1 have meanings of their own.
__inline __u64 subject_of(__u64 hash)
{
	return hash <= HF_EXE_RUNTIME ? 2 : hash;
}
