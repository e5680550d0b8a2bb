// SPDX-License-Identifier: Apache-2.0

package inspect

import "encoding/binary"

// tlsHead reads a client's hello (RFC 8446, 4.1.2), so that what cannot be read has at least a name.
type tlsHead struct{ f *flow }

// recordMax is the length of a record with its head.
const recordMax = 5 + 16<<10

// feed implements parser.
func (p *tlsHead) feed(d Dir, data []byte) int {
	if d != p.f.client() {
		p.f.in.stats.OpaqueBytes += uint64(len(data))
		return len(data)
	}
	if len(data) < 5 {
		return 0
	}
	if size := 5 + int(binary.BigEndian.Uint16(data[3:])); len(data) < size && size <= recordMax {
		return 0
	}
	return p.overflow(d, data)
}

// overflow implements parser.
func (p *tlsHead) overflow(d Dir, data []byte) int {
	if d == p.f.client() {
		p.report(data)
	}
	p.f.in.stats.OpaqueBytes += uint64(len(data))
	return len(data)
}

func (p *tlsHead) report(record []byte) {
	var c Context
	p.f.context(&c, p.f.client())
	if len(record) > 5 {
		c.Host, c.Name = hello(record[5:])
	}
	c.Host, c.Name = c.Host[:min(len(c.Host), hostMax)], c.Name[:min(len(c.Name), nameMax)]
	p.f.opaque(&c, ReasonTLS)
	p.f.parser = skip{p.f}
}

// gap implements parser.
func (p *tlsHead) gap(d Dir, waiting []byte, _ int) {
	if d == p.f.client() {
		p.report(waiting)
	}
}

// close implements parser.
func (p *tlsHead) close() {
	if p.f.told&(1<<ReasonTLS) == 0 {
		p.report(nil)
	}
}

// TLS extensions.
const (
	extensionServerName = 0
	extensionALPN       = 16
)

// hello gives the server's name and the first protocol offered of a client's hello, as far as it is there.
func hello(b []byte) (host, protocol []byte) {
	r := reader{b}
	r.skip(1 + 3 + 2 + 32)
	r.skip(r.number(1))
	r.skip(r.number(2))
	r.skip(r.number(1))
	r.skip(2)
	for len(r.b) >= 4 {
		kind, size := r.number(2), r.number(2)
		ext := reader{r.b[:min(size, len(r.b))]}
		r.skip(size)
		switch kind {
		case extensionServerName:
			ext.skip(3)
			host = ext.take(ext.number(2))
		case extensionALPN:
			ext.skip(2)
			protocol = ext.take(ext.number(1))
		}
	}
	return host, protocol
}

// reader reads big-endian fields; past the end they are zero and empty.
type reader struct{ b []byte }

func (r *reader) take(n int) []byte {
	n = min(n, len(r.b))
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) skip(n int) { r.take(n) }

func (r *reader) number(size int) int {
	n := 0
	for _, c := range r.take(size) {
		n = n<<8 | int(c)
	}
	return n
}
