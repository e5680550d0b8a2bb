// SPDX-License-Identifier: Apache-2.0

package view

import (
	"fmt"
	"strings"
	"time"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// Source is Falco's name for what alerts of an agent come from.
const Source = "syscall"

// Origin says where a stored record came from and how it is called.
type Origin struct {
	// ID names the record in the API; it is stable and unique over all nodes.
	ID       string
	Node     string
	Epoch    uint64
	Sequence uint64
	// Received is when the collector stored the record; zero where that is unknown.
	Received time.Time
}

// Alert is a stored alert: Falco's keys first, then Holdfast's own.
type Alert struct {
	Time         time.Time      `json:"time"`
	Rule         string         `json:"rule"`
	Priority     string         `json:"priority"`
	Source       string         `json:"source"`
	Tags         []string       `json:"tags"`
	Hostname     string         `json:"hostname"`
	Output       string         `json:"output"`
	OutputFields map[string]any `json:"output_fields"`

	ID       string    `json:"id"`
	Node     string    `json:"node"`
	Epoch    uint64    `json:"epoch,string"`
	Sequence uint64    `json:"sequence"`
	Received time.Time `json:"received,omitzero"`
	// Action is alerted, would_block, blocked or killed.
	Action string `json:"action"`
	// Count is how many equal deeds the alert stands for.
	Count     uint64     `json:"count"`
	Event     Occurrence `json:"event"`
	Process   *Process   `json:"process,omitempty"`
	Container *Container `json:"container,omitempty"`
	Workload  Workload   `json:"workload"`
	// Violation is missing from alerts that are not about what a profile allows.
	Violation *Violation `json:"violation,omitempty"`
	// Finding is missing from alerts that are not about what was sent or received.
	Finding *Finding `json:"finding,omitempty"`
}

// Violation is what of its workload's profile a deed goes against.
type Violation struct {
	// Signal is process, file, egress or protect; Reason is why, such as executable, drift or domain.
	Signal string `json:"signal"`
	Reason string `json:"reason"`
	// Mode is learn, monitor or enforce; ModeSource is what decided it.
	Mode       string `json:"mode"`
	ModeSource string `json:"mode_source,omitempty"`
	// ProfileVersion is that of the profile that was in force, 0 for none.
	ProfileVersion uint64 `json:"profile_version"`
	// Executable acted, Parent is the executable that started it.
	Executable string `json:"executable,omitempty"`
	Parent     string `json:"parent,omitempty"`
	// FileSource is where an executed or mapped file comes from: image, upper, memory or volume.
	FileSource string `json:"file_source,omitempty"`
	// Path and Access are of a file, Address, Name, Protocol and Port of whom was contacted or what was listened on.
	Path     string   `json:"path,omitempty"`
	Access   []string `json:"access,omitempty"`
	Address  string   `json:"address,omitempty"`
	Name     string   `json:"name,omitempty"`
	Protocol string   `json:"protocol,omitempty"`
	Port     uint32   `json:"port,omitempty"`
	// Family and SocketKind are of a socket.
	Family     string `json:"family,omitempty"`
	SocketKind string `json:"socket_kind,omitempty"`
	Capability string `json:"capability,omitempty"`
}

func newViolation(v *apiv1.Violation) *Violation {
	if v == nil {
		return nil
	}
	return &Violation{
		Signal: v.GetSignal(), Reason: v.GetReason(), Mode: v.GetMode(), ModeSource: v.GetModeSource(), ProfileVersion: v.GetProfileVersion(),
		Executable: v.GetExecutable(), Parent: v.GetParent(), FileSource: v.GetSource(), Path: v.GetPath(), Access: v.GetAccess(),
		Address: v.GetAddress(), Name: v.GetName(), Protocol: v.GetProtocol(), Port: v.GetPort(), Family: v.GetFamily(),
		SocketKind: v.GetKind(), Capability: v.GetCapability(),
	}
}

// NewAlert gives a stored alert its outside shape. An alert without an event is possible on the wire; its time is then
// the one at which it was received.
func NewAlert(origin Origin, a *apiv1.Alert) Alert {
	e := a.GetEvent()
	alert := Alert{
		Time:         eventTime(e),
		Rule:         a.GetRule(),
		Priority:     PriorityName(a.GetPriority()),
		Source:       Source,
		Tags:         append([]string{}, a.GetTags()...),
		Hostname:     origin.Node,
		Output:       a.GetOutput(),
		OutputFields: outputFields(a),
		ID:           origin.ID,
		Node:         origin.Node,
		Epoch:        origin.Epoch,
		Sequence:     origin.Sequence,
		Received:     origin.Received.UTC(),
		Action:       actionName(a.GetAction()),
		Count:        max(a.GetCount(), 1),
		Event:        newOccurrence(e),
		Process:      newProcess(e.GetProcess()),
		Container:    newContainer(e.GetContainer()),
		Workload:     newWorkload(e.GetContainer()),
		Violation:    newViolation(a.GetViolation()),
		Finding:      newFinding(a.GetFinding()),
	}
	if e == nil {
		alert.Time = alert.Received
	}
	return alert
}

// PriorityName returns Falco's name of a priority, such as Warning. An unspecified one is Debug: the lowest, since
// nothing is known about it.
func PriorityName(p apiv1.Priority) string {
	if p == apiv1.Priority_PRIORITY_UNSPECIFIED {
		p = apiv1.Priority_PRIORITY_DEBUG
	}
	name := strings.TrimPrefix(p.String(), "PRIORITY_")
	return name[:1] + strings.ToLower(name[1:])
}

// ParsePriority returns the priority of a name as people write it: any case, and info for informational.
func ParsePriority(name string) (apiv1.Priority, error) {
	upper := strings.ToUpper(name)
	if upper == "INFO" {
		upper = "INFORMATIONAL"
	}
	p, ok := apiv1.Priority_value["PRIORITY_"+upper]
	if !ok || p == int32(apiv1.Priority_PRIORITY_UNSPECIFIED) {
		return 0, fmt.Errorf("priority %q: want one of %s", name, strings.ToLower(strings.Join(PriorityNames(), ", ")))
	}
	return apiv1.Priority(p), nil
}

// PriorityNames returns the names of all priorities, the most severe first.
func PriorityNames() []string {
	var names []string
	for p := apiv1.Priority_PRIORITY_EMERGENCY; p >= apiv1.Priority_PRIORITY_DEBUG; p-- {
		names = append(names, PriorityName(p))
	}
	return names
}

// actionName returns what was done in the words of the API. An unspecified action is one of which nothing more is known
// than that there is an alert.
func actionName(a apiv1.Action) string {
	if a == apiv1.Action_ACTION_UNSPECIFIED {
		a = apiv1.Action_ACTION_ALERTED
	}
	return enumName(a.String(), "ACTION_")
}

// enumName turns the protobuf name of an enum value into the word of the API: ACTION_WOULD_BLOCK becomes would_block.
func enumName(name, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(name, prefix))
}
