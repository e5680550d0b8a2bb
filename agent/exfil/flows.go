// SPDX-License-Identifier: Apache-2.0

package exfil

import (
	"net/netip"
	"strings"

	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/agent/dns"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/report"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// flowKey tells the flows of one socket apart.
type flowKey struct {
	cookie uint64
	remote netip.AddrPort
}

// flow is what was told of a flow: its records have totals.
type flow struct {
	bytes uint64
	last  int64
}

// portDNS is left out of what is sent: names have a way of their own.
const portDNS = 53

// flowed takes how much went over a flow.
func (j *Joiner) flowed(ev *event.Event, now int64) {
	n := ev.Net()
	remote := netip.AddrPortFrom(report.AddressOf(n.Family, n.Remote).Unmap(), n.RemotePort)
	if !remote.Addr().IsValid() || remote.Addr().IsLoopback() || n.RemotePort == portDNS {
		return
	}
	bytes := j.since(flowKey{n.Cookie, remote}, n, now)
	if bytes == 0 {
		return
	}
	s := dlp.Send{
		Time: now, Process: j.known(ev.Process), Executable: ev.Process.Image.Exe, Workload: workload(ev),
		Peer: dlp.Peer{Addr: remote}, Inbound: wire.NetFlag(n.NetFlags)&wire.NetOutbound == 0, Bytes: bytes, Join: ev.Head.Origin,
	}
	j.peer(&s, ev)
	before := len(j.dst)
	j.dst = j.lineage.Sent(j.dst, &s)
	story := len(j.dst) > before
	at := len(j.dst)
	j.dst = j.volume.Sent(j.dst, &s)
	if story && len(j.dst) > at && j.dst[at].Reason == dlp.Upload {
		// The story says it, and which file it was.
		j.dst = append(j.dst[:at], j.dst[at+1:]...)
	}
}

// since gives what was sent since the flow was last told of, and takes note.
func (j *Joiner) since(key flowKey, n *wire.Net, now int64) uint64 {
	closed := wire.NetFlag(n.NetFlags)&wire.NetClosed != 0
	f := j.flows[key]
	switch {
	case f == nil && closed:
		return n.BytesOut
	case f == nil && len(j.flows) >= maxFlows:
		// What it sends counts when it ends.
		j.counts.full.Add(1)
		return 0
	case f == nil:
		f = &flow{}
		j.flows[key] = f
	}
	bytes := n.BytesOut - min(f.bytes, n.BytesOut)
	f.bytes, f.last = max(f.bytes, n.BytesOut), now
	if closed {
		delete(j.flows, key)
	}
	return bytes
}

// peer says what is known of where something was sent.
func (j *Joiner) peer(s *dlp.Send, ev *event.Event) {
	addr := s.Peer.Addr.Addr()
	s.Peer.Internal = j.cfg.World.Internal(addr)
	if s.Inbound {
		return
	}
	var told []string
	if name := j.names.Get(contact{ev.Head.Origin, addr}); name != nil {
		s.Peer.Host, told = *name, []string{*name}
	}
	s.Peer.Known = j.cfg.World.Holds(ev, told) && s.Time > j.news[contact{ev.Head.Origin, addr}]
}

// asks takes a message of DNS.
func (j *Joiner) asks(ev *event.Event, now int64) {
	d := ev.DNS()
	m := message{}
	h, err := j.walker.Walk(ev.Text(), &m)
	if m.name == "" || err != nil && !m.whole {
		return
	}
	out := d.Outbound != 0
	// What a container's own server answers, and what it is asked, is no question of the container's.
	if out == h.Answer {
		return
	}
	q := dlp.Query{
		Time: now, Process: j.known(ev.Process), Executable: ev.Process.Image.Exe, Workload: workload(ev),
		Peer: dlp.Peer{Addr: netip.AddrPortFrom(report.AddressOf(d.Family, d.Remote), d.RemotePort)},
		Name: m.name, Type: uint16(m.kind), Answer: h.Answer, Code: h.RCode, Join: ev.Head.Origin,
	}
	for _, addr := range m.addrs {
		at, name := contact{ev.Head.Origin, addr}, m.name
		if known := j.names.Get(at); known != nil {
			*known = name
		} else {
			j.names.Put(at, &name, maxNames)
		}
	}
	j.dst = j.tunnels.Query(j.dst, &q)
}

// maxAnswers is how many addresses of one answer are kept.
const maxAnswers = 32

// message takes from a message the name that is asked for and the addresses that are told.
type message struct {
	name  string
	kind  dns.Type
	whole bool
	addrs []netip.Addr
}

// Question implements dns.Visitor.
func (m *message) Question(name []byte, t dns.Type, _ uint16) {
	if m.name == "" {
		m.name, m.kind, m.whole = strings.ToLower(string(name)), t, true
	}
}

// Answer implements dns.Visitor.
func (m *message) Answer(r *dns.Record) {
	if addr, ok := r.Addr(); ok && len(m.addrs) < maxAnswers {
		m.addrs = append(m.addrs, addr.Unmap())
	}
}
