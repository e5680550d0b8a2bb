// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/dns"
	"github.com/holdfast-project/holdfast/agent/wire"
)

const (
	dnsQuestion = "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03com\x00\x00\x01\x00\x01"
	dnsAnswer   = "\x12\x34\x81\x80\x00\x01\x00\x02\x00\x00\x00\x00\x03www\x07example\x03com\x00\x00\x01\x00\x01" +
		"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x07\x04edge\xc0\x10" +
		"\xc0\x2d\x00\x01\x00\x01\x00\x00\x00\x1e\x00\x04\x7f\x00\x00\x05"
)

// deedDNS asks over UDP, over TCP in pieces, and over TCP for more than a record holds; a server of its own answers, at
// port 53 of its namespace.
func deedDNS(s say) error {
	if err := dnsOverUDP(s, "127.0.0.1"); err != nil {
		return err
	}
	if err := dnsOverUDP(s, "::1"); err != nil {
		return err
	}
	server, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(server, sockaddr("127.0.0.1", 53)); err != nil {
		return err
	}
	if err := unix.Listen(server, 1); err != nil {
		return err
	}
	c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(c, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	if err := unix.Connect(c, sockaddr("127.0.0.1", 53)); err != nil {
		return err
	}
	if s["tcp cookie"], err = cookieOf(c); err != nil {
		return err
	}
	a, _, err := unix.Accept(server)
	if err != nil {
		return err
	}
	framed := binary.BigEndian.AppendUint16(nil, uint16(len(dnsQuestion)))
	framed = append(framed, dnsQuestion...)
	// The length alone, a part, the rest.
	for _, piece := range [][]byte{framed[:2], framed[2:9], framed[9:]} {
		if _, err := unix.Write(c, piece); err != nil {
			return err
		}
	}
	big := make([]byte, 10000)
	copy(big, dnsAnswer)
	framed = binary.BigEndian.AppendUint16(nil, uint16(len(big)))
	if _, err := unix.Write(a, append(framed, big...)); err != nil {
		return err
	}
	for got := 0; got < len(big)+2; {
		n, err := unix.Read(c, big)
		if err != nil {
			return err
		}
		got += n
	}
	return nil
}

func dnsOverUDP(s say, addr string) error {
	server, err := unix.Socket(family(addr), unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(server, sockaddr(addr, 53)); err != nil {
		return err
	}
	c, err := unix.Socket(family(addr), unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(c, sockaddr(addr, 53)); err != nil {
		return err
	}
	if _, err := unix.Write(c, []byte(dnsQuestion)); err != nil {
		return err
	}
	buf := make([]byte, 512)
	_, from, err := unix.Recvfrom(server, buf, 0)
	if err != nil {
		return err
	}
	if err := unix.Sendto(server, []byte(dnsAnswer), 0, from); err != nil {
		return err
	}
	if _, err := unix.Read(c, buf); err != nil {
		return err
	}
	if s[addr+" port"], err = portOf(c); err != nil {
		return err
	}
	if s[addr+" cookie"], err = cookieOf(c); err != nil {
		return err
	}
	return unix.Close(c)
}

func testNetworkDNS(t *testing.T, r *netRig) {
	c := r.container()
	d := c.deed("dns")
	r.settle()
	answer := dns.Message{
		ID: 0x1234, Answer: true, Question: "www.example.com", QuestionType: "A", Questions: 1, ResponseCode: "NOERROR",
		Records: []dns.Resource{{Name: "www.example.com", Type: "CNAME", TTL: 60, Data: "edge.example.com"}, {Name: "edge.example.com", Type: "A", TTL: 30, Data: "127.0.0.5"}},
	}
	question := dns.Message{ID: 0x1234, Question: "www.example.com", QuestionType: "A", Questions: 1, ResponseCode: "NOERROR"}
	for _, addr := range []string{"127.0.0.1", "::1"} {
		t.Run("udp "+addr, func(t *testing.T) {
			// The client's and the server's socket each see both messages.
			seen := 0
			for _, e := range r.of(d.pid, wire.TypeDns) {
				m := e.DNS()
				if m.Protocol != unix.IPPROTO_UDP || address(m.Family, m.Local).String() != addr {
					continue
				}
				want := question
				if m.Outbound == 1 == (m.LocalPort == 53) {
					want = answer
				}
				got, err := dns.Parse(e.Text())
				if err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("message %+v, %v; want %+v", got, err, want)
				}
				client := m.LocalPort
				if m.LocalPort == 53 {
					client = m.RemotePort
				} else if m.Cookie != uint64(d.said[addr+" cookie"]) {
					t.Errorf("cookie %d, want %d", m.Cookie, d.said[addr+" cookie"])
				}
				if int64(client) != d.said[addr+" port"] || int(m.MessageSize) != len(e.Text()) || m.Sequence != 0 ||
					address(m.Family, m.Remote).String() != addr || e.Head.Origin != c.id || e.Head.Flags != 0 {
					t.Errorf("record %+v, head %+v", m, e.Head)
				}
				seen++
			}
			if seen != 4 {
				t.Errorf("%d messages, want 4", seen)
			}
		})
	}
	t.Run("tcp", func(t *testing.T) {
		streams := dns.NewStreams(0)
		var got []string
		for _, e := range r.of(d.pid, wire.TypeDns) {
			m := e.DNS()
			if m.Protocol != unix.IPPROTO_TCP {
				continue
			}
			if m.RemotePort == 53 && m.Cookie != uint64(d.said["tcp cookie"]) {
				t.Errorf("cookie %d, want %d", m.Cookie, d.said["tcp cookie"])
			}
			piece := dns.Piece{Sequence: m.Sequence, Data: e.Text(), Size: int(m.MessageSize)}
			streams.Push(dns.StreamKey{Cookie: m.Cookie, Outbound: m.Outbound == 1}, piece, func(msg []byte, size int) {
				parsed, err := dns.Parse(msg)
				if err != nil {
					t.Error(err)
				}
				want := question
				if parsed.Answer {
					want = answer
				}
				if !reflect.DeepEqual(parsed, want) {
					t.Errorf("message %+v, want %+v", parsed, want)
				}
				got = append(got, fmt.Sprintf("port %d outbound %d size %d", min(m.LocalPort, 54), m.Outbound, size))
			})
		}
		q := len(dnsQuestion)
		want := []string{
			fmt.Sprintf("port 54 outbound 1 size %d", q), fmt.Sprintf("port 53 outbound 0 size %d", q),
			"port 53 outbound 1 size 10000", "port 54 outbound 0 size 10000",
		}
		if !reflect.DeepEqual(got, want) || streams.Lost() != 0 {
			t.Errorf("messages %q, lost %d; want %q", got, streams.Lost(), want)
		}
	})
}
