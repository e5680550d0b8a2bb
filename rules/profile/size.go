// SPDX-License-Identifier: Apache-2.0

package profile

import "net/netip"

// dnsPort is where resolvers are asked.
const dnsPort = 53

// Compiled is how many entries a profile is at most when it is written out for the kernel: the measure of MaxEntries for what
// is to be put in force. A process without parents stands for one that everybody may start; where it has arguments, one entry
// says so; a name is asked for and
// contacted; a single address at port 53 is a resolver, too; a short prefix of IPv6 is put together of those that hold no
// IPv4 address. What services and workloads stand for is not known here, and counts as one.
func (p *Profile) Compiled() int {
	n := p.Len()
	for i := range p.Processes {
		q := &p.Processes[i]
		if q.Executable() && len(q.Parents) == 0 {
			n++
		}
		if !q.AnyArguments && len(q.Arguments) > 0 {
			n++
		}
		for j := range q.Egress {
			n += q.Egress[j].compiled() - 1
		}
	}
	return n
}

// compiled is how many entries a contact is at most.
func (e *Egress) compiled() int {
	if e.Name != "" {
		return 2
	}
	prefix, err := netip.ParsePrefix(e.CIDR)
	switch {
	case err != nil:
		return 1
	case prefix.IsSingleIP() && e.Port == dnsPort:
		return 2
	case prefix.Addr().Is6() && prefix.Bits() < mappedBits && prefix.Overlaps(netip.PrefixFrom(mappedAddr(), mappedBits)):
		return max(1, mappedBits-prefix.Bits())
	default:
		return 1
	}
}

// mappedBits and mappedAddr are the prefix in which IPv6 has the addresses of IPv4 (RFC 4291, section 2.5.5.2).
const mappedBits = 96

func mappedAddr() netip.Addr { return netip.AddrFrom16([16]byte{10: 0xff, 11: 0xff}) }
