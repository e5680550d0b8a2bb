// SPDX-License-Identifier: Apache-2.0

package profile

import "net/netip"

// DeedKind is what a deed is, which says which of its fields count.
type DeedKind string

// The kinds of deeds.
const (
	// DoExec is to run Executable, from Parent, with Arguments, out of a file from Source.
	DoExec DeedKind = "exec"
	// DoScript is to run a script: Executable is the script. Its interpreter is run by an exec of its own.
	DoScript DeedKind = "script"
	// DoMap is to map the file Path, from Source, for execution.
	DoMap DeedKind = "map"
	// DoFile is to do Access with the file Path.
	DoFile DeedKind = "file"
	// DoContact is to contact Address at Protocol and Port.
	DoContact DeedKind = "contact"
	// DoAsk is to ask a resolver for Names[0].
	DoAsk DeedKind = "ask"
	// DoListen is to listen on, or be bound to, Protocol and Port.
	DoListen DeedKind = "listen"
	// DoSocket is to make a socket of Family and Kind, for Protocol.
	DoSocket DeedKind = "socket"
	// DoCapability is to use Capability.
	DoCapability DeedKind = "capability"
)

// Deed is something that a process does, to be held against a profile. Paths are canonical and as they are.
type Deed struct {
	Kind DeedKind
	// Executable is who acts; of an exec, what is run. Empty stands for an executable that is not known, which may do no
	// more than every one.
	Executable string
	// Parent is the executable before the exec, or Runtime.
	Parent string
	// Source is where the file comes from; the image when empty.
	Source Source
	// Arguments is the shape of the argument vector, as ShapeArguments gives it. Withheld says that it is not known.
	Arguments []string
	Withheld  bool
	Path      string
	Access    Access
	// Protected says that the file is one whose reading needs an entry.
	Protected bool
	Address   netip.Addr
	// Names are the names that the address was told for, Services (NAMESPACE/NAME) and Workloads (NAMESPACE/KIND/NAME)
	// what it is an address of, as far as is known.
	Names, Services, Workloads []string
	Protocol                   string
	// Port is 0, of DoListen, for one that the kernel chooses.
	Port       uint16
	Family     string
	SocketKind string
	Capability string
}

// Reason is why a deed is not allowed.
type Reason string

// The reasons, as alerts name them.
const (
	ReasonExecutable    Reason = "executable"
	ReasonParent        Reason = "parent"
	ReasonDrift         Reason = "drift"
	ReasonFileless      Reason = "fileless"
	ReasonArguments     Reason = "arguments"
	ReasonLibrary       Reason = "library"
	ReasonFile          Reason = "file"
	ReasonProtectedFile Reason = "protected_file"
	ReasonAddress       Reason = "address"
	ReasonMetadata      Reason = "metadata"
	ReasonDomain        Reason = "domain"
	ReasonListen        Reason = "listen"
	ReasonSocket        Reason = "socket"
	ReasonRawSocket     Reason = "raw_socket"
	ReasonCapability    Reason = "capability"
	// ReasonUnknown is that the deed is none that a profile could allow.
	ReasonUnknown Reason = "unknown"
)

// Verdict says whether a profile allows a deed.
type Verdict struct {
	Allowed bool
	// Signal is the signal that the deed belongs to. Protect says that the protecting rules forbid it too, where they hold:
	// the stronger of both modes counts then.
	Signal  Signal
	Protect bool
	// Reason is why it is not allowed, Why the same as a sentence; both empty if it is.
	Reason Reason
	Why    string
	// Nearest is the entry that comes closest to allowing it; nil if none does.
	Nearest *Entry
	// Missing is a profile that holds exactly the entries which would allow it, as an overlay; nil if no entry can, and
	// then Why says so.
	Missing *Profile
}

// metadata are the addresses where clouds tell machines about themselves, credentials included.
var metadata = [...]netip.Addr{netip.AddrFrom4([4]byte{169, 254, 169, 254}), netip.AddrFrom16([16]byte{
	0xfd, 0x00, 0x0e, 0xc2, 14: 0x02, 15: 0x54})}

// isMetadata reports whether an address is one of the metadata service's.
func isMetadata(address netip.Addr) bool {
	return address == metadata[0] || address == metadata[1]
}
