// SPDX-License-Identifier: Apache-2.0

package report

import (
	"strings"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/rules/profile"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/dns"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/proc"
	"github.com/holdfast-project/holdfast/agent/redact"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// VerdictFlags are the flags of a deed that the policy of its container did not let pass as normal, and that is told.
const VerdictFlags = wire.FlagWouldBlock | wire.FlagBlocked | wire.FlagKilled

// Action says what was done about the deed; ACTION_UNSPECIFIED when nothing was said against it. It allocates nothing.
func Action(e *event.Event) apiv1.Action {
	switch flags := wire.Flag(e.Head.Flags); {
	case flags&wire.FlagKilled != 0:
		return apiv1.Action_ACTION_KILLED
	case flags&wire.FlagBlocked != 0:
		return apiv1.Action_ACTION_BLOCKED
	case flags&wire.FlagWouldBlock != 0:
		return apiv1.Action_ACTION_WOULD_BLOCK
	default:
		return apiv1.Action_ACTION_UNSPECIFIED
	}
}

// SignalOf gives the name of a signal as profiles have it; empty for one that has none.
func SignalOf(s wire.Signal) profile.Signal {
	switch s {
	case wire.SignalProcess:
		return profile.SignalProcess
	case wire.SignalFile:
		return profile.SignalFile
	case wire.SignalEgress:
		return profile.SignalEgress
	case wire.SignalProtect:
		return profile.SignalProtect
	case wire.SignalDlp:
		return profile.SignalDLP
	case wire.SignalWaf:
		return profile.SignalWAF
	default:
		return ""
	}
}

// ReasonName gives the name of a reason: executable, parent, drift, fileless, arguments, library, file, protected_file,
// address, metadata, domain, listen, socket, raw_socket, passed_socket, mount, content; unlisted for one that is not known.
func ReasonName(r wire.Reason) string {
	names := [...]string{
		wire.ReasonExecutable: "executable", wire.ReasonParent: "parent", wire.ReasonDrift: "drift",
		wire.ReasonFileless: "fileless", wire.ReasonArguments: "arguments", wire.ReasonLibrary: "library",
		wire.ReasonFile: "file", wire.ReasonProtectedFile: "protected_file", wire.ReasonAddress: "address",
		wire.ReasonMetadata: "metadata", wire.ReasonDomain: "domain", wire.ReasonListen: "listen",
		wire.ReasonSocket: "socket", wire.ReasonRawSocket: "raw_socket", wire.ReasonPassedSocket: "passed_socket",
		wire.ReasonMount: "mount", wire.ReasonContent: "content",
	}
	if int(r) < len(names) && names[r] != "" {
		return names[r]
	}
	return "unlisted"
}

// Key names the profile of a container; false when too little is known of it, and for the host.
func Key(c *container.Container) (profile.Key, bool) {
	if c == nil || c.Kind == container.KindHost || c.Workload == "" || c.Name == "" {
		return profile.Key{}, false
	}
	return profile.Key{Namespace: c.Namespace, Kind: c.WorkloadKind, Name: c.Workload, Container: c.Name}, true
}

// Executable is the path of the executable that the deed is held against: of an exec the one that is run, else the one
// that acts. Empty when it is not known.
func Executable(e *event.Event) string {
	if e.Type == wire.TypeExecute {
		return string(e.Path())
	}
	return e.Process.Image.Exe
}

// Parent is the path of the executable that ran Executable, or profile.Runtime; empty when it is not known. It allocates
// nothing.
func Parent(e *event.Event) string {
	p := e.Process
	if e.Type == wire.TypeExecute {
		if p.Execs == 0 && !p.Stub {
			return profile.Runtime
		}
		return p.Image.Exe
	}
	switch {
	case p.Before == nil || p.Before.Exe == "":
		return ""
	case p.Execs == 1:
		return profile.Runtime
	default:
		return p.Before.Exe
	}
}

// Source is where the file of an exec or of a library comes from; empty for other events. It allocates nothing.
//
// A file is of the image if it lies on the container's root file system, but not in what was written since. Which file
// system that is the first program of the container tells, as long as it is not itself from elsewhere.
func Source(e *event.Event) profile.Source {
	var file *wire.File
	switch {
	case e.Exec() != nil:
		file = &e.Exec().File
	case e.Type == wire.TypeExecute || e.Type == wire.TypeMmapExec:
		file = &e.File().File
	default:
		return ""
	}
	flags := wire.FileFlag(file.Flags)
	root := rootDevice(e.Process)
	switch {
	case flags&(wire.FileMemfd|wire.FileDeleted) != 0:
		return profile.FromMemory
	case flags&wire.FileUpper != 0:
		return profile.FromUpper
	case flags&wire.FileOverlay != 0 && (root == 0 || root == file.Device):
		return profile.FromImage
	case flags&(wire.FileOverlay|wire.FileTmpfs) == 0 && root != 0 && root == file.Device:
		return profile.FromImage
	default:
		return profile.FromVolume
	}
}

// rootDevice is the device of the container's first program; 0 when it is not known.
func rootDevice(p *proc.Process) uint32 {
	if p.Session != proc.SessionEntrypoint || p.Root == nil || p.Root.Execs == 0 {
		return 0
	}
	return p.Root.Image.File.Device
}

// Access is what is asked for of the file that Path gives, and of the one that Target does; none for other events. A file
// that is opened so that it is made if need be asks for both. It allocates nothing.
func Access(e *event.Event) (path, target profile.Access) {
	switch e.Type {
	case wire.TypeOpen:
		return openBits(e.File().Flags), 0
	case wire.TypeCreate, wire.TypeSymlink:
		return profile.Create, 0
	case wire.TypeUnlink:
		return profile.Delete, 0
	case wire.TypeRename:
		return profile.Delete, profile.Create
	case wire.TypeLink:
		if wire.Reason(e.Head.Reason) == wire.ReasonProtectedFile {
			return profile.Read | profile.Write, profile.Create
		}
		return 0, profile.Create
	case wire.TypeChmod, wire.TypeChown, wire.TypeTruncate, wire.TypeMount:
		return profile.Write, 0
	default:
		return 0, 0
	}
}

// openBits gives the access that open(2) flags ask for.
func openBits(flags uint32) profile.Access {
	const write, readWrite, create, truncate = 0o1, 0o2, 0o100, 0o1000
	access := profile.Read
	switch flags & 0o3 {
	case write:
		access = profile.Write
	case readWrite:
		access = profile.Read | profile.Write
	}
	if flags&create != 0 {
		access |= profile.Create
	}
	if flags&truncate != 0 {
		access |= profile.Write
	}
	return access
}

// AccessNames lists what an access consists of: read, write, create, delete.
func AccessNames(a profile.Access) []string {
	return appendNames(nil, uint32(a), []bitName{
		{uint32(profile.Read), "read"}, {uint32(profile.Write), "write"}, {uint32(profile.Create), "create"},
		{uint32(profile.Delete), "delete"},
	})
}

// Shape gives the shape of an argument vector as profiles have it; false when it holds what looks like a secret: then its
// shape, which keeps all words, must not leave the node either.
func Shape(vector string) ([]string, bool) {
	list := strings.Split(strings.TrimSuffix(vector, "\x00"), "\x00")
	for i, arg := range redact.Argv(append([]string(nil), list...)) {
		if arg != list[i] {
			return nil, false
		}
	}
	return profile.ShapeArguments([]byte(vector)), true
}

// Violation says what of its workload's profile a deed goes against. Of the profile it knows nothing: the version, and
// what decided the mode, are for others to add.
func Violation(e *event.Event) *apiv1.Violation {
	v := &apiv1.Violation{
		Signal: string(SignalOf(wire.Signal(e.Head.Signal))), Reason: ReasonName(wire.Reason(e.Head.Reason)),
		Mode: mode(e), Executable: Executable(e), Parent: Parent(e), Source: string(Source(e)),
	}
	if key, ok := Key(e.Container); ok {
		v.Key = &apiv1.ProfileKey{Namespace: key.Namespace, Kind: key.Kind, Name: key.Name, Container: key.Container}
	}
	object(v, e)
	return v
}

func mode(e *event.Event) string {
	switch {
	case e.Has(wire.FlagBlocked) || e.Has(wire.FlagKilled):
		return string(profile.ModeEnforce)
	case e.Has(wire.FlagWouldBlock):
		return string(profile.ModeMonitor)
	default:
		return string(profile.ModeLearn)
	}
}

// object fills in what the deed was done to.
func object(v *apiv1.Violation, e *event.Event) {
	switch {
	case e.Exec() != nil:
		v.Path = e.Process.Image.Exe
		v.Shape, _ = Shape(e.Process.Image.Argv)
	case e.File() != nil:
		access, target := Access(e)
		v.Path = string(e.Path())
		// A link changes nothing but its new name. Of a rename, the new name is in the event.
		if access == 0 && target != 0 {
			v.Path, access = string(e.Target()), target
		}
		v.Access = AccessNames(access)
	case e.DNS() != nil:
		d := e.DNS()
		v.Name, v.Protocol = Question(e), Transport(d.Protocol)
		v.Address, v.Port = Address(d.Family, d.Remote), uint32(d.RemotePort)
	case e.Net() != nil:
		endpoint(v, e)
	}
}

func endpoint(v *apiv1.Violation, e *event.Event) {
	n := e.Net()
	v.Family, v.Protocol = profile.FamilyName(n.Family), Transport(n.Protocol)
	switch e.Type {
	case wire.TypeBind, wire.TypeListen:
		v.Address, v.Port = Address(n.Family, n.Local), uint32(n.LocalPort)
	case wire.TypeSocket:
		v.Kind = profile.SocketKindName(n.Kind)
	default:
		v.Address, v.Port = Address(n.Family, n.Remote), uint32(n.RemotePort)
	}
}

// Transport gives the name of a protocol as profiles have it. Multipath TCP, whose number is none of IANA's, is TCP.
func Transport(protocol uint16) string {
	const multipath = 262
	if protocol == multipath {
		protocol = protocolTCP
	}
	return profile.ProtocolName(uint8(protocol))
}

// Question is the name that a DNS message asks for, in lower case without the last dot, and without the secret that it may hold;
// empty when it asks for none.
func Question(e *event.Event) string { return redact.Name(question(e)) }

func question(e *event.Event) string {
	m, _ := dns.Parse(e.Text())
	return strings.ToLower(m.Question)
}
