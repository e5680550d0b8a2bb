// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The maps that all objects share. The loader creates each once and gives it to every object by name; sizes marked
// "set at load" are overwritten there.

#pragma once

#include "wire.h"

// Scratch buffers of a CPU: programs nest (a softirq in a program, a preempted LSM program), so each claims a slot of
// its own. See record.h.
#define SCRATCH_SLOTS 4
// A text is appended at an offset masked to SCRATCH_SIZE and may be TEXT_MAX long, so that the verifier sees the bound.
#define SCRATCH_SIZE 16384
#define TEXT_MAX 4096

struct scratch {
	__u64 users;
	// Next sequence number of this slot, by ring.
	__u64 seq[2];
	__u32 size;
	__u32 slot;
	// Whether the record is about the current task.
	__u32 current;
	__u32 pad;
	__u8 bytes[SCRATCH_SIZE + TEXT_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCH_SLOTS);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

// What a person must hear of: security events, cgroup life. Every record wakes the reader. Size set at load.
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} ring_urgent SEC(".maps");

// Everything else; the reader polls. Size set at load.
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
} ring_bulk SEC(".maps");

// Losses and failures by cause, index enum hf_counter.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HF_COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

// Events that went no further than the kernel because nothing asked for them, index enum hf_type.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HF_LIMIT);
	__type(key, __u32);
	__type(value, __u64);
} counted SEC(".maps");

// tgid -> the process. Written at fork, exec and exit and by the task iterator. Size set at load.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct hf_process);
} process_by_tgid SEC(".maps");

// cgroup2 id -> id of the container cgroup that it is or is within. Written when a cgroup is made and, for those that
// were there before, by the agent. Size set at load.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u64);
} container_by_cgroup SEC(".maps");

// Container cgroup -> the classes that are wanted of it. Without an entry, interest_default holds.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct hf_interest);
} interest_by_container SEC(".maps");

// Index 0: the host; 1: containers without an entry of their own.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct hf_interest);
} interest_default SEC(".maps");
