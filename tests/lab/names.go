// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Names is a name server that pods may ask, see [Lab.ServeNames]. It may be
// used by several goroutines.
type Names struct {
	ttl uint32

	mu    sync.Mutex
	known map[string][]netip.Addr
}

// ServeNames starts the name server that pods ask by default, at the lab's
// gateway. Its answers may be kept for ttl, in whole seconds. It ends with ctx.
func (l *Lab) ServeNames(ctx context.Context, ttl time.Duration) (*Names, error) {
	conn, err := l.ListenPacket(ctx, "udp", netip.AddrPortFrom(l.Gateway(), 53).String())
	if err != nil {
		return nil, fmt.Errorf("serve names: %w", err)
	}
	n := &Names{ttl: uint32(ttl / time.Second), known: map[string][]netip.Addr{}}
	context.AfterFunc(ctx, func() { conn.Close() })
	go n.serve(conn)
	return n, nil
}

// Set says which addresses, of either family, a name has from now on. A name
// that has none does not exist.
func (n *Names) Set(name string, addrs ...netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.known[strings.ToLower(name)] = addrs
}

// serve answers until the socket is closed.
func (n *Names) serve(conn net.PacketConn) {
	buffer := make([]byte, 1500)
	for {
		length, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		if answer, err := n.answer(buffer[:length]); err == nil {
			// Who asked may be gone.
			_, _ = conn.WriteTo(answer, from)
		}
	}
}

// answer makes the answer to one question.
func (n *Names) answer(question []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil {
		return nil, err
	}
	m.Response, m.Authoritative, m.RecursionAvailable, m.Additionals = true, true, true, nil
	for _, q := range m.Questions {
		n.mu.Lock()
		addrs := n.known[strings.TrimSuffix(strings.ToLower(q.Name.String()), ".")]
		n.mu.Unlock()
		if len(addrs) == 0 {
			m.RCode = dnsmessage.RCodeNameError
		}
		for _, a := range addrs {
			header := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: n.ttl}
			switch {
			case a.Is4() && q.Type == dnsmessage.TypeA:
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: a.As4()}})
			case a.Is6() && q.Type == dnsmessage.TypeAAAA:
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
			}
		}
	}
	return m.Pack()
}
