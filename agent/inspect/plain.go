// SPDX-License-Identifier: Apache-2.0

package inspect

// plain gives the bytes of an unknown protocol as they stand, one message for each direction.
type plain struct {
	f    *flow
	half [2]struct {
		m *message
		t *text
	}
}

func newPlain(f *flow) *plain { return &plain{f: f} }

func (p *plain) feed(d Dir, data []byte) int {
	h := &p.half[d]
	if h.m == nil {
		if h.m = p.f.begin(d, Unknown); h.m == nil {
			p.f.in.stats.SkippedBytes += uint64(len(data))
			return len(data)
		}
		h.t = h.m.open(Payload, nil, modeRaw)
	}
	if h.t != nil {
		h.t.write(data)
	}
	return len(data)
}

func (p *plain) overflow(d Dir, data []byte) int { return p.feed(d, data) }

// gap ends the text, so that nothing is read across it.
func (p *plain) gap(d Dir, _ []byte, _ int) { p.end(d) }

func (p *plain) end(d Dir) {
	h := &p.half[d]
	if h.t != nil {
		h.t.close(true)
	}
	if h.m != nil {
		h.m.end()
	}
	h.t, h.m = nil, nil
}

func (p *plain) close() {
	p.end(Out)
	p.end(In)
}

// skip consumes what cannot be read.
type skip struct{ f *flow }

func (s skip) feed(_ Dir, data []byte) int {
	s.f.in.stats.OpaqueBytes += uint64(len(data))
	return len(data)
}
func (s skip) overflow(d Dir, data []byte) int { return s.feed(d, data) }
func (skip) gap(Dir, []byte, int)              {}
func (skip) close()                            {}

// setOpaque gives a flow up as encrypted; of TLS the hello is read first.
func (in *Inspector) setOpaque(f *flow, app App, r Reason) {
	if r == ReasonTLS {
		f.setParser(app, &tlsHead{f: f})
		return
	}
	f.setParser(app, skip{f})
	var c Context
	f.context(&c, f.client())
	f.opaque(&c, r)
}

// lose gives a flow up whose framing cannot be followed any more.
func (f *flow) lose(d Dir, r Reason) {
	if f.parser != nil {
		f.parser.close()
	}
	f.parser = skip{f}
	var c Context
	f.context(&c, d)
	f.opaque(&c, r)
}
