// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/binary"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// dnsRecord builds a record of a piece.
func dnsRecord(protocol uint16, cookie uint64, sequence uint32, text string, size int) []byte {
	fixed := int(unsafe.Sizeof(wire.Dns{}))
	words := make([]uint64, (fixed+len(text)+7)/8)
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), 8*len(words))[:fixed+len(text)]
	*(*wire.Dns)(unsafe.Pointer(&words[0])) = wire.Dns{
		Head:   wire.Head{Type: uint16(wire.TypeDns), Size: uint16(len(raw)), Tgid: 7, Time: 99},
		Cookie: cookie, RemotePort: 53, Family: unix.AF_INET, Protocol: protocol, Outbound: 1,
		MessageLen: uint16(len(text)), MessageSize: uint32(size), Sequence: sequence,
	}
	copy(raw[fixed:], text)
	return raw
}

func TestDNSMessages(t *testing.T) {
	var m DNSMessages
	var got []string
	push := func(raw []byte) bool {
		var e Event
		if err := e.Decode(raw); err != nil {
			t.Fatal(err)
		}
		return m.Piece(&e, func(record []byte) {
			var whole Event
			if err := whole.Decode(record); err != nil {
				t.Fatal(err)
			}
			d := whole.DNS()
			if d.Head.Tgid != 7 || d.Head.Time != 99 || d.Cookie != 5 || d.RemotePort != 53 || d.Sequence != 0 {
				t.Errorf("record %+v", d)
			}
			if whole.Has(wire.FlagTruncated) != (int(d.MessageSize) > len(whole.Text())) {
				t.Errorf("a message of %d bytes, %d given, has flags %#x", d.MessageSize, len(whole.Text()), d.Head.Flags)
			}
			got = append(got, string(whole.Text()))
		})
	}
	if push(dnsRecord(unix.IPPROTO_UDP, 5, 0, "whole", 5)) {
		t.Error("a message of UDP is taken for a piece")
	}
	stream := "\x00\x05hello" + string(binary.BigEndian.AppendUint16(nil, 6000)) + strings.Repeat("x", 3000)
	for i := 0; i < len(stream); i += 1000 {
		piece := stream[i:min(i+1000, len(stream))]
		if !push(dnsRecord(unix.IPPROTO_TCP, 5, uint32(i), piece, len(piece))) {
			t.Error("a piece is not taken")
		}
	}
	push(dnsRecord(unix.IPPROTO_TCP, 5, uint32(len(stream)), "", 3000))
	if len(got) != 2 || got[0] != "hello" || got[1] != strings.Repeat("x", 3000) {
		t.Errorf("%d messages: %.40q", len(got), got)
	}
	// A connection that is closed is forgotten, so that the next with its numbers begins anew.
	push(dnsRecord(unix.IPPROTO_TCP, 5, 1<<20, "\x00", 1))
	if m.Lost() != 0 {
		t.Errorf("%d lost", m.Lost())
	}
	flow := make([]uint64, unsafe.Sizeof(wire.Net{})/8)
	*(*wire.Net)(unsafe.Pointer(&flow[0])) = wire.Net{
		Head:   wire.Head{Type: uint16(wire.TypeFlow), Size: uint16(8 * len(flow))},
		Cookie: 5, Protocol: unix.IPPROTO_TCP, NetFlags: uint16(wire.NetClosed),
	}
	if push(unsafe.Slice((*byte)(unsafe.Pointer(&flow[0])), 8*len(flow))) {
		t.Error("a flow is taken for a piece")
	}
	got = nil
	push(dnsRecord(unix.IPPROTO_TCP, 5, 40, "\x00\x02ok", 4))
	if len(got) != 1 || got[0] != "ok" || m.Lost() != 0 {
		t.Errorf("after the end: %q, %d lost", got, m.Lost())
	}
}
