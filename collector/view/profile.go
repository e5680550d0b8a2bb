// SPDX-License-Identifier: Apache-2.0

package view

import (
	"time"
)

// Profile is what the collector holds of one profile, in short.
type Profile struct {
	Workload Workload `json:"workload"`
	// Version is that of the effective profile: what all nodes have learned and people have written. 0: there is none yet.
	Version uint64    `json:"version"`
	Updated time.Time `json:"updated,omitzero"`
	// Entries counts what the effective profile allows, Candidates what waits for a person to confirm it.
	Entries    int `json:"entries"`
	Candidates int `json:"candidates"`
	// States are how far learning is, by signal: the weakest of all nodes.
	States map[string]string `json:"states"`
	// Overlay is what people have written; it is missing if nobody ever has.
	Overlay *Overlay      `json:"overlay,omitempty"`
	Nodes   []ProfileNode `json:"nodes"`
	// Trouble says what the effective profile leaves out and why, such as too many entries; it is missing if all is well.
	Trouble string `json:"trouble,omitempty"`
	// Conflicts are what Kubernetes objects say about the profile and what is not in force; it is missing if there is none.
	Conflicts []Conflict `json:"conflicts,omitempty"`
}

// Conflict is something that a Kubernetes object says and that is not in force, since something else says otherwise.
type Conflict struct {
	// Object is its kind, and its namespace and name.
	Object string `json:"object"`
	// Workload is the pattern, where it is about modes.
	Workload string `json:"workload,omitempty"`
	// Message says what is in force instead, and how to solve it.
	Message string `json:"message"`
}

// Overlay is a version of what people have written into a profile.
type Overlay struct {
	Version uint64    `json:"version"`
	Entries int       `json:"entries"`
	Time    time.Time `json:"time"`
	Author  string    `json:"author"`
	Reason  string    `json:"reason"`
	// Action is edit, approve, reject, allow, import, remove, or object where a Kubernetes object says so; it stands in
	// histories only.
	Action string `json:"action,omitempty"`
}

// ProfileNode is what one node has observed of a workload.
type ProfileNode struct {
	Node string `json:"node"`
	// Version is the agent's own count.
	Version  uint64            `json:"version"`
	Received time.Time         `json:"received"`
	Entries  int               `json:"entries"`
	States   map[string]string `json:"states"`
	// Announced is whether the node runs the workload now.
	Announced bool `json:"announced"`
	// Refused says why what the node sent last was not taken; empty if it was.
	Refused string `json:"refused,omitempty"`
}

// ProfileText is a profile with the text of one of its layers.
type ProfileText struct {
	Profile
	// Layer is effective, merged (what all nodes have observed), observed (one node) or overlay.
	Layer        string `json:"layer"`
	LayerVersion uint64 `json:"layer_version"`
	// Text is the profile in the file format; empty for an overlay that nobody has written.
	Text string `json:"text"`
}

// ProfileExport is a line of an export; the last one has nothing but End.
type ProfileExport struct {
	Workload Workload `json:"workload,omitzero"`
	Layer    string   `json:"layer,omitempty"`
	Version  uint64   `json:"version,omitempty"`
	Text     string   `json:"text,omitempty"`
	End      bool     `json:"end,omitempty"`
}

// Change is one difference between two profiles.
type Change struct {
	// Change is added, removed or changed.
	Change string `json:"change"`
	// Kind is process, parent, argument, library, file, egress, listen, socket or capability.
	Kind string `json:"kind"`
	// Process is the path of the executable whose entry it is, or * for every one.
	Process string `json:"process"`
	// Entry is the entry for people; Before and After are what changed of it.
	Entry  string `json:"entry"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// The words of Change.Change.
const (
	ChangeAdded   = "added"
	ChangeRemoved = "removed"
	ChangeChanged = "changed"
)

// ProfileDiff is what differs between two versions or layers of a profile.
type ProfileDiff struct {
	From    string   `json:"from"`
	To      string   `json:"to"`
	Changes []Change `json:"changes"`
}

// ProfileChange is what a change of an overlay has led to.
type ProfileChange struct {
	Workload       Workload `json:"workload"`
	OverlayVersion uint64   `json:"overlay_version"`
	Version        uint64   `json:"version"`
	Changes        []Change `json:"changes"`
	// Already says of an allow that the profile allows the deed by now, and nothing was changed.
	Already bool `json:"already,omitempty"`
	// Object is the namespace and name of the Kubernetes object whose overlay was changed, and which is in conflict now; it is
	// missing if the overlay was no object's.
	Object string `json:"object,omitempty"`
}

// ProfileEntry is one entry of a profile, for people.
type ProfileEntry struct {
	// ID names a candidate in the API: 16 hexadecimal digits.
	ID      string `json:"id,omitempty"`
	Kind    string `json:"kind"`
	Process string `json:"process"`
	Entry   string `json:"entry"`
	// Origin is learned, inherited, written, probe or candidate; Suspect says why it is a candidate.
	Origin  string    `json:"origin"`
	Suspect string    `json:"suspect,omitempty"`
	First   time.Time `json:"first,omitzero"`
	Last    time.Time `json:"last,omitzero"`
	Count   uint64    `json:"count"`
	// Replicas counts the containers that showed it, Nodes are where they ran.
	Replicas uint64   `json:"replicas"`
	Nodes    []string `json:"nodes,omitempty"`
}

// Explanation says why a deed was not allowed, and what would allow it.
type Explanation struct {
	// Alert is the alert's id.
	Alert    string   `json:"alert"`
	Workload Workload `json:"workload"`
	// Signal and Reason say what the deed goes against; Mode and ModeSource what was in force.
	Signal     string `json:"signal"`
	Reason     string `json:"reason"`
	Mode       string `json:"mode"`
	ModeSource string `json:"mode_source"`
	// ProfileVersion is that of the profile that was in force, Version that of the one that would be now.
	ProfileVersion uint64 `json:"profile_version"`
	Version        uint64 `json:"version"`
	// Allowed is whether the profile as it is now allows the deed.
	Allowed bool `json:"allowed"`
	// Why is one sentence.
	Why string `json:"why"`
	// Nearest is the entry that comes closest; it is missing if none does.
	Nearest *ProfileEntry `json:"nearest,omitempty"`
	// Missing is the fragment of a profile file that allow would add, Changes the same as changes.
	Missing string   `json:"missing"`
	Changes []Change `json:"changes"`
	// CanAllow is whether allow can do something; Cannot says why not.
	CanAllow bool   `json:"can_allow"`
	Cannot   string `json:"cannot,omitempty"`
}
