// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"

	"github.com/holdfast-project/holdfast/agent/dns"
)

// dnsReader gives the names and texts of DNS messages.
type dnsReader struct {
	walker dns.Walker
	m      *message
	joined [256]byte
}

// packetDNS takes a DNS message of a UDP packet.
func (in *Inspector) packetDNS(p *Piece) {
	in.messageDNS(in.looseFlow(p, DNS), p.Dir, p.Data)
}

func (in *Inspector) messageDNS(f *flow, d Dir, msg []byte) {
	m := f.begin(d, DNS)
	if m == nil {
		return
	}
	in.dns.m = m
	if _, err := in.dns.walker.Walk(msg, &in.dns); err != nil {
		in.stats.Malformed++
		if !readableDNS(msg) {
			// What claims to be DNS and is not may be anything.
			if t := m.open(Payload, nil, modeBody); t != nil {
				t.whole(msg)
			}
		}
	}
	in.dns.m = nil
	m.end()
}

// readableDNS says whether the fixed part is that of a query or response with few records.
func readableDNS(msg []byte) bool {
	h, err := dns.ReadHeader(msg)
	return err == nil && h.Questions <= 1 && h.Answers < 64 && h.Opcode <= 6
}

// Question implements dns.Visitor.
func (r *dnsReader) Question(name []byte, _ dns.Type, _ uint16) { r.name(name) }

// Answer implements dns.Visitor.
func (r *dnsReader) Answer(a *dns.Record) {
	if a.Type == dns.TypeTXT || len(a.Target) == 0 && len(a.Data) > 16 {
		if t := r.m.open(Payload, a.Name, modeBody); t != nil {
			t.whole(textData(a))
		}
		return
	}
	if len(a.Target) > 0 {
		r.name(a.Target)
	}
}

// textData is a record's data; of a TXT record with one string, that string.
func textData(a *dns.Record) []byte {
	if a.Type == dns.TypeTXT && len(a.Data) > 0 && int(a.Data[0]) == len(a.Data)-1 {
		return a.Data[1:]
	}
	return a.Data
}

// name gives a name, and its labels joined, since data is cut to fit them: all but the last two, which tell where it
// goes, and decoded if they or fewer of them are an encoding.
func (r *dnsReader) name(name []byte) {
	r.m.setHost(name)
	r.m.value(DNSName, nil, name)
	labels := name
	for without := 1; without <= dnsPlaces; without++ {
		i := bytes.LastIndexByte(labels, '.')
		if i < 0 {
			return
		}
		labels = labels[:i]
		if without < 2 {
			continue
		}
		joined := r.join(labels)
		if len(joined) < base64Min {
			return
		}
		if without == 2 {
			r.give(joined)
		}
		if r.decode(joined) {
			return
		}
	}
}

// dnsPlaces is how many labels at the end of a name may tell where it goes.
const dnsPlaces = 4

// join puts labels together.
func (r *dnsReader) join(labels []byte) []byte {
	joined := r.joined[:0]
	for _, c := range labels {
		if c != '.' && len(joined) < cap(joined) {
			joined = append(joined, c)
		}
	}
	return joined
}

// give gives a text under the layers that made it.
func (r *dnsReader) give(text []byte, under ...Layer) {
	if t := r.m.open(DNSName, nil, modeRaw); t != nil {
		t.layer(LayerLabels)
		for _, l := range under {
			t.layer(l)
		}
		t.whole(text)
	}
}

// decode gives what joined labels are an encoding of, if that is text.
func (r *dnsReader) decode(joined []byte) bool {
	var to [256]byte
	if n, err := hex.Decode(to[:], joined[:len(joined)&^1]); err == nil && readable(to[:n], true) {
		r.give(to[:n], LayerHex)
		return true
	}
	upper := to[:copy(to[:], joined)]
	for i, c := range upper {
		if c >= 'a' && c <= 'z' {
			upper[i] = c - 'a' + 'A'
		}
	}
	n, err := base32.StdEncoding.WithPadding(base32.NoPadding).Decode(upper, upper)
	if err == nil && readable(upper[:n], true) {
		r.give(upper[:n], LayerBase32)
		return true
	}
	n, err = base64.RawURLEncoding.Decode(to[:], joined)
	if err == nil && readable(to[:n], true) {
		r.give(to[:n], LayerBase64)
		return true
	}
	return false
}

// dnsStream reads DNS over TCP: messages behind their length (RFC 1035, 4.2.2).
type dnsStream struct {
	f    *flow
	skip [2]int
}

func newDNSStream(f *flow) parser { return &dnsStream{f: f} }

// feed implements parser.
func (p *dnsStream) feed(d Dir, data []byte) int {
	if p.skip[d] > 0 {
		n := min(p.skip[d], len(data))
		p.skip[d] -= n
		p.f.in.stats.SkippedBytes += uint64(n)
		return n
	}
	if len(data) < 2 {
		return 0
	}
	n := 2 + int(binary.BigEndian.Uint16(data))
	if len(data) < n {
		return 0
	}
	p.f.in.messageDNS(p.f, d, data[2:n])
	return n
}

// overflow implements parser: of a message that does not fit, the beginning is read.
func (p *dnsStream) overflow(d Dir, data []byte) int {
	if len(data) > 2 {
		p.f.in.messageDNS(p.f, d, data[2:])
		p.skip[d] = max(2+int(binary.BigEndian.Uint16(data))-len(data), 0)
	}
	return len(data)
}

// gap implements parser.
func (p *dnsStream) gap(d Dir, waiting []byte, n int) {
	switch {
	case n >= 0 && p.skip[d] >= n:
		p.skip[d] -= n
	case n >= 0 && len(waiting) >= 2:
		p.skip[d] = max(2+int(binary.BigEndian.Uint16(waiting))-len(waiting)-n, 0)
		p.f.in.stats.Resynced++
	default:
		p.skip[d] = 0
		p.f.in.stats.Resynced++
	}
}

// close implements parser.
func (p *dnsStream) close() {}
