// SPDX-License-Identifier: Apache-2.0

package inspect

import "encoding/binary"

// datagram takes a UDP packet. DNS needs no flow.
func (in *Inspector) datagram(p *Piece) {
	if len(p.Data) == 0 {
		return
	}
	if p.RemotePort == portDNS || p.LocalPort == portDNS || p.RemotePort == portMDNS || p.LocalPort == portMDNS {
		in.packetDNS(p)
		return
	}
	f := in.flow(p)
	if f == nil {
		in.stats.Refused++
		return
	}
	if f.parser == nil {
		if quic(p.Data) || dtls(p.Data) {
			in.setOpaque(f, Unknown, ReasonEncrypted)
		} else {
			f.setParser(Unknown, packets{f})
		}
	}
	f.parser.feed(p.Dir, p.Data)
}

// quic is a long header of version 1 or 2 (RFC 9000, 17.2; RFC 9369).
func quic(b []byte) bool {
	if len(b) < 7 || b[0]&0xc0 != 0xc0 {
		return false
	}
	v := binary.BigEndian.Uint32(b[1:])
	return v == 1 || v == 0x6b3343cf || v>>8 == 0xff0000
}

// dtls is a record of a handshake of DTLS (RFC 9147, 4).
func dtls(b []byte) bool { return len(b) > 13 && b[0] == 22 && b[1] == 0xfe }

// packets gives each packet as a message.
type packets struct{ f *flow }

func (p packets) feed(d Dir, data []byte) int {
	if m := p.f.begin(d, Unknown); m != nil {
		if t := m.open(Payload, nil, modeBody); t != nil {
			t.whole(data)
		}
		m.end()
	}
	return len(data)
}
func (p packets) overflow(d Dir, data []byte) int { return len(data) }
func (packets) gap(Dir, []byte, int)              {}
func (packets) close()                            {}

// looseFlow is a flow for one packet, which is kept nowhere.
func (in *Inspector) looseFlow(p *Piece, app App) *flow {
	in.loose = flow{in: in, key: p.Key, app: app}
	in.loose.describe(p)
	return &in.loose
}

// icmpHead is the fixed part of an ICMP message (RFC 792, RFC 4443).
const icmpHead = 8

// icmp takes an ICMP message. What stands after its head is for the sender to choose.
func (in *Inspector) icmp(p *Piece) {
	if len(p.Data) <= icmpHead {
		return
	}
	m := in.looseFlow(p, ICMP).begin(p.Dir, ICMP)
	if m == nil {
		return
	}
	if t := m.open(Payload, nil, modeBody); t != nil {
		t.whole(p.Data[icmpHead:])
	}
	m.end()
}
