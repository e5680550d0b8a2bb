// SPDX-License-Identifier: Apache-2.0

package content

import (
	"strings"

	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/agent/inspect"
)

// Begin implements inspect.Sink.
func (r *Reader) Begin(c *inspect.Context) {
	r.sink.Begin(c)
	r.requests.begin(c, r.people.of(c.Tag), &r.counts)
}

// Text implements inspect.Sink.
func (r *Reader) Text(c *inspect.Context, part []byte, last bool) {
	r.requests.write(c, part)
	r.sink.Text(c, part, last)
}

// End implements inspect.Sink.
func (r *Reader) End(c *inspect.Context) {
	r.sink.End(c)
	if r.requests.open[c.Message] != nil {
		r.requests.end(c, r.people.of(c.Tag), r.Peer(c))
	}
}

// Opaque implements inspect.Sink.
func (r *Reader) Opaque(_ *inspect.Context, reason inspect.Reason) {
	if int(reason) < len(r.counts.opaque) {
		r.counts.opaque[reason].Add(1)
	}
}

// Party implements dlp.World. A server's lineage is its container: a request may come before a process has accepted it.
func (r *Reader) Party(tag uint64) (dlp.Party, bool) {
	piece := r.people.of(tag)
	if piece == nil {
		return dlp.Party{}, false
	}
	p := dlp.Party{
		Process: dlp.Process{PID: piece.Head.Tgid, Start: piece.Head.Start}, Lineage: piece.Head.Origin, Workload: r.people.container(tag),
	}
	p.DLP, p.WAF = r.cfg.Modes(piece.Head.Origin)
	return p, true
}

// Peer implements dlp.World.
func (r *Reader) Peer(c *inspect.Context) dlp.Peer {
	if c.Protocol == inspect.DNS {
		// A name goes to whom it belongs to, by whatever server: what stands below the domain may be data.
		return dlp.Peer{Addr: c.Remote, Host: dlp.Domain(string(c.Host))}
	}
	peer := dlp.Peer{Addr: c.Remote, Host: withoutPort(string(c.Host))}
	peer.Internal = r.cfg.Internal != nil && r.cfg.Internal(c.Remote.Addr())
	return peer
}

// withoutPort is the host of a request (RFC 9110, 7.2) without the port that may stand behind it.
func withoutPort(host string) string {
	if at := strings.LastIndexByte(host, ':'); at > strings.LastIndexByte(host, ']') {
		return host[:at]
	}
	return host
}

// found gives a finding to who takes them, with what is known of the text at hand.
func (r *Reader) found(f *dlp.Finding) {
	piece := r.people.of(f.Tag)
	if piece == nil {
		r.nobody++
		return
	}
	// It may be another text than the one that was just given: one that made room for it.
	at := r.sink.At()
	host := string(at.Host)
	if at.Protocol == inspect.DNS {
		host = f.Peer.Host
	}
	r.cfg.Found(r.Shown(Found{Finding: *f, Piece: *piece, Method: string(at.Method), Host: host, Name: string(at.Name)}))
}
