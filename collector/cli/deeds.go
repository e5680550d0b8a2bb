// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/rules/profile"
)

const (
	// redacted stands in an argument for a secret that was taken out before the event left its node.
	redacted = "[redacted]"
	// dnsPort is where questions are judged.
	dnsPort = 53
	// grace and leastTTL are how much longer, and how long at least, the kernel programs admit an address for a name.
	grace    = 2 * time.Second
	leastTTL = 5 * time.Second
	// maxRemembered bounds how many processes and addresses are remembered; then all are forgotten.
	maxRemembered = 1 << 20
)

// processID tells processes of all nodes apart.
type processID struct {
	node  string
	pid   uint32
	start uint64
}

// answered is an address that somebody was told for a name.
type answered struct {
	container string
	address   netip.Addr
}

// witness turns events, in the order of their time, into deeds that a profile judges. An event tells less than the kernel
// knew; what earlier events told makes up for some of it.
type witness struct {
	// executables are the last known images of processes.
	executables map[processID]string
	// names are what addresses were told for, and until when that holds.
	names map[answered]map[string]time.Time
	// owners are the workloads of pods, by namespace/name.
	owners map[string]string
}

func newWitness() *witness {
	return &witness{executables: map[processID]string{}, names: map[answered]map[string]time.Time{}, owners: map[string]string{}}
}

// deeds returns what the event says was done; nothing if no profile is about that. It remembers what later events need.
func (w *witness) deeds(e view.Event) []profile.Deed {
	if e.Process == nil {
		return nil
	}
	before, known := w.remember(e)
	if e.DNS != nil && e.DNS.Answer {
		w.answer(e)
	}
	if e.Type != "exec" && e.Type != "execute" && runtimeExecutable(e.Process.Exe) {
		return nil // The runtime, before the first program of the container.
	}
	switch e.Type {
	case "exec":
		return []profile.Deed{w.exec(e, before, known)}
	case "execute":
		return execute(e)
	case "mmap_exec":
		return mapped(e)
	case "connect", "sendto":
		return w.contact(e)
	case "dns":
		return asked(e)
	case "listen", "bind":
		return listened(e)
	case "socket":
		return socketed(e)
	default:
		return filed(e)
	}
}

// remember notes which image a process has, and returns the one that it had.
func (w *witness) remember(e view.Event) (before string, known bool) {
	if len(w.executables) > maxRemembered {
		clear(w.executables)
	}
	id := processID{e.Node, e.Process.PID, e.Process.StartNanoseconds}
	before, known = w.executables[id]
	w.executables[id] = e.Process.Exe
	if e.Type == "fork" && e.Security != nil && e.Security.Target != nil {
		child := e.Security.Target
		w.executables[processID{e.Node, child.PID, child.StartNanoseconds}] = e.Process.Exe
	}
	if c := e.Container; c != nil && c.Pod != "" && e.Workload.Name != "" {
		w.owners[c.Namespace+"/"+c.Pod] = strings.Join([]string{e.Workload.Namespace, e.Workload.Kind, e.Workload.Name}, "/")
	}
	return before, known
}

// runtimeExecutable reports whether an image is one of a container runtime, which runs in a container until the first
// program of it.
func runtimeExecutable(exe string) bool {
	name := path.Base(strings.TrimSuffix(exe, " (deleted)"))
	switch name {
	case "runc", "crun", "youki", "runsc", "conmon", "exe":
		return true
	default:
		return strings.HasPrefix(name, "containerd-shim") || strings.Contains(exe, "memfd:runc")
	}
}

// source is where a file comes from, as far as its flags say.
func source(flags []string) profile.Source {
	switch {
	case slices.Contains(flags, "memfd"), slices.Contains(flags, "deleted"):
		return profile.FromMemory
	case slices.Contains(flags, "upper_layer"):
		return profile.FromUpper
	case slices.Contains(flags, "tmpfs"):
		return profile.FromVolume
	default:
		return profile.FromImage
	}
}

// exec leaves the parent empty where no event told it, and the arguments where the event has none.
func (w *witness) exec(e view.Event, before string, known bool) profile.Deed {
	p := e.Process
	d := profile.Deed{Kind: profile.DoExec, Executable: p.Exe, Source: source(p.Flags), Parent: before}
	if !known && len(p.Ancestors) > 0 {
		d.Parent = p.Ancestors[0].Exe
	}
	if runtimeExecutable(d.Parent) || (p.NSPID == 1 && !known) {
		d.Parent = profile.Runtime
	}
	for _, argument := range p.Args {
		d.Withheld = d.Withheld || strings.Contains(argument, redacted)
	}
	if len(p.Args) > 0 && !d.Withheld {
		d.Arguments = profile.ShapeArguments([]byte(strings.Join(p.Args, "\x00") + "\x00"))
	}
	return d
}

// execute is an exec that was refused: the process has the image that it had.
func execute(e view.Event) []profile.Deed {
	if e.File == nil {
		return nil
	}
	d := profile.Deed{
		Kind: profile.DoExec, Executable: e.File.Path, Parent: e.Process.Exe, Source: source(e.File.Attributes),
	}
	if runtimeExecutable(d.Parent) {
		d.Parent = profile.Runtime
	}
	return []profile.Deed{d}
}

func mapped(e view.Event) []profile.Deed {
	if e.File == nil {
		return nil
	}
	return []profile.Deed{{
		Kind: profile.DoMap, Executable: e.Process.Exe, Path: e.File.Path, Source: source(e.File.Attributes),
	}}
}

// filed are the deeds of events of files. Devices, pipes and sockets are in no profile, nor is proc.
func filed(e view.Event) []profile.Deed {
	if e.File == nil || !strings.HasPrefix(e.File.Path, "/") || e.File.Filesystem == "proc" || special(e.File.Mode) {
		return nil
	}
	do := func(path string, access profile.Access) profile.Deed {
		return profile.Deed{Kind: profile.DoFile, Executable: e.Process.Exe, Path: path, Access: access}
	}
	switch e.Type {
	case "open":
		var access profile.Access
		for _, word := range e.File.Attributes {
			if word == "truncate" {
				access |= profile.Write
			} else if one, err := profile.ParseAccess(word); err == nil {
				access |= one
			}
		}
		return []profile.Deed{do(e.File.Path, access)}
	case "create", "symlink":
		return []profile.Deed{do(e.File.Path, profile.Create)}
	case "unlink":
		return []profile.Deed{do(e.File.Path, profile.Delete)}
	case "rename":
		return []profile.Deed{do(e.File.Path, profile.Delete), do(e.File.Target, profile.Create)}
	case "link":
		return []profile.Deed{do(e.File.Target, profile.Create)}
	case "chmod", "chown", "truncate":
		return []profile.Deed{do(e.File.Path, profile.Write)}
	default:
		return nil
	}
}

// special reports whether an octal mode is of a file that is neither a regular one nor a folder or symbolic link.
func special(mode string) bool {
	const kindMask, regular, folder, link = 0o170000, 0o100000, 0o040000, 0o120000
	bits, err := strconv.ParseUint(mode, 8, 32)
	kind := bits & kindMask
	return err == nil && kind != 0 && kind != regular && kind != folder && kind != link
}

// transport is a protocol as profiles name it.
func transport(name string) string {
	if name == "mptcp" {
		return "tcp"
	}
	return name
}

// internet reports whether a family has addresses that egress is judged by.
func internet(family string) bool {
	return family == "ipv4" || family == "ipv6"
}

func (w *witness) contact(e view.Event) []profile.Deed {
	n := e.Network
	if n == nil || !internet(n.Family) {
		return nil
	}
	address, err := netip.ParseAddr(n.RemoteAddress)
	if err != nil || n.RemoteAddress == n.LocalAddress {
		return nil
	}
	if _, err := profile.ProtocolNumber(transport(n.Protocol)); err != nil {
		return nil // A raw socket: its making is judged.
	}
	d := profile.Deed{
		Kind: profile.DoContact, Executable: e.Process.Exe, Address: address, Protocol: transport(n.Protocol), Port: uint16(n.RemotePort),
	}
	for name, until := range w.names[answered{containerOf(e), address.Unmap()}] {
		if !e.Time.After(until) {
			d.Names = append(d.Names, name)
		}
	}
	slices.Sort(d.Names)
	if service, ok := strings.CutPrefix(n.RemoteName, "service "); ok {
		d.Services = []string{service}
	}
	if pod, ok := strings.CutPrefix(n.RemoteName, "pod "); ok && w.owners[pod] != "" {
		d.Workloads = []string{w.owners[pod]}
	}
	return []profile.Deed{d}
}

// containerOf tells containers of all nodes apart.
func containerOf(e view.Event) string {
	if e.Container == nil {
		return e.Node
	}
	return e.Container.ID
}

// answer notes for which name addresses were told, and how long that holds. An alias leads to the name that was asked.
func (w *witness) answer(e view.Event) {
	if len(w.names) > maxRemembered {
		clear(w.names)
	}
	for _, r := range e.DNS.Records {
		address, err := netip.ParseAddr(r.Data)
		if err != nil || (r.Type != "A" && r.Type != "AAAA") {
			continue
		}
		key := answered{containerOf(e), address.Unmap()}
		if w.names[key] == nil {
			w.names[key] = map[string]time.Time{}
		}
		holds := max(time.Duration(r.TTLSeconds)*time.Second+grace, leastTTL)
		w.names[key][strings.ToLower(strings.TrimSuffix(e.DNS.Question, "."))] = e.Time.Add(holds)
	}
}

func asked(e view.Event) []profile.Deed {
	if e.DNS == nil || e.DNS.Answer || e.DNS.Question == "" || e.DNS.Network == nil || e.DNS.Network.RemotePort != dnsPort {
		return nil
	}
	return []profile.Deed{{Kind: profile.DoAsk, Executable: e.Process.Exe, Names: []string{e.DNS.Question}}}
}

// listened are listening, and what comes to the same without connections: to be bound to a port that was asked for.
func listened(e view.Event) []profile.Deed {
	n := e.Network
	if n == nil || !internet(n.Family) || (e.Type == "bind" && (n.Protocol != "udp" || n.LocalPort == 0)) {
		return nil
	}
	return []profile.Deed{{Kind: profile.DoListen, Executable: e.Process.Exe, Protocol: transport(n.Protocol), Port: uint16(n.LocalPort)}}
}

// socketKinds are the kinds that a socket may be of whose event says no kind but a protocol, the gravest first.
func socketKinds() []string { return []string{"raw", "dgram", "stream", "seqpacket"} }

// socketed are sockets of families other than those of everyday, and raw ones. The kind stays empty where the event tells
// the protocol in its place.
func socketed(e view.Event) []profile.Deed {
	n := e.Network
	if n == nil {
		return nil
	}
	d := profile.Deed{Kind: profile.DoSocket, Executable: e.Process.Exe, Family: n.Family, Protocol: n.Protocol}
	switch n.Family {
	case "ipv4":
		d.Family = "inet"
	case "ipv6":
		d.Family = "inet6"
	}
	if slices.Contains(socketKinds(), n.Protocol) {
		d.SocketKind, d.Protocol = n.Protocol, ""
	}
	return []profile.Deed{d}
}
