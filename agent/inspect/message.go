// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"unsafe"
)

const (
	methodMax = 32
	hostMax   = 255
	pathMax   = 512
	nameMax   = 64
)

// message is one message while it lasts, and for HTTP requests until their response is over.
type message struct {
	f   *flow
	ctx Context
	// told has a bit for each reason that Opaque was called with for the message.
	told uint16
	// begun says that Begin was called and End was not.
	begun bool
	// body and expanded are bytes of the body so far: as they came, and from decompressors.
	body, expanded int
	// names holds Context.Name of values.
	names              [nameMax]byte
	method, host, path []byte
	methodAt           [methodMax]byte
	hostAt             [hostMax]byte
	pathAt             [pathMax]byte
}

const messageCost = int(unsafe.Sizeof(message{}))

// newMessage makes a message, or nil when there is no memory for it.
func (f *flow) newMessage(d Dir, app App) *message {
	in := f.in
	if !in.reserve(messageCost, f) {
		var c Context
		f.context(&c, d)
		f.opaque(&c, ReasonMemory)
		return nil
	}
	m := in.freeMsgs.get()
	m.f, m.told, m.begun, m.body, m.expanded = f, 0, false, 0, 0
	m.method, m.host, m.path = m.methodAt[:0], m.hostAt[:0], m.pathAt[:0]
	m.renew(d, app)
	return m
}

// renew makes the message another one: of the same request, with a number of its own.
func (m *message) renew(d Dir, app App) {
	m.f.context(&m.ctx, d)
	m.f.in.message++
	m.ctx.Message, m.ctx.Protocol = m.f.in.message, app
	m.told, m.body, m.expanded = 0, 0, 0
}

// begin makes a message and opens it for the sink.
func (f *flow) begin(d Dir, app App) *message {
	m := f.newMessage(d, app)
	if m != nil {
		m.start()
	}
	return m
}

// start opens the message for the sink.
func (m *message) start() {
	m.begun = true
	m.f.in.stats.Messages++
	m.sync(&m.ctx)
	m.f.in.sink.Begin(&m.ctx)
}

// stop closes the message for the sink and keeps what it says of the request.
func (m *message) stop() {
	if m.begun {
		m.begun = false
		m.sync(&m.ctx)
		m.f.in.sink.End(&m.ctx)
	}
}

// end closes the message and gives it back.
func (m *message) end() {
	m.stop()
	m.release()
}

func (m *message) release() {
	in := m.f.in
	in.release(messageCost)
	m.f = nil
	m.ctx = Context{}
	in.freeMsgs.put(m)
}

// sync takes into a context what became known since it was made.
func (m *message) sync(c *Context) {
	c.Method, c.Host, c.Path, c.Status, c.Time, c.Tag = m.method, m.host, m.path, m.ctx.Status, m.f.in.now, m.f.tag
}

func (m *message) setMethod(b []byte) {
	m.method = append(m.methodAt[:0], b[:min(len(b), methodMax)]...)
}
func (m *message) setHost(b []byte) { m.host = append(m.hostAt[:0], b[:min(len(b), hostMax)]...) }

// setPath takes a target without its query.
func (m *message) setPath(b []byte) {
	if i := bytes.IndexByte(b, '?'); i >= 0 {
		b = b[:i]
	}
	m.path = append(m.pathAt[:0], b[:min(len(b), pathMax)]...)
}

// requestOf takes over what another message says of the request.
func (m *message) requestOf(r *message) {
	m.setMethod(r.method)
	m.setHost(r.host)
	m.setPath(r.path)
}

// opaque tells the sink about the message, once for each reason.
func (m *message) opaque(r Reason) {
	if m.told&(1<<r) != 0 {
		return
	}
	m.told |= 1 << r
	c := m.ctx
	m.sync(&c)
	m.f.in.opaque(&c, r)
}

// take charges bytes of a body to the message and gives those that are within its bound.
func (m *message) take(p []byte) []byte {
	left := m.f.in.cfg.MessageBytes - m.body
	m.body += len(p)
	if len(p) <= left {
		return p
	}
	left = max(left, 0)
	m.f.in.stats.SkippedBytes += uint64(len(p) - left)
	m.opaque(ReasonMessage)
	return p[:left]
}

// value gives a text that is there as a whole.
func (m *message) value(part Part, name, data []byte) {
	if len(data) == 0 {
		return
	}
	if m.f.in.cfg.Depth > 0 && encodedValue(data) {
		t := m.open(part, name, modeValue)
		if t != nil {
			t.whole(data)
			return
		}
	}
	in := m.f.in
	c := &m.ctx
	m.sync(c)
	in.texts++
	c.Part, c.TextID, c.Name = part, in.texts, append(m.names[:0], name[:min(len(name), nameMax)]...)
	in.stats.Texts++
	in.stats.TextBytes += uint64(len(data))
	in.sink.Text(c, data, true)
	c.State, c.Name, c.Part = nil, nil, 0
}
