// SPDX-License-Identifier: Apache-2.0

package report

import (
	"net/netip"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Deed describes an event as something to hold against a profile; false for what no profile is about. Of a rename it is the
// part that takes the old name away. The names that an address was told for are for others to add.
func Deed(e *event.Event) (profile.Deed, bool) {
	d := profile.Deed{Executable: e.Process.Image.Exe}
	switch {
	case e.Exec() != nil || e.Type == wire.TypeExecute:
		execDeed(&d, e)
	case e.Type == wire.TypeMmapExec:
		d.Kind, d.Path, d.Source = profile.DoMap, string(e.Path()), Source(e)
	case e.File() != nil:
		fileDeed(&d, e)
	case e.DNS() != nil:
		d.Kind, d.Names = profile.DoAsk, []string{question(e)}
	case e.Net() != nil:
		netDeed(&d, e)
	}
	return d, d.Kind != ""
}

// execDeed leaves out the arguments of what never ran: they are not known.
func execDeed(d *profile.Deed, e *event.Event) {
	d.Kind, d.Executable, d.Parent, d.Source = profile.DoExec, Executable(e), Parent(e), Source(e)
	known := false
	if e.Exec() != nil {
		d.Arguments, known = Shape(e.Process.Image.Argv)
	}
	d.Withheld = !known
}

func fileDeed(d *profile.Deed, e *event.Event) {
	access, target := Access(e)
	d.Kind, d.Path, d.Access = profile.DoFile, string(e.Path()), access
	if access == 0 {
		d.Path, d.Access = string(e.Target()), target
	}
	d.Protected = wire.Reason(e.Head.Reason) == wire.ReasonProtectedFile
}

func netDeed(d *profile.Deed, e *event.Event) {
	n := e.Net()
	d.Protocol = Transport(n.Protocol)
	switch e.Type {
	case wire.TypeConnect, wire.TypeSendto:
		contactDeed(d, e.Peer, AddressOf(n.Family, n.Remote), n.RemotePort)
	case wire.TypeBind, wire.TypeListen:
		d.Kind, d.Port = profile.DoListen, n.LocalPort
	case wire.TypeSocket:
		d.Kind, d.Family, d.SocketKind = profile.DoSocket, profile.FamilyName(n.Family), profile.SocketKindName(n.Kind)
	}
}

func contactDeed(d *profile.Deed, peer container.Endpoint, addr netip.Addr, port uint16) {
	d.Kind, d.Address, d.Port = profile.DoContact, addr, port
	switch {
	case peer.Kind == container.EndpointService:
		d.Services = []string{peer.Namespace + "/" + peer.Name}
	case peer.Owner != (container.Owner{}):
		d.Workloads = []string{peer.Namespace + "/" + peer.Owner.Kind + "/" + peer.Owner.Name}
	}
}

// Contact gives the contact that an event with a remote end goes back to: a flow, or a piece of what was sent. False says
// that it has none.
func Contact(e *event.Event) (profile.Deed, bool) {
	if e.Process == nil {
		return profile.Deed{}, false
	}
	d := profile.Deed{Executable: e.Process.Image.Exe}
	switch n, c := e.Net(), e.Content(); {
	case n != nil:
		d.Protocol = Transport(n.Protocol)
		contactDeed(&d, e.Peer, AddressOf(n.Family, n.Remote), n.RemotePort)
	case c != nil:
		d.Protocol = Transport(c.Protocol)
		contactDeed(&d, e.Peer, AddressOf(c.Family, c.Remote), c.RemotePort)
	}
	return d, d.Address.IsValid()
}
