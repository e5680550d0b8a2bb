// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// How a record about the current process is sent. What its policy lists goes no further than the kernel, a process's own
// life included, so the agent may not know who a record is about. Then the process is introduced first: its ancestors as
// far as they are not known either, eldest first, and itself, each by a record of HF_TASK on the same ring.

#pragma once

#include "image.h"

// Ancestors that are introduced at a time. Those above are when something is told of them.
#define INTRODUCED 16

struct lineage {
	__u64 task[INTRODUCED];
	__u32 count;
	__u32 pad;
};

// Goes with the scratch buffer of the same slot.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCH_SLOTS);
	__type(key, __u32);
	__type(value, struct lineage);
} lineages SEC(".maps");

// Notes that the agent has been told of the process. One byte of the flags, since the process itself may be changing the
// others.
__inline void process_told(struct hf_process *process)
{
	((volatile __u8 *)&process->flags)[1] |= HF_PROCESS_TOLD >> 8;
}

__inline void told_of(__u32 tgid)
{
	struct hf_process *process = process_of(tgid);

	if (process)
		process_told(process);
}

// Begins the record of a process, one of whose threads is at the address, as of the time: all but the arguments, which are in
// its own memory, where only it can read them. Gives the slot of its buffer and one; 0 where there is nothing to tell. These
// are global functions, verified once, each with few frames below it, since whoever sends a record has some of its own.
__attribute__((noinline)) __u32 introduce_begin(__u64 address, __u64 time)
{
	struct task_struct *task = (struct task_struct *)address;
	const struct hf_process *process = process_of(READ1(task, tgid));
	struct hf_exec *record;
	struct scratch *s;

	if (!process || process->flags & HF_PROCESS_TOLD)
		return 0;
	s = scratch_claim();
	if (!s)
		return 0;
	s->size = sizeof(*record);
	record = (struct hf_exec *)s->bytes;
	__builtin_memset(record, 0, sizeof(*record));
	record->head.type = HF_TASK;
	record->head.time = time;
	record->head.tgid = (__u32)READ1(task, tgid);
	record->head.tid = record->head.tgid;
	record->head.start = process->start;
	record->head.cgroup = task_cgroup(task);
	record->head.origin = process->origin;
	record->exec_time = process->exec_time;
	record->before = process->exe;
	exec_fill(s, task);
	exec_names(s, task, NULL, NULL);
	return s->slot + 1;
}

// Ends it; the arguments are read where the process is the current one.
__attribute__((noinline)) int introduce_end(__u32 slot, __u32 ring, __u32 itself)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	__u32 tgid;

	if (!s)
		return 0;
	if (itself)
		exec_argv(s, current_task());
	tgid = ((struct hf_head *)s->bytes)->tgid;
	if (record_put(s, ring))
		told_of(tgid);
	return 1;
}

// Finds the ancestors of the current process that the agent has not been told of, and gives how many there are, and one;
// 0 where it knows the process itself.
__attribute__((noinline)) __u32 introduce_find(__u32 slot)
{
	struct lineage *up = bpf_map_lookup_elem(&lineages, &slot);
	const struct hf_process *process = process_now(), *parent;
	struct task_struct *task = current_task();
	__u64 origin;

	if (!up || !process || !process->origin || process->flags & HF_PROCESS_TOLD)
		return 0;
	origin = process->origin;
	up->count = 0;
	for (__u32 i = 0; i < INTRODUCED; i++) {
		task = READ1(task, real_parent);
		parent = process_of(READ1(task, tgid));
		if (!parent || parent->origin != origin || parent->flags & HF_PROCESS_TOLD)
			break;
		up->task[i] = address_of(task);
		up->count = i + 1;
	}
	return up->count + 1;
}

// Introduces the current process ahead of the record in the slot. Of one that has just been replaced by an exec nothing is
// left, but its ancestors are.
__attribute__((noinline)) int introduce(__u32 slot, __u32 ring)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);
	struct lineage *up = bpf_map_lookup_elem(&lineages, &slot);
	struct hf_head *head;
	__u32 begun;

	if (!s || !up || !introduce_find(slot))
		return 0;
	head = (struct hf_head *)s->bytes;
	for (__u32 i = INTRODUCED; i > 0; i--) {
		if (i > up->count)
			continue;
		begun = introduce_begin(up->task[i - 1], head->time);
		if (begun)
			introduce_end(begun - 1, ring, 0);
	}
	begun = head->type == HF_EXEC ? 0 : introduce_begin(address_of(current_task()), head->time);
	if (begun)
		introduce_end(begun - 1, ring, 1);
	return 1;
}

// Sends the record, after who it is about, and gives whether it is on the ring. Those of a socket's owner introduce nobody
// and may be sent by record_put, in programs that send no others.
__inline bool record_send(struct scratch *s, __u32 ring)
{
	if (s->current)
		introduce(s->slot, ring);
	return record_put(s, ring);
}
