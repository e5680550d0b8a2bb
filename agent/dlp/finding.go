// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"net/netip"

	"github.com/holdfast-project/holdfast/rules/waf"
)

// Reason is what a finding rests on.
type Reason uint8

// The reasons.
const (
	// Content is sensitive values in what was sent, past a threshold.
	Content Reason = iota
	// Taint is a process that sends to somewhere new after its lineage has read something labelled.
	Taint
	// ArchiveSend is Taint with a packer or an encryption between the read and the send.
	ArchiveSend
	// Upload is Taint, or much data, to a service that anybody can fetch it from.
	Upload
	// VolumeUnusual is more data in a minute than is usual for the process and destination.
	VolumeUnusual
	// SlowLeak is more data in a day than is usual.
	SlowLeak
	// DNSTunnel is data in the names of queries.
	DNSTunnel
	// ICMPVolume is data in echo packets.
	ICMPVolume
	// FileMatch is a labelled file found again in what is sent.
	FileMatch
	// Attack is an attack in a request, as the filter says.
	Attack
	// AttackFollowed is an attack on a server, and something new that the server's lineage did soon after.
	AttackFollowed
	reasons
)

// String is the reason's name, as alerts have it.
func (r Reason) String() string {
	names := [reasons]string{
		"content", "taint", "archive-send", "upload", "volume", "slow-leak", "dns-tunnel", "icmp-volume", "file-match", "attack",
		"attack-followed",
	}
	if r >= reasons {
		return "unknown"
	}
	return names[r]
}

// Severity is how grave a finding is.
type Severity uint8

// The severities.
const (
	Low Severity = iota
	Medium
	High
	Critical
)

// String is the severity's name.
func (s Severity) String() string {
	names := [...]string{"low", "medium", "high", "critical"}
	if int(s) >= len(names) {
		return "unknown"
	}
	return names[s]
}

// Process is one incarnation of a process: its id and when it started, so that ids that are used again do not mix.
type Process struct {
	PID   uint32
	Start uint64
}

// Peer is the other end of a connection, as the caller knows it.
type Peer struct {
	Addr netip.AddrPort
	// Host is the name that it was reached by, or "".
	Host string
	// Internal says that it belongs to the cluster or to the networks that the user calls internal.
	Internal bool
	// Known says that the workload's profile holds it.
	Known bool
}

// Step is one thing that led to a finding.
type Step struct {
	Time int64
	// What is read, packed, wrote, sent, attack or an event of the caller's.
	What string
	// Process did it, running Executable.
	Process    Process
	Executable string
	// Object is the file, the destination or the rule.
	Object string
}

// Finding is something that a person should see. Of what was sent it has what detectors show. The path and the name of a
// host, and of an attack what shows it, are as they came: who tells of them masks them before (content.Reader.Shown).
type Finding struct {
	Reason   Reason
	Severity Severity
	// Time is when it was found.
	Time int64
	// Tag is the caller's word for the container and process.
	Tag uint64
	// Process, Executable and Workload are who did it.
	Process    Process
	Executable string
	Workload   string
	// Peer is where to, Inbound that the peer had connected to the process.
	Peer    Peer
	Inbound bool
	// Detector and Class are the detector's for Content, the rule's and its family for Attack.
	Detector, Class string
	// App, Part and Layers say where in a message the values stood.
	App, Part string
	Layers    []string
	// Path is the path of the request, at most 256 bytes, without its query.
	Path string
	// Count matches of Distinct values were seen since the last finding of the same; Repeats is how many messages that
	// would have been findings of their own are folded into this one.
	Count, Distinct, Repeats int
	// Confidence is 0 to 100.
	Confidence uint8
	// Score is what the rules of a set that counts gave the request together; 0 where none did.
	Score int
	// Masked are at most five examples with what may be shown of them, Hashes their keyed hashes.
	Masked []string
	Hashes []uint64
	// Bytes is how much was sent, Usual how much would have been no finding.
	Bytes, Usual uint64
	// File and Label are what was read.
	File, Label string
	// Chain is how it came, oldest first.
	Chain []Step
	// Join is the same in findings that belong to one story: that of a lineage.
	Join uint64

	// rule is that of an Attack.
	rule *waf.Rule
}

// maxExamples bounds Finding.Masked and Finding.Hashes.
const maxExamples = 5
