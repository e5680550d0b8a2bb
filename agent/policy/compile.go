// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Resolver knows the addresses of the cluster. What it does not know has no prefixes.
type Resolver interface {
	// Service gives where a service is reached by one of its ports, the most important first: at its own addresses, and at
	// the pods behind it, whose ports may be others. Protocol and port are numbers, 0 for any.
	Service(namespace, name string, protocol uint8, port uint16) []Target
	// Workload gives the addresses of the pods of a workload.
	Workload(namespace, kind, name string) []netip.Prefix
}

// Target is where a service is reached.
type Target struct {
	Prefix netip.Prefix
	Port   uint16
}

// Options are what a profile is compiled with.
type Options struct {
	Hasher *Hasher
	// Cluster resolves services and workloads. Without it, none is known.
	Cluster Resolver
	// Resolvers are the addresses that the container's resolv.conf has. Their answers are believed, and whoever may contact
	// a name may ask them.
	Resolvers []netip.Addr
}

// maxErrors is how many errors of a profile are told at most.
const maxErrors = 20

// Compile makes the set of an effective profile (profile.Effective), the same for the same profile and options. What waits for a person (candidates) or
// was taken away is left out. The error names each entry that cannot be compiled, up to twenty; there is no set then.
func Compile(p *profile.Profile, o Options) (*Set, error) {
	c := &compiler{Options: o, set: NewSet()}
	for i := range p.Processes {
		c.process(&p.Processes[i])
	}
	for _, resolver := range o.Resolvers {
		c.resolver(resolver)
	}
	if n := c.set.Len(); n > profile.MaxEntries {
		c.fail("the profile", fmt.Errorf("%d entries, at most %d are allowed", n, profile.MaxEntries))
	}
	if len(c.errs) > 0 {
		return nil, c.error()
	}
	c.admit()
	c.close()
	slices.Sort(c.set.Unresolved)
	c.set.Unresolved = slices.Compact(c.set.Unresolved)
	return c.set, nil
}

// compiler makes one set.
type compiler struct {
	Options
	set  *Set
	errs []error
	more int
	// names says that some name may be contacted.
	names bool
	// cluster are the contacts by names of the cluster.
	cluster []clusterName
}

func (c *compiler) fail(what string, err error) {
	if len(c.errs) == maxErrors {
		c.more++
		return
	}
	c.errs = append(c.errs, fmt.Errorf("%s: %w", what, err))
}

func (c *compiler) error() error {
	if c.more > 0 {
		c.errs = append(c.errs, fmt.Errorf("and %d more", c.more))
	}
	return errors.Join(c.errs...)
}

func (c *compiler) add(class wire.AllowClass, subject uint64, object [2]uint64, bits uint16) {
	c.set.Allow[Key{class, subject, object}] |= bits
}

// process compiles an executable and what it does. One that may not be started may still be named for what it does.
func (c *compiler) process(p *profile.Process) {
	what := "process " + p.Path
	if p.Seen.Origin == profile.Removed {
		return
	}
	subject := AnyExe
	if p.Path != profile.Any {
		if err := absolute(p.Path); err != nil {
			c.fail(what, err)
			return
		}
		subject = c.Hasher.Exe(p.Path)
		c.arguments(what, subject, p)
	}
	if p.Executable() {
		c.executable(what, p)
	}
	for i := range p.Libraries {
		c.library(what, subject, &p.Libraries[i])
	}
	for i := range p.Files {
		c.file(what, subject, &p.Files[i])
	}
	for i := range p.Egress {
		c.egress(what, subject, &p.Egress[i])
	}
	c.sockets(what, subject, p)
}

// absolute checks a path that is matched as it is.
func absolute(path string) error {
	switch {
	case !strings.HasPrefix(path, "/"):
		return errors.New("not an absolute path")
	case len(path) > profile.MaxText:
		return fmt.Errorf("a path of %d bytes, at most %d are allowed", len(path), profile.MaxText)
	}
	return nil
}

// executable compiles who may start it. A process without parents that are allowed is not started by anybody.
func (c *compiler) executable(what string, p *profile.Process) {
	bits, err := sources(p.Sources)
	if err != nil {
		c.fail(what, err)
		return
	}
	object := c.Hasher.HashString(p.Path)
	for _, parent := range p.Parents {
		if !parent.Seen.Allows() {
			continue
		}
		subject, err := c.parent(parent.Path)
		if err != nil {
			c.fail(fmt.Sprintf("%s: parent %q", what, parent.Path), err)
			continue
		}
		c.add(wire.AllowExec, subject, object, bits)
	}
}

// parent gives the subject of entries that say what it starts.
func (c *compiler) parent(path string) (uint64, error) {
	switch path {
	case profile.Any:
		return AnyExe, nil
	case profile.Runtime:
		return RuntimeExe, nil
	default:
		return c.Hasher.Exe(path), absolute(path)
	}
}

// sources gives the bits of the sources, of the image where there are none.
func sources(list []profile.Source) (uint16, error) {
	if len(list) == 0 {
		return uint16(wire.SourceImage), nil
	}
	var bits uint16
	for _, s := range list {
		if s.Bit() == 0 {
			return 0, fmt.Errorf("source %q is not known", s)
		}
		bits |= uint16(s.Bit())
	}
	return bits, nil
}

// someArguments is the object of the entry beside the shapes that are listed for an executable: it allows none, and lets
// the programs say of the executable that it is listed (HF_ARGUMENTS_SOME).
func someArguments() [2]uint64 { return [2]uint64{0, 1} }

func (c *compiler) arguments(what string, subject uint64, p *profile.Process) {
	if p.AnyArguments {
		c.add(wire.AllowArguments, subject, [2]uint64{}, 1)
		return
	}
	some := false
	for _, a := range p.Arguments {
		if !a.Seen.Allows() {
			continue
		}
		raw, err := profile.ArgumentBytes(a.Shape)
		if err != nil {
			c.fail(what, err)
			continue
		}
		// No arguments at all have the hash that stands for any. The kernel gives every program one, if an empty one, since
		// 5.18; the programs take none for arguments that could not be read.
		if len(raw) > 0 {
			c.add(wire.AllowArguments, subject, c.Hasher.Hash(raw), 1)
			some = true
		}
	}
	if some && p.Executable() {
		c.add(wire.AllowArguments, subject, someArguments(), 1)
	}
}

// library compiles a file that is mapped for execution from anywhere but the image, which needs no entry.
func (c *compiler) library(what string, subject uint64, l *profile.Library) {
	if !l.Seen.Allows() {
		return
	}
	if l.Path == "" || len(l.Path) > profile.MaxText {
		c.fail(fmt.Sprintf("%s: library %q", what, l.Path), fmt.Errorf("a path has 1 to %d bytes", profile.MaxText))
		return
	}
	const elsewhere = uint16(wire.SourceUpper | wire.SourceMemory | wire.SourceVolume)
	c.add(wire.AllowLibrary, subject, c.Hasher.HashString(l.Path), elsewhere)
}

func (c *compiler) file(what string, subject uint64, f *profile.File) {
	if !f.Seen.Allows() {
		return
	}
	bits := uint16(f.Access) & allAccess
	t, err := profile.ParseTemplate(f.Path)
	if err != nil {
		c.fail(fmt.Sprintf("%s: file %q", what, f.Path), err)
		return
	}
	if bits == 0 {
		c.fail(fmt.Sprintf("%s: file %q", what, f.Path), errors.New("no access is given"))
		return
	}
	switch t.Kind {
	case profile.KindExact:
		c.add(wire.AllowFile, subject, c.Hasher.Hash(t.Raw), bits)
	case profile.KindShaped:
		c.add(wire.AllowFileShape, subject, c.Hasher.Hash(t.Raw), bits)
	case profile.KindFolder:
		// The programs know the root folder, alone of all, with its slash.
		folder := cmp.Or(string(t.Raw), "/")
		c.add(wire.AllowFolder, subject, c.Hasher.HashString(folder), bits)
	case profile.KindShapedFolder:
		c.add(wire.AllowFolderShape, subject, c.Hasher.Hash(t.Raw), bits)
	case profile.KindTree:
		c.tree(fmt.Sprintf("%s: file %q", what, f.Path), Tree{subject, string(t.Raw)}, bits)
	}
}

const allAccess = uint16(wire.MayRead | wire.MayWrite | wire.MayCreate | wire.MayDelete)

func (c *compiler) tree(what string, t Tree, bits uint16) {
	if len(t.Folder) > len(wire.TreeKey{}.Path) {
		c.fail(what, fmt.Errorf("a folder before ** has at most %d bytes, this one has %d", len(wire.TreeKey{}.Path), len(t.Folder)))
		return
	}
	c.set.Tree[t] |= bits
}

// close makes each entry of the tries allow what shorter ones allow. The new bits are kept apart, so that the order does
// not matter.
func (c *compiler) close() {
	closed := make(map[Tree]uint16, len(c.set.Tree))
	for t, bits := range c.set.Tree {
		for folder := parent(t.Folder); folder != ""; folder = parent(folder) {
			bits |= c.set.Tree[Tree{t.Subject, folder}]
		}
		closed[t] = bits
	}
	c.set.Tree = closed
}

func (c *compiler) sockets(what string, subject uint64, p *profile.Process) {
	for _, l := range p.Listen {
		if !l.Seen.Allows() {
			continue
		}
		protocol, err := profile.ProtocolNumber(l.Protocol)
		if err == nil && protocol == 0 {
			err = errAnyProtocol
		}
		if err != nil {
			c.fail(fmt.Sprintf("%s: listen %s/%d", what, l.Protocol, l.Port), err)
			continue
		}
		c.add(wire.AllowListen, subject, [2]uint64{transport(protocol, l.Port)}, 1)
	}
	for _, s := range p.Sockets {
		if !s.Seen.Allows() {
			continue
		}
		family, err := profile.FamilyNumber(s.Family)
		kind, kindErr := profile.SocketKindNumber(s.Kind)
		if err := errors.Join(err, kindErr); err != nil {
			c.fail(fmt.Sprintf("%s: socket %s/%s", what, s.Family, s.Kind), err)
			continue
		}
		c.add(wire.AllowSocket, subject, [2]uint64{uint64(family)<<16 | uint64(kind)}, 1)
	}
}

var errAnyProtocol = errors.New("a port is of one protocol, not of any")

// transport is a protocol and port in the object of an entry.
func transport(protocol uint8, port uint16) uint64 {
	return uint64(protocol)<<16 | uint64(port)
}

// addressObject is an address as the object of an entry: the 16 bytes in the order in which they stand in memory.
func addressObject(a netip.Addr) [2]uint64 {
	raw := a.As16()
	return [2]uint64{binary.LittleEndian.Uint64(raw[:8]), binary.LittleEndian.Uint64(raw[8:])}
}
