// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"net/netip"
	"strconv"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/dns"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/redact"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// detail fills the part of the message that belongs to the event's class.
func detail(m *apiv1.Event, e *event.Event) {
	switch {
	case e.Exit() != nil:
		status := e.Exit().Status
		m.Detail = &apiv1.Event_Exit{Exit: &apiv1.Exit{Code: status >> 8 & 0xff, Signal: status & 0x7f}}
	case e.Fork() != nil:
		fork := e.Fork()
		m.Detail = &apiv1.Event_Security{Security: &apiv1.Security{Target: &apiv1.Process{
			Pid: fork.ChildTgid, StartNs: fork.ChildStart, NsPid: fork.ChildNsPid,
		}}}
	case e.File() != nil:
		m.Detail = &apiv1.Event_File{File: file(e)}
	case e.DNS() != nil:
		m.Detail = &apiv1.Event_Dns{Dns: dnsMessage(e)}
	case e.Net() != nil:
		m.Detail = &apiv1.Event_Network{Network: network(e)}
	case e.Content() != nil:
		m.Detail = &apiv1.Event_Network{Network: contentNetwork(e)}
	case e.Security() != nil:
		m.Detail = &apiv1.Event_Security{Security: security(e)}
	case e.Cgroup() != nil:
		m.Detail = &apiv1.Event_Security{Security: cgroup(e)}
	}
}

func file(e *event.Event) *apiv1.File {
	f := e.File()
	m := &apiv1.File{
		Path: string(e.Path()), Target: string(e.Target()),
		Flags: f.Flags, Mode: f.Mode, Uid: f.Uid, Gid: f.Gid,
		Inode: f.File.Inode, Device: f.File.Device, Filesystem: cString(f.Fstype[:]),
		Attributes: appendNames(appendNames(nil, f.File.Flags, fileFlags), uint32(e.Head.Flags), eventFlags),
	}
	if e.Type == wire.TypeOpen {
		m.Attributes = append(m.Attributes, openAccess(f.Flags)...)
	}
	return m
}

// openAccess names what open(2) flags ask for.
func openAccess(flags uint32) []string {
	const write, readWrite, create, truncate = 0o1, 0o2, 0o100, 0o1000
	var names []string
	switch flags & 0o3 {
	case write:
		names = append(names, "write")
	case readWrite:
		names = append(names, "read", "write")
	default:
		names = append(names, "read")
	}
	if flags&create != 0 {
		names = append(names, "create")
	}
	if flags&truncate != 0 {
		names = append(names, "truncate")
	}
	return names
}

var netFlags = []bitName{
	{uint32(wire.NetMapped), "v4_mapped"}, {uint32(wire.NetClosed), "closed"}, {uint32(wire.NetOutbound), "outbound"},
	{uint32(wire.NetOwner), "owner"},
}

func network(e *event.Event) *apiv1.Network {
	n := e.Net()
	m := &apiv1.Network{
		Family: FamilyName(n.Family), Protocol: ProtocolName(n.Family, n.Kind, n.Protocol),
		LocalAddress: Address(n.Family, n.Local), LocalPort: uint32(n.LocalPort),
		RemoteAddress: Address(n.Family, n.Remote), RemotePort: uint32(n.RemotePort),
		BytesOut: n.BytesOut, BytesIn: n.BytesIn, Cookie: n.Cookie,
		Attributes: appendNames(appendNames(nil, uint32(n.NetFlags), netFlags), uint32(e.Head.Flags), eventFlags),
	}
	switch text := string(e.Text()); {
	case text == "":
	case wire.Reason(e.Head.Reason) == wire.ReasonContent:
		m.Attributes = append(m.Attributes, "detector "+text)
	default:
		m.RemoteAddress = text
	}
	m.RemoteName = peerName(e.Peer)
	return m
}

// contentNetwork describes the connection that a piece of content is of.
func contentNetwork(e *event.Event) *apiv1.Network {
	c := e.Content()
	return &apiv1.Network{
		Family: FamilyName(c.Family), Protocol: ProtocolName(c.Family, 0, c.Protocol), Cookie: c.Cookie,
		LocalAddress: Address(c.Family, c.Local), LocalPort: uint32(c.LocalPort),
		RemoteAddress: Address(c.Family, c.Remote), RemotePort: uint32(c.RemotePort), RemoteName: peerName(e.Peer),
	}
}

// peerName says whose an address is.
func peerName(peer container.Endpoint) string {
	switch peer.Kind {
	case container.EndpointHost:
		return "interface " + peer.Interface
	case container.EndpointPod, container.EndpointService:
		return peer.Kind.String() + " " + peer.Namespace + "/" + peer.Name
	default:
		return ""
	}
}

func dnsMessage(e *event.Event) *apiv1.Dns {
	d := e.DNS()
	m := &apiv1.Dns{Network: &apiv1.Network{
		Family: FamilyName(d.Family), Protocol: ProtocolName(d.Family, 0, d.Protocol),
		LocalAddress: Address(d.Family, d.Local), LocalPort: uint32(d.LocalPort),
		RemoteAddress: Address(d.Family, d.Remote), RemotePort: uint32(d.RemotePort), Cookie: d.Cookie,
	}}
	msg, err := dns.Parse(e.Text())
	if err != nil {
		m.ResponseCode = "malformed: " + err.Error()
		return m
	}
	m.Answer, m.Id, m.Question, m.QuestionType = msg.Answer, uint32(msg.ID), redact.Name(msg.Question), msg.QuestionType
	m.ResponseCode = msg.ResponseCode
	for _, r := range msg.Records {
		m.Records = append(m.Records, &apiv1.DnsRecord{Name: redact.Name(r.Name), Type: r.Type, Ttl: r.TTL, Data: r.Data})
	}
	return m
}

func security(e *event.Event) *apiv1.Security {
	s := e.Security()
	values := map[string]string{}
	number := func(name string, v uint64) {
		if v != 0 {
			values[name] = strconv.FormatUint(v, 10)
		}
	}
	number("op", uint64(s.Op))
	number("kind", uint64(s.Kind))
	number("mode", uint64(s.Mode))
	number("before.uid", uint64(s.Before.Uid))
	number("after.uid", uint64(s.After.Uid))
	if s.Flags != 0 {
		values["flags"] = "0x" + strconv.FormatUint(s.Flags, 16)
	}
	if s.Before.Effective != s.After.Effective {
		values["before.cap_effective"] = "0x" + strconv.FormatUint(s.Before.Effective, 16)
		values["after.cap_effective"] = "0x" + strconv.FormatUint(s.After.Effective, 16)
	}
	spaces(values, &s.SpacesBefore, &s.SpacesAfter)
	if name := e.Text(); len(name) > 0 {
		values["name"] = string(name)
	}
	m := &apiv1.Security{Values: values}
	if s.TargetTgid != 0 {
		m.Target = &apiv1.Process{Pid: s.TargetTgid, StartNs: s.TargetStart}
	}
	return m
}

// spaces notes the namespaces that changed.
func spaces(values map[string]string, before, after *wire.Spaces) {
	for _, s := range []struct {
		name     string
		from, to uint32
	}{
		{"mnt", before.Mnt, after.Mnt}, {"pid", before.Pid, after.Pid}, {"net", before.Net, after.Net},
		{"user", before.User, after.User}, {"ipc", before.Ipc, after.Ipc}, {"uts", before.Uts, after.Uts},
		{"cgroup", before.Cgroup, after.Cgroup},
	} {
		if s.from != s.to && s.to != 0 {
			values["ns."+s.name] = strconv.FormatUint(uint64(s.from), 10) + "->" + strconv.FormatUint(uint64(s.to), 10)
		}
	}
}

func cgroup(e *event.Event) *apiv1.Security {
	c := e.Cgroup()
	m := &apiv1.Security{Values: map[string]string{
		"cgroup": strconv.FormatUint(c.Id, 10), "parent": strconv.FormatUint(c.Parent, 10), "name": string(e.Text()),
	}}
	if c.Tgid != 0 {
		m.Target = &apiv1.Process{Pid: c.Tgid}
	}
	return m
}

// Socket families and protocols as include/linux/socket.h and IANA number them.
const (
	familyUnix  = 1
	familyIPv4  = 2
	familyIPv6  = 10
	protocolTCP = 6
	protocolUDP = 17
)

// FamilyName gives the name of a socket family, or its number.
func FamilyName(family uint16) string {
	switch family {
	case familyUnix:
		return "unix"
	case familyIPv4:
		return "ipv4"
	case familyIPv6:
		return "ipv6"
	case 16:
		return "netlink"
	case 17:
		return "packet"
	case 38:
		return "alg"
	case 40:
		return "vsock"
	case 44:
		return "xdp"
	default:
		return strconv.Itoa(int(family))
	}
}

// ProtocolName gives the name of a transport protocol; where the socket has none, of its type.
func ProtocolName(family, kind, protocol uint16) string {
	const stream, datagram, raw = 1, 2, 3
	if family == familyIPv4 || family == familyIPv6 {
		switch protocol {
		case protocolTCP:
			return "tcp"
		case protocolUDP:
			return "udp"
		case 1:
			return "icmp"
		case 58:
			return "icmpv6"
		case 132:
			return "sctp"
		case 262:
			return "mptcp"
		}
	}
	switch {
	case kind == raw:
		return "raw"
	case protocol != 0:
		return strconv.Itoa(int(protocol))
	case kind == stream:
		return "stream"
	case kind == datagram:
		return "dgram"
	default:
		return ""
	}
}

// Address gives the text of an address as it stands in a record; empty for families without addresses.
func Address(family uint16, raw [16]uint8) string {
	if ip := AddressOf(family, raw); ip.IsValid() {
		return ip.String()
	}
	return ""
}

// AddressOf gives an address as it stands in a record; the zero value for families without addresses.
func AddressOf(family uint16, raw [16]uint8) netip.Addr {
	switch family {
	case familyIPv4:
		return netip.AddrFrom4([4]byte(raw[:4]))
	case familyIPv6:
		return netip.AddrFrom16(raw)
	default:
		return netip.Addr{}
	}
}

// cString cuts at the first NUL.
func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
