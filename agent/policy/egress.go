// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// dnsPort is where resolvers are asked, by these protocols (IANA).
const (
	dnsPort     = 53
	protocolTCP = 6
	protocolUDP = 17
)

// maxName is the longest domain name, in bytes (RFC 1035, without the dot at the end).
const maxName = 253

func (c *compiler) egress(what string, subject uint64, e *profile.Egress) {
	if !e.Seen.Allows() {
		return
	}
	what = fmt.Sprintf("%s: egress %s%s%s%s %s/%d", what, e.Name, e.Service, e.Workload, e.CIDR, e.Protocol, e.Port)
	protocol, err := profile.ProtocolNumber(e.Protocol)
	if err == nil && protocol == 0 && e.Port != 0 {
		err = errAnyProtocol
	}
	if err != nil {
		c.fail(what, err)
		return
	}
	to := Contact{Subject: subject, Port: e.Port, Protocol: protocol}
	switch {
	case e.Name != "":
		err = c.name(to, e.Name)
	case e.CIDR != "":
		err = c.prefix(to, e.CIDR)
	case e.Service != "":
		err = c.service(to, e.Service)
	case e.Workload != "":
		err = c.workload(to, e.Workload)
	default:
		err = errors.New("nobody is named")
	}
	if err != nil {
		c.fail(what, err)
	}
}

// name lets everybody ask for the name, and the subject contact what it stands for. The name counts in lower case.
func (c *compiler) name(to Contact, name string) error {
	domain, below := strings.CutPrefix(name, "*.")
	if domain == "" || len(domain) > maxName || domain != strings.ToLower(domain) || strings.HasSuffix(domain, ".") {
		return fmt.Errorf("a name has at most %d bytes, in lower case, and no dot at its end", maxName)
	}
	hash := c.Hasher.HashString(domain)
	class, contact := wire.AllowName, hash[0]
	if below {
		// What is below a domain is not the domain.
		class, contact = wire.AllowNameBelow, ^contact
	}
	c.add(class, AnyExe, hash, 1)
	c.add(wire.AllowNameContact, to.Subject, [2]uint64{contact, transport(to.Protocol, to.Port)}, 1)
	c.names = true
	return nil
}

// prefix lets the subject contact a prefix. A single address that is asked at the port of DNS is a resolver.
func (c *compiler) prefix(to Contact, text string) error {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return fmt.Errorf("parse the prefix: %w", err)
	}
	bits := uint16(wire.MayContact)
	if prefix.IsSingleIP() {
		bits |= uint16(wire.MayContactOne)
		if to.Port == dnsPort && (to.Protocol == protocolUDP || to.Protocol == protocolTCP) {
			c.add(wire.AllowResolver, AnyExe, addressObject(prefix.Addr()), 1)
		}
	}
	c.contact(to, prefix, bits)
	return nil
}

func (c *compiler) contact(to Contact, prefix netip.Prefix, bits uint16) {
	for _, to.Prefix = range without4(mapped(prefix)) {
		c.set.Egress[to] |= bits
	}
}

// without4 gives the prefixes that a prefix of IPv6 has beside IPv4, which stands among its addresses as v4-mapped: ::/0
// must not stand for 0.0.0.0/0, too. All but the shortest prefixes are as they are.
func without4(prefix netip.Prefix) []netip.Prefix {
	var ipv4 = netip.MustParsePrefix("::ffff:0:0/96")
	if prefix.Bits() >= ipv4.Bits() || !prefix.Overlaps(ipv4) {
		return []netip.Prefix{prefix}
	}
	var rest []netip.Prefix
	for bit := prefix.Bits(); bit < ipv4.Bits(); bit++ {
		// What is like IPv4 up to the bit, and unlike in it.
		other := ipv4.Addr().As16()
		other[bit/8] ^= 0x80 >> (bit % 8)
		rest = append(rest, netip.PrefixFrom(netip.AddrFrom16(other), bit+1).Masked())
	}
	return rest
}

// mapped gives a prefix as one of IPv6, masked.
func mapped(prefix netip.Prefix) netip.Prefix {
	prefix = prefix.Masked()
	bits := prefix.Bits()
	if prefix.Addr().Is4() {
		bits += 96
	}
	return netip.PrefixFrom(netip.AddrFrom16(prefix.Addr().As16()), bits)
}

func (c *compiler) service(to Contact, text string) error {
	namespace, name, ok := strings.Cut(text, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return errors.New("a service is written NAMESPACE/NAME")
	}
	var targets []Target
	if c.Cluster != nil {
		targets = c.Cluster.Service(namespace, name, to.Protocol, to.Port)
	}
	c.resolved("service "+text, to, targets)
	return nil
}

func (c *compiler) workload(to Contact, text string) error {
	part := strings.Split(text, "/")
	if len(part) != 3 || part[0] == "" || part[1] == "" || part[2] == "" {
		return errors.New("a workload is written NAMESPACE/KIND/NAME")
	}
	var targets []Target
	if c.Cluster != nil {
		for _, prefix := range c.Cluster.Workload(part[0], part[1], part[2]) {
			targets = append(targets, Target{Prefix: prefix, Port: to.Port})
		}
	}
	c.resolved("workload "+text, to, targets)
	return nil
}

// resolved notes what a name of the cluster stands for now. It is let in last, by admit.
func (c *compiler) resolved(what string, to Contact, targets []Target) {
	if len(targets) == 0 {
		c.set.Unresolved = append(c.set.Unresolved, what)
		return
	}
	c.cluster = append(c.cluster, clusterName{what, to, targets})
}

// clusterName is a contact by a name of the cluster.
type clusterName struct {
	what    string
	to      Contact
	targets []Target
}

// admit lets subjects contact what names of the cluster stand for, as far as there is room: an entry of a profile counts
// once, however many pods are behind it, and must not be what a policy fails by. First of all names what is most
// important, then the rest.
func (c *compiler) admit() {
	for i, more := 0, true; more; i++ {
		more = false
		for _, name := range c.cluster {
			switch {
			case i >= len(name.targets):
				continue
			case c.set.Len() < profile.MaxEntries:
				to := name.to
				to.Port = name.targets[i].Port
				c.contact(to, name.targets[i].Prefix, uint16(wire.MayContact))
				more = true
			default:
				c.set.Unresolved = append(c.set.Unresolved, fmt.Sprintf("%s, %d of its %d addresses", name.what, len(name.targets)-i, len(name.targets)))
			}
		}
	}
}

// resolver believes the answers of one of the container's resolvers. Who may contact a name has to ask for its address,
// and what is asked is checked by name: so the way to the resolver is open where the profile has names.
func (c *compiler) resolver(address netip.Addr) {
	address = address.WithZone("")
	c.add(wire.AllowResolver, AnyExe, addressObject(address), 1)
	if !c.names {
		return
	}
	for _, protocol := range []uint8{protocolUDP, protocolTCP} {
		to := Contact{Subject: AnyExe, Port: dnsPort, Protocol: protocol}
		c.contact(to, netip.PrefixFrom(address, address.BitLen()), uint16(wire.MayContact|wire.MayContactOne))
	}
}
