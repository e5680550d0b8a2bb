// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"net/netip"
	"unsafe"
)

// Inspector follows flows. It serves one goroutine.
type Inspector struct {
	cfg   Config
	sink  Sink
	now   int64
	flows map[Key]*flow
	// fresh are flows whose protocol is not known yet, settled the others; in both the one that was idle longest is
	// first. Fresh ones make room first, so that a flood of half-open connections does not push out real ones.
	fresh, settled flowList
	// gapped are flows with a direction that waits for missing bytes.
	gapped map[*flow]struct{}
	// memory is what is charged for state now.
	memory int
	// decoding is the part of it that decompressors have.
	decoding       int
	stats          Stats
	message, texts uint64

	// evicting says that a flow is being closed to make room, so that no other is for it.
	evicting bool

	bufs        buffers
	freeFlows   pool[flow]
	freeMsgs    pool[message]
	freeTexts   pool[text]
	freeHTTP    pool[http1]
	freeParts   pool[multipart]
	freeJSON    pool[jsonScanner]
	freeForms   pool[formScanner]
	freeEncoded pool[encodedScanner]
	decoders    decoders
	dns         dnsReader
	loose       flow
}

// New makes an Inspector. An error names the setting that is out of its bounds.
func New(cfg Config, sink Sink) (*Inspector, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	in := &Inspector{cfg: cfg, sink: sink, flows: make(map[Key]*flow), gapped: make(map[*flow]struct{})}
	in.decoders.credit = creditFree
	return in, nil
}

// Stats are the counters so far.
func (in *Inspector) Stats() Stats {
	s := in.stats
	s.Flows, s.Memory = len(in.flows), in.memory-in.decoders.held
	return s
}

// Piece takes captured bytes. What it completes goes to the sink before it returns.
func (in *Inspector) Piece(p *Piece) {
	in.now = max(in.now, p.Time)
	in.stats.Pieces++
	in.stats.Bytes += uint64(len(p.Data))
	in.earn(len(p.Data))
	in.stats.Cut += uint64(max(p.Cut, 0))
	switch p.Protocol {
	case ProtocolICMP, ProtocolICMPv6:
		in.icmp(p)
		return
	case ProtocolUDP:
		in.datagram(p)
		return
	}
	f := in.flow(p)
	if f == nil {
		in.stats.Refused++
		return
	}
	if p.Sequenced {
		in.sequenced(f, p)
		return
	}
	in.deliver(f, p.Dir, p.Data)
	if p.Cut > 0 {
		in.gap(f, p.Dir, p.Cut)
	}
}

// Closed says that a connection ended; what it left open is closed.
func (in *Inspector) Closed(key Key) {
	if f := in.flows[key]; f != nil {
		in.stats.Closed++
		in.drop(f)
	}
}

// Advance lets time pass without a piece: gaps that waited long enough are skipped, idle flows forgotten.
func (in *Inspector) Advance(now int64) {
	in.now = max(in.now, now)
	in.ageSpares()
	for f := range in.gapped {
		for d := range f.half {
			if h := &f.half[d]; len(h.segs) > 0 && in.now-h.since >= int64(in.cfg.GapWait) {
				in.skipGap(f, Dir(d))
			}
		}
		in.settleGap(f)
	}
	for _, l := range []*flowList{&in.fresh, &in.settled} {
		for f := l.first; f != nil && in.now-f.last >= int64(in.cfg.Idle); f = l.first {
			in.stats.Idle++
			in.drop(f)
		}
	}
}

// flow is one connection.
type flow struct {
	in        *Inspector
	key       Key
	tag       uint64
	inbound   bool
	app       App
	remote    netip.AddrPort
	localPort uint16
	protocol  uint8
	last      int64
	half      [2]half
	// parser is nil until the first bytes say what it is.
	parser parser
	// told has a bit for each reason that Opaque was called with for the flow.
	told       uint16
	prev, next *flow
	list       *flowList
}

// half is one direction of a flow.
type half struct {
	started bool
	// heard says that bytes came, or are known to be missing.
	heard bool
	// next is the sequence number that comes next; segs came before their turn, in order, since then.
	next     uint32
	segs     []segment
	segBytes int
	since    int64
	// pend is the beginning of something of which the end has not come.
	pend []byte
}

// parser takes one protocol apart.
type parser interface {
	// feed takes bytes of a direction and returns how many it has dealt with; 0 when it needs more than there are.
	feed(d Dir, data []byte) int
	// overflow is feed for what does not grow any more: FlowBytes of it wait. It returns at least 1.
	overflow(d Dir, data []byte) int
	// gap says that n bytes are missing, after the bytes that wait, which are lost too.
	gap(d Dir, waiting []byte, n int)
	// close says that no more comes. The parser closes its messages and gives back what it has.
	close()
}

// flowCost is a flow with its place in the table and the parser of an unknown protocol.
const flowCost = int(unsafe.Sizeof(flow{})) + 64 + int(unsafe.Sizeof(plain{}))

// flow is the piece's flow, made if there is room for it.
func (in *Inspector) flow(p *Piece) *flow {
	f := in.flows[p.Key]
	if f == nil {
		for len(in.flows) >= in.cfg.Flows {
			in.evict(nil)
		}
		if !in.reserve(flowCost, nil) {
			return nil
		}
		f = in.freeFlows.get()
		*f = flow{in: in, key: p.Key, half: f.half}
		in.flows[p.Key] = f
		in.fresh.push(f)
		in.stats.Opened++
	}
	f.describe(p)
	f.last = in.now
	f.list.touch(f)
	return f
}

// describe takes over what a piece says of its flow.
func (f *flow) describe(p *Piece) {
	f.tag, f.inbound, f.protocol, f.localPort = p.Tag, p.Inbound, p.Protocol, p.LocalPort
	f.remote = netip.AddrPortFrom(p.Remote, p.RemotePort)
}

// serverPort is the port of the side that accepted.
func (f *flow) serverPort() uint16 {
	if f.inbound {
		return f.localPort
	}
	return f.remote.Port()
}

// client is the direction in which the connecting side speaks.
func (f *flow) client() Dir {
	if f.inbound {
		return In
	}
	return Out
}

// reserve charges n bytes of memory, making room at the expense of flows other than keep. False when there is none.
func (in *Inspector) reserve(n int, keep *flow) bool {
	for in.memory+n > in.cfg.MemoryBytes {
		if !in.dropSpares() && (in.evicting || !in.evict(keep)) {
			return false
		}
	}
	in.memory += n
	return true
}

func (in *Inspector) release(n int) { in.memory -= n }

// evict forgets the flow that was idle longest, but for keep. False when there is none.
func (in *Inspector) evict(keep *flow) bool {
	for _, l := range []*flowList{&in.fresh, &in.settled} {
		f := l.first
		if f != nil && f == keep {
			f = f.next
		}
		if f == nil {
			continue
		}
		if l == &in.fresh {
			in.stats.EvictedHalfOpen++
		} else {
			in.stats.Evicted++
		}
		in.evicting = true
		in.drop(f)
		in.evicting = false
		return true
	}
	return false
}

// drop closes a flow and gives back all that it has.
func (in *Inspector) drop(f *flow) {
	f.list.remove(f)
	delete(in.flows, f.key)
	for d := range f.half {
		if !in.evicting {
			in.abandonGap(f, Dir(d))
		}
		if h := &f.half[d]; len(h.pend) > 0 {
			in.last(f, Dir(d))
		}
	}
	if f.parser != nil {
		f.parser.close()
	}
	for d := range f.half {
		h := &f.half[d]
		for i := range h.segs {
			in.freeSegment(h, i)
		}
		in.unpend(h)
		*h = half{segs: h.segs[:0]}
	}
	delete(in.gapped, f)
	f.parser = nil
	in.release(flowCost)
	in.freeFlows.put(f)
}

// last gives what waited for more to the parser as if no more could come.
func (in *Inspector) last(f *flow, d Dir) {
	data := f.half[d].pend
	if f.parser == nil {
		in.decide(f, in.guess(f, d, data, true))
	}
	for len(data) > 0 {
		n := in.feed(f, d, data)
		if n == 0 {
			n = f.parser.overflow(d, data)
		}
		data = data[n:]
	}
}

// setParser gives a flow its protocol.
func (f *flow) setParser(app App, p parser) {
	if f.parser == nil && f.list != nil {
		f.list.remove(f)
		f.in.settled.push(f)
	}
	f.app, f.parser = app, p
}

// opaque tells the sink about a flow, once for each reason.
func (f *flow) opaque(c *Context, r Reason) {
	if f.told&(1<<r) == 0 {
		f.told |= 1 << r
		f.in.opaque(c, r)
	}
}

func (in *Inspector) opaque(c *Context, r Reason) {
	in.stats.Opaque[r]++
	in.sink.Opaque(c, r)
}

// context is what the flow alone can say.
func (f *flow) context(c *Context, d Dir) {
	*c = Context{
		Key: f.key, Dir: d, Inbound: f.inbound, Tag: f.tag, Remote: f.remote, LocalPort: f.localPort, Protocol: f.app,
		Time: f.in.now,
	}
}

// flowList is flows by the time of their last piece.
type flowList struct{ first, last *flow }

func (l *flowList) push(f *flow) {
	f.list, f.prev, f.next = l, l.last, nil
	if l.last != nil {
		l.last.next = f
	} else {
		l.first = f
	}
	l.last = f
}

func (l *flowList) remove(f *flow) {
	if f.prev != nil {
		f.prev.next = f.next
	} else {
		l.first = f.next
	}
	if f.next != nil {
		f.next.prev = f.prev
	} else {
		l.last = f.prev
	}
	f.prev, f.next, f.list = nil, nil, nil
}

func (l *flowList) touch(f *flow) {
	if l.last != f {
		l.remove(f)
		l.push(f)
	}
}
