// SPDX-License-Identifier: Apache-2.0

package view

import "time"

// ModeSetting is a mode that a person has set.
type ModeSetting struct {
	// ID is unique and never used again. Of settings that are as specific the higher one counts.
	ID uint64 `json:"id"`
	// Workload is a shell pattern over namespace/workload/container; empty means every one.
	Workload string `json:"workload"`
	// Signals are process, file, egress, protect, dlp, waf; none means all but the last two.
	Signals []string `json:"signals"`
	// Mode is off, learn, monitor or enforce.
	Mode   string    `json:"mode"`
	Author string    `json:"author"`
	Reason string    `json:"reason"`
	Set    time.Time `json:"set"`
	// Until is when the setting ends by itself; it is missing from one that does not.
	Until time.Time `json:"until,omitzero"`
	// Ended, EndedBy and EndReason stand in histories, of a setting that holds no more.
	Ended     time.Time `json:"ended,omitzero"`
	EndedBy   string    `json:"ended_by,omitempty"`
	EndReason string    `json:"end_reason,omitempty"`
}

// ModeRequest asks for a mode to be set.
type ModeRequest struct {
	Workload string   `json:"workload"`
	Signals  []string `json:"signals,omitempty"`
	Mode     string   `json:"mode"`
	Reason   string   `json:"reason"`
	// For is how long it holds, such as 30m or 2h; Until says the same as a time. Without either it has no end.
	For   string    `json:"for,omitempty"`
	Until time.Time `json:"until,omitzero"`
}

// ModeChange is what a change of modes has led to.
type ModeChange struct {
	// Version counts the changes of all settings.
	Version  uint64        `json:"version"`
	Setting  ModeSetting   `json:"setting"`
	Replaced []ModeSetting `json:"replaced,omitempty"`
}

// ModeSwitch is one change of the mode of a workload's signal on a node, whoever made it.
type ModeSwitch struct {
	Time     time.Time `json:"time"`
	Node     string    `json:"node"`
	Workload Workload  `json:"workload"`
	Signal   string    `json:"signal"`
	From     string    `json:"from"`
	To       string    `json:"to"`
	Author   string    `json:"author"`
	Reason   string    `json:"reason"`
}

// WorkloadState is what one node does for one workload.
type WorkloadState struct {
	Node string `json:"node"`
	// Connected is whether the node is; if not, this is what it said last.
	Connected bool     `json:"connected"`
	Workload  Workload `json:"workload"`
	// ProfileVersion is that of the effective profile in force; 0 for none, or for one that is not the collector's.
	ProfileVersion uint64 `json:"profile_version"`
	Containers     uint32 `json:"containers"`
	// Deeds since the agent started: in the profile, learned, that enforce would have stopped, that were stopped.
	Known      uint64 `json:"known"`
	Learned    uint64 `json:"learned"`
	WouldBlock uint64 `json:"would_block"`
	Blocked    uint64 `json:"blocked"`
	// LastBlock is when a deed was last stopped since the agent started; it is missing if none was.
	LastBlock time.Time     `json:"last_block,omitzero"`
	Signals   []SignalState `json:"signals"`
}

// SignalState is the mode of one signal of a workload on a node.
type SignalState struct {
	Signal string `json:"signal"`
	Mode   string `json:"mode"`
	// Source is what decided the mode: collector, annotation, file, default, brake or promotion, with its particulars.
	Source string `json:"source"`
	// State is how far learning is on this node.
	State string `json:"state"`
}
