// SPDX-License-Identifier: Apache-2.0

package profile

import "time"

// Key names what a profile is of: one container of one workload. Jobs and cron jobs are keyed by their owner, so that
// all runs share a profile.
type Key struct {
	Namespace string
	Kind      string
	Name      string
	Container string
}

// Limits of one profile and of one set of profiles. They are checked before anything of a file or message is used.
const (
	// MaxEntries is how many entries a profile may have, all kinds and layers together.
	MaxEntries = 64 << 10
	// MaxProfiles is how many profiles an agent holds.
	MaxProfiles = 1000
	// MaxText is the longest path, name or argument shape, in bytes.
	MaxText = 4096
	// MaxImages is how many images a profile remembers, the newest.
	MaxImages = 256
	// MaxNodes is how many nodes may have shown an entry.
	MaxNodes = 4096
)

// Profile is what a workload does. Entries are kept in a canonical order, so that equal profiles encode to equal bytes.
type Profile struct {
	Key Key
	// Images are the image digests that the profile was learned from, oldest first.
	Images []Image
	// Processes are keyed by path.
	Processes []Process
	// Signals say how far the learning of each signal is.
	Signals map[Signal]Learning
}

// Image is an image that the workload has run.
type Image struct {
	Digest    string
	Reference string
	FirstSeen time.Time
}

// Process is an executable of the workload and what it does. The path Any stands for every executable: what it lists is
// allowed to each of them, and it lists no arguments, parents or sources.
//
// In an observed profile a path may stand twice: once learned and once as a candidate, so that a person who confirms what
// a drifted binary did does not also confirm what the image's does, nor the other way round. The same holds for files.
type Process struct {
	// Path is the canonical path in the container's root: of the file itself, not of a mount, link or name for it. It is
	// the path's bytes as they are, as those of parents and libraries are: executables are never generalised.
	Path string
	// Sources are where the file may come from; the image when empty.
	Sources []Source
	// Parents are the paths of executables that may start it; Runtime for the container's runtime, Any for every one.
	// A layer that lists none says nothing about them; where no layer does, every one may. Effective writes it as Any.
	Parents []Parent
	// Arguments are the shapes of argument vectors that were seen. AnyArguments allows every one. A layer that has
	// neither says nothing about them; where no layer does, every one is allowed. Effective sets AnyArguments then.
	Arguments    []Argument
	AnyArguments bool
	// Libraries are files outside the image that it may map for execution.
	Libraries []Library
	// Files are what it may do with files beyond reading what is not protected.
	Files []File
	// Egress is whom it may contact.
	Egress []Egress
	// Listen are the ports that it may listen on or, without connections, be bound to.
	Listen []Port
	// Sockets are the sockets that it may make, beside those of UNIX, and of TCP and UDP over IPv4 and IPv6.
	Sockets []Socket
	// Capabilities are the capabilities that it uses, as CAP_ names in lower case without the prefix.
	Capabilities []Capability
	// Seen is about the executable itself. So it is in every entry.
	Seen Provenance
}

// Any is the path of the process that stands for every executable.
const Any = "*"

// Runtime is the parent of what the container's runtime starts: the entrypoint, probes, exec sessions.
const Runtime = "(runtime)"

// Source is where an executable file comes from.
type Source string

// The sources. An executable from anywhere but the image is drift, and is refused unless it is listed as such.
const (
	FromImage  Source = "image"
	FromUpper  Source = "upper"
	FromMemory Source = "memory"
	FromVolume Source = "volume"
)

// Parent is an executable that may start another.
type Parent struct {
	Path string
	Seen Provenance
}

// Argument is the shape of an argument vector, as ShapeArguments gives it and ArgumentBytes reads it.
type Argument struct {
	Shape []string
	Seen  Provenance
}

// Library is a file outside the image that is mapped for execution.
type Library struct {
	Path string
	Seen Provenance
}

// Access is what is done with a file, as bits.
type Access uint8

// The kinds of access. Create is to make a name: create, link, symlink, the new name of a rename. Delete is to take one
// away: unlink, rmdir, the old name of a rename. Write is to open for writing, truncate, or change mode or owner.
const (
	Read Access = 1 << iota
	Write
	Create
	Delete
)

// File is a path template (see Template for how it is written) and what may be done there.
type File struct {
	Path   string
	Access Access
	Seen   Provenance
}

// Egress is somebody who may be contacted. Exactly one of Name, Service, Workload and CIDR is set.
type Egress struct {
	// Name is a domain name, or *. and a domain for all names below it. It is in lower case, without a dot at the end.
	Name string
	// Service is NAMESPACE/NAME of a cluster service; Workload is NAMESPACE/KIND/NAME of pods.
	Service  string
	Workload string
	// CIDR is a prefix; a single address has all its bits.
	CIDR string
	// Protocol is tcp, udp, icmp …; Port 0 stands for every port.
	Protocol string
	Port     uint16
	Seen     Provenance
}

// Port is something to listen on. Port 0 stands for a port that the kernel chooses.
type Port struct {
	Protocol string
	Port     uint16
	Seen     Provenance
}

// Socket is a socket family and kind, such as netlink and raw. Of inet and inet6 it stands for raw sockets, and for those
// of other protocols than TCP and UDP.
type Socket struct {
	Family string
	Kind   string
	Seen   Provenance
}

// Capability is a capability that is used.
type Capability struct {
	Name string
	Seen Provenance
}

// Provenance is where an entry comes from.
type Provenance struct {
	Origin Origin
	// First and Last are when it was seen, wall clock, cut to seconds; zero for what nobody has seen.
	First, Last time.Time
	// Count is how often, as far as it was counted, on the node that saw it most.
	Count uint64
	// Replicas are the containers that showed it: how many distinct ones, by node. A node counts its own.
	Replicas map[string]uint32
	// Author and Reason are of who wrote or confirmed it.
	Author, Reason string
	// Suspect says why a candidate is not allowed yet: it was not learned in the ordinary way.
	Suspect Suspicion
}

// Origin is how an entry came into a profile.
type Origin string

// The origins. A candidate is not allowed until a person confirms it. Removed is, in an overlay, what takes away the
// entries that it stands for. Context is a process that may not run by this entry: it is there for what it lists.
const (
	Learned   Origin = "learned"
	Inherited Origin = "inherited"
	Written   Origin = "written"
	Probe     Origin = "probe"
	Candidate Origin = "candidate"
	Removed   Origin = "removed"
	Context   Origin = "context"
)

// Suspicion is why an entry is a candidate.
type Suspicion string

// The suspicions.
const (
	BySession  Suspicion = "exec session"
	FromDrift  Suspicion = "not from the image"
	InIncident Suspicion = "during an incident"
)

// Signal is a kind of deeds, or of what is sent, that has a mode of its own.
type Signal string

// The signals. Process, file and egress are learned. Protect is the set of rules that needs no learning. DLP is about
// sensitive data on its way out, WAF about attack payloads on their way in: both read what is sent.
const (
	SignalProcess Signal = "process"
	SignalFile    Signal = "file"
	SignalEgress  Signal = "egress"
	SignalProtect Signal = "protect"
	SignalDLP     Signal = "dlp"
	SignalWAF     Signal = "waf"
)

// State is how far learning is.
type State string

// The states.
const (
	StateLearning    State = "learning"
	StateStabilising State = "stabilising"
	StateStable      State = "stable"
	StatePartial     State = "partial"
)

// Learning is how far the learning of one signal is.
type Learning struct {
	State State
	// Observed counts what was seen, Once the entries that were seen exactly once: their ratio is the Good-Turing
	// estimate of the chance that the next observation is new.
	Observed, Once uint64
	// Replicas counts the containers that were learned from.
	Replicas uint32
	// Since is when learning began, New when the last new entry came, Lost when events were last lost.
	Since, New, Lost time.Time
	// Nodes are the parts of Observed, Once and Replicas by node, in a profile that was merged from several.
	Nodes map[string]Observation
}

// Observation is what one node has observed of a signal.
type Observation struct {
	Observed, Once uint64
	Replicas       uint32
}

// Mode is what is done about what is not in a profile.
type Mode string

// The modes, weakest first.
const (
	ModeOff     Mode = "off"
	ModeLearn   Mode = "learn"
	ModeMonitor Mode = "monitor"
	ModeEnforce Mode = "enforce"
)

// Modes are the modes by signal; a signal that is missing is decided by a weaker source.
type Modes map[Signal]Mode
