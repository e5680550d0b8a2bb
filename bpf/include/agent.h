// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What the programs know of the agent. They outlive it, so all of this is in a map and not in constants.

#pragma once

#include "wire.h"

// Written by the agent alone; index 0.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hf_agent);
} agent_state SEC(".maps");

// The generation that the program belongs to; 0 for one that is always in force. Set at load.
const volatile __u32 program_generation SEC(".rodata") = 0;

__inline const struct hf_agent *agent_now(void)
{
	return bpf_map_lookup_elem(&agent_state, &(__u32){ 0 });
}

// Whether it is this program's turn. While an agent is replaced by one of another version, the programs of both are
// attached, and one change of the map passes the work from one set to the other. A program that keeps state asks first and
// does nothing when it is not; what others report is held back by record_send.
__inline bool in_force(void)
{
	const struct hf_agent *agent;

	if (!program_generation)
		return true;
	agent = agent_now();
	return agent && agent->generation == program_generation;
}

// Whether the program gives verdicts. Around the change both sets do, so that none is missing, whichever runs first. A
// program that can refuse asks first and does nothing when it does not.
__inline bool judges(void)
{
	const struct hf_agent *agent;

	if (!program_generation)
		return true;
	agent = agent_now();
	return agent && (agent->generation == program_generation || agent->other == program_generation);
}

// How long after the change an event may be told by the programs of both sides.
#define CHANGE_INSTANT 100000ull

// Whether the program of before has handled this event, at the time, and the change has come between it and this one. For
// what must not be done twice.
__inline bool done_before(__u64 at)
{
	const struct hf_agent *agent;

	if (!program_generation)
		return false;
	agent = agent_now();
	return agent && at < agent->since && bpf_ktime_get_boot_ns() - at < CHANGE_INSTANT;
}

// An agent that has been silent for so long has no process id any more: another process may have it.
#define AGENT_SILENCE 30000000000ull

// Whether the current process is the agent: its calls of bpf(2) are not reported.
__inline bool is_agent(void)
{
	const struct hf_agent *agent = agent_now();

	return agent && bpf_get_current_pid_tgid() >> 32 == agent->tgid &&
	       bpf_ktime_get_boot_ns() - agent->alive < AGENT_SILENCE;
}

// The mode that holds now, of the one that the policy asks for: where it is set so, an agent that has given no sign of
// life for some time leaves nothing enforced, or nothing judged at all.
__inline __u32 mode_now(__u32 mode)
{
	const struct hf_agent *agent;

	if (mode == HF_MODE_OFF)
		return mode;
	agent = agent_now();
	if (!agent || agent->when_dead == HF_WHEN_DEAD_KEEP)
		return mode;
	if (bpf_ktime_get_boot_ns() - agent->alive < agent->dead_after)
		return mode;
	if (agent->when_dead == HF_WHEN_DEAD_RELEASE)
		return HF_MODE_OFF;
	return mode > HF_MODE_MONITOR ? HF_MODE_MONITOR : mode;
}
