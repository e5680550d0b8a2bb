// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// answerNames is a name server that knows a few addresses, each good for a minute, until its socket is closed.
func answerNames(conn net.PacketConn, known map[string]netip.Addr) {
	buffer := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		if answer, err := answerName(buffer[:n], known); err == nil {
			_, _ = conn.WriteTo(answer, from)
		}
	}
}

func answerName(question []byte, known map[string]netip.Addr) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil {
		return nil, err
	}
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	for _, q := range m.Questions {
		address, ok := known[strings.TrimSuffix(strings.ToLower(q.Name.String()), ".")]
		if !ok {
			m.RCode = dnsmessage.RCodeNameError
			continue
		}
		if q.Type == dnsmessage.TypeA {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 60},
				Body:   &dnsmessage.AResource{A: address.As4()},
			})
		}
	}
	return m.Pack()
}
