// SPDX-License-Identifier: Apache-2.0

package event

import (
	"math"
	"unsafe"

	"github.com/holdfast-project/holdfast/agent/dns"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// protocolTCP is the number of the IP protocol.
const protocolTCP = 6

// DNSMessages makes of the records of DNS over TCP, each of which holds a piece of a stream, records of whole messages,
// such as those of UDP are. It serves one goroutine. The zero value is ready, with room for a bounded number of streams
// (dns.NewStreams).
type DNSMessages struct {
	streams *dns.Streams
	// record is built in words, as records are aligned.
	record []uint64
}

// Piece reports whether the event is a piece of a stream; then it has been taken in, and each has been called with a
// record for every message that it completed, valid until each returns.
func (m *DNSMessages) Piece(e *Event, each func(record []byte)) bool {
	if m.streams == nil {
		m.streams = dns.NewStreams(0)
	}
	if e.Type == wire.TypeFlow {
		if n := e.Net(); n.Protocol == protocolTCP && wire.NetFlag(n.NetFlags)&wire.NetClosed != 0 {
			m.streams.End(n.Cookie)
		}
		return false
	}
	d := e.DNS()
	if d == nil || d.Protocol != protocolTCP {
		return false
	}
	key := dns.StreamKey{Cookie: d.Cookie, Outbound: d.Outbound != 0}
	piece := dns.Piece{Sequence: d.Sequence, Data: e.Text(), Size: int(d.MessageSize)}
	m.streams.Push(key, piece, func(msg []byte, size int) { each(m.build(d, msg, size)) })
	return true
}

// Lost counts messages that could not be put together for want of pieces or room, at least.
func (m *DNSMessages) Lost() uint64 {
	if m.streams == nil {
		return 0
	}
	return m.streams.Lost()
}

// build gives a record of the message with the rest as in the piece that completed it.
func (m *DNSMessages) build(piece *wire.Dns, msg []byte, size int) []byte {
	fixed := int(unsafe.Sizeof(*piece))
	total := fixed + len(msg)
	if words := (total + 7) / 8; len(m.record) < words {
		m.record = make([]uint64, words)
	}
	record := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(m.record))), 8*len(m.record))[:total]
	copy(record[fixed:], msg)
	body := (*wire.Dns)(unsafe.Pointer(unsafe.SliceData(record)))
	*body = *piece
	body.Head.Size = uint16(min(total, math.MaxUint16))
	body.Head.Flags &^= uint16(wire.FlagTruncated)
	if len(msg) < size {
		body.Head.Flags |= uint16(wire.FlagTruncated)
	}
	body.MessageLen, body.MessageSize, body.Sequence = uint16(len(msg)), uint32(size), 0
	return record
}
