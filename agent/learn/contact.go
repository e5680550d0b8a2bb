// SPDX-License-Identifier: Apache-2.0

package learn

import (
	"bytes"
	"net/netip"
	"strings"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/report"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Numbers of protocols (IANA), and of multipath TCP, which is none of theirs (include/uapi/linux/in.h).
const (
	protocolTCP  = 6
	protocolUDP  = 17
	multipathTCP = 262
)

// transport gives the number of a protocol as profiles have it.
func transport(protocol uint16) uint8 {
	if protocol == multipathTCP {
		return protocolTCP
	}
	return uint8(protocol)
}

// hasPorts reports whether a protocol has ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
func hasPorts(protocol uint8) bool {
	switch protocol {
	case protocolTCP, protocolUDP, 33, 132, 136:
		return true
	default:
		return false
	}
}

// familyUnix is AF_UNIX, include/linux/socket.h.
const familyUnix = 1

// contact learns who was contacted, by the name that people would use for it.
func (d *deed) contact() {
	n := d.ev.Net()
	addr := report.AddressOf(n.Family, n.Remote).Unmap()
	p := d.process()
	switch {
	case p == nil:
		return
	case !addr.IsValid():
		d.l.stats.Unlearnable++
		return
	}
	to := peer{protocol: transport(n.Protocol), port: n.RemotePort}
	if !hasPorts(to.protocol) {
		to.port = 0
	}
	// A resolver has to be known by its address: there is no name before it has been asked. So has the metadata service,
	// which is protected from being contacted by chance.
	exact := to.port == dnsPort && (to.protocol == protocolTCP || to.protocol == protocolUDP) ||
		wire.Reason(d.ev.Head.Reason) == wire.ReasonMetadata
	// A service has one address, whatever name it was asked for by. A pod's address is known by name from the answer on,
	// and by its workload only when Kubernetes has told of it: so a name goes before that.
	if !exact && (d.service(p, to) || d.named(p, addr, to) || d.pod(p, to)) {
		return
	}
	to.kind, to.prefix = peerPrefix, netip.PrefixFrom(addr, addr.BitLen())
	if m := p.within(to); m != nil {
		d.again(m)
		return
	}
	note(d, p.egress, to)
}

// within finds the entry for the narrowest prefix that an address is in.
func (p *process) within(to peer) *mark {
	addr := to.prefix.Addr()
	for bits := addr.BitLen(); bits >= 0; bits-- {
		to.prefix = netip.PrefixFrom(addr, bits).Masked()
		if m := p.egress[to]; m != nil {
			return m
		}
	}
	return nil
}

// named learns the names that stand for the address, and reports whether they say all. The kernel knows no more about which
// of several is meant. After the time that the answer gave it the kernel admits the address no more: who uses it still,
// because he keeps addresses longer than he was told, needs the address itself beside the name.
func (d *deed) named(p *process, addr netip.Addr, to peer) bool {
	known := d.r.answers.byAddr[addr]
	if known == nil {
		return false
	}
	current := false
	for i := range known.names {
		current = current || known.names[i].stands(d.ev.Time)
	}
	for i := range known.names {
		s := &known.names[i]
		if s.stands(d.ev.Time) || !current && s.stands(d.ev.Time-late) {
			to.kind, to.name = peerName, s.name
			d.name(p, to)
		}
	}
	return current
}

// name learns one name. That it was asked for goes without saying from then on.
func (d *deed) name(p *process, to peer) {
	if m := d.below(p, []byte(to.name), to); m != nil {
		d.again(m)
		return
	}
	note(d, p.egress, to)
	question := askedFor(to.name)
	if p.egress[to] != nil && p.egress[question] != nil && question != to && !d.dry {
		delete(p.egress, question)
		d.w.entries--
		d.l.stats.Entries--
		d.fresh = true
	}
}

// below finds the entry for all names below a domain that a name is below of.
func (d *deed) below(p *process, name []byte, to peer) *mark {
	for dot := bytes.IndexByte(name, '.'); dot >= 0; dot = bytes.IndexByte(name, '.') {
		d.l.shape = append(append(d.l.shape[:0], '*'), name[dot:]...)
		m := p.egress[peer{kind: peerName, name: string(d.l.shape), protocol: to.protocol, port: to.port}]
		if m != nil {
			return m
		}
		name = name[dot+1:]
	}
	return nil
}

// service learns the service that the address belongs to, and reports whether one is known.
func (d *deed) service(p *process, to peer) bool {
	of := d.ev.Peer
	if of.Kind != container.EndpointService || of.Namespace == "" || of.Name == "" {
		return false
	}
	to.kind, to.space, to.name = peerService, of.Namespace, of.Name
	note(d, p.egress, to)
	return true
}

// pod learns the workload of the pod that has the address, and reports whether one is known, or may be in a moment.
func (d *deed) pod(p *process, to peer) bool {
	of := d.ev.Peer
	if of.Kind != container.EndpointPod || of.Namespace == "" || d.l.cfg.Owner == nil {
		return false
	}
	owner, answer := d.l.cfg.Owner(of)
	switch {
	case answer == container.OwnerKnown && owner.Name != "":
		to.kind, to.space, to.owner, to.name = peerWorkload, of.Namespace, owner.Kind, owner.Name
		note(d, p.egress, to)
		return true
	case answer == container.OwnerAsked && !d.last && d.dry:
		d.missing = true
		return true
	case answer == container.OwnerAsked && !d.last:
		return d.l.wait(d.ev)
	default:
		return false
	}
}

// askedFor is the entry for a name that was asked for and not contacted: as a contact at the port of DNS, which lets
// everybody ask for it and nobody do anything else.
func askedFor(name string) peer {
	return peer{kind: peerName, name: name, protocol: protocolUDP, port: dnsPort}
}

// ask learns a name that was asked for. Who is contacted by it is known only when the contact comes, if it does: many
// names are asked for in vain, such as those that a search list makes, and still must be allowed to be.
func (d *deed) ask() {
	if d.ev.DNS().RemotePort != dnsPort {
		d.l.stats.Unlearnable++
		return
	}
	p := d.process()
	if p == nil {
		return
	}
	name := d.l.asked.question(d.ev.Text())
	if name == nil {
		d.l.stats.Unlearnable++
		return
	}
	if m := p.egress[peer{kind: peerName, name: string(name), protocol: protocolUDP, port: dnsPort}]; m != nil {
		d.again(m)
		return
	}
	if p.contacts(name) {
		return
	}
	note(d, p.egress, askedFor(string(name)))
}

// contacts reports whether the process is known to contact a name, or names below a domain that it is below of, at any
// port. It is asked only of names that are not listed by themselves, which are few.
func (p *process) contacts(name []byte) bool {
	for to := range p.egress {
		if to.kind != peerName {
			continue
		}
		domain, all := bytes.CutPrefix([]byte(to.name), []byte("*"))
		if all && bytes.HasSuffix(name, domain) || !all && to.name == string(name) {
			return true
		}
	}
	return false
}

// Ports that the kernel chooses from unless it is told otherwise (net.ipv4.ip_local_port_range).
const (
	firstChosen = 32768
	lastChosen  = 60999
)

// chosen reports whether a port that is listened on was the kernel's choice, which policies know as port 0: one of those
// that it chooses from, or one of many, which was not bound to on request. That nothing more is said of a chosen port
// once port 0 is listed shows whether it was so.
func (d *deed) chosen(p *process, key port) bool {
	const many = 8
	if d.ev.Type != wire.TypeListen || p.listen[key] != nil {
		return false
	}
	if known := p.listen[port{protocol: key.protocol}]; known != nil && d.at-known.first > settle {
		return false
	}
	return key.number >= firstChosen && key.number <= lastChosen || len(p.listen) >= many
}

// listen learns a port that is listened on or, without connections, bound to.
func (d *deed) listen() {
	n := d.ev.Net()
	key := port{transport(n.Protocol), n.LocalPort}
	p := d.process()
	if p == nil {
		return
	}
	if !hasPorts(key.protocol) {
		d.l.stats.Unlearnable++
		return
	}
	if d.chosen(p, key) {
		key.number = 0
	}
	note(d, p.listen, key)
}

// socket learns a family and kind of sockets.
func (d *deed) socket() {
	n := d.ev.Net()
	p := d.process()
	if p == nil {
		return
	}
	if n.Family == familyUnix {
		d.l.stats.Unlearnable++
		return
	}
	note(d, p.sockets, socket{n.Family, n.Kind})
}

// peerOf is the inverse of egress.
func peerOf(e *profile.Egress) (peer, bool) {
	protocol, err := profile.ProtocolNumber(e.Protocol)
	to := peer{protocol: protocol, port: e.Port}
	if err != nil {
		return to, false
	}
	switch {
	case e.Name != "":
		to.kind, to.name = peerName, e.Name
	case e.Service != "":
		to.kind = peerService
		return to, split(e.Service, &to.space, &to.name)
	case e.Workload != "":
		to.kind = peerWorkload
		return to, split(e.Workload, &to.space, &to.owner, &to.name)
	default:
		prefix, err := netip.ParsePrefix(e.CIDR)
		to.kind, to.prefix = peerPrefix, prefix
		return to, err == nil
	}
	return to, true
}

// egress is the entry for a peer.
func (to peer) egress(seen profile.Provenance) profile.Egress {
	e := profile.Egress{Protocol: profile.ProtocolName(to.protocol), Port: to.port, Seen: seen}
	switch to.kind {
	case peerName:
		e.Name = to.name
	case peerService:
		e.Service = to.space + "/" + to.name
	case peerWorkload:
		e.Workload = to.space + "/" + to.owner + "/" + to.name
	default:
		e.CIDR = to.prefix.String()
	}
	return e
}

// split puts the parts of a text between slashes where they belong, and reports whether there are as many.
func split(text string, parts ...*string) bool {
	list := strings.Split(text, "/")
	if len(list) != len(parts) {
		return false
	}
	for i, part := range list {
		*parts[i] = part
	}
	return true
}
