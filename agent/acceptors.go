// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"net/netip"

	"github.com/holdfast-project/holdfast/agent/content"
	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/agent/fifo"
	"github.com/holdfast-project/holdfast/agent/inspect"
	"github.com/holdfast-project/holdfast/agent/report"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// A request is there before its server's process has accepted the connection, and is seen as of the process that listens. Which
// one serves it, the record of accept tells, before or soon after. A finding waits for that.

// maxAcceptors bounds the connections whose acceptor is remembered, maxUnaccepted the findings that wait, and acceptWait for how
// long of the kernel's clock, in nanoseconds: one about an older connection waits in vain.
const (
	maxAcceptors  = 4096
	maxUnaccepted = 256
	acceptWait    = uint64(500e6)
)

// connection is one that a container accepted.
type connection struct {
	origin    uint64
	remote    netip.AddrPort
	localPort uint16
}

// acceptor is the process that accepted it.
type acceptor struct {
	tgid, tid uint32
	start     uint64
}

// acceptors remembers who accepted what, and holds findings. It belongs to the pipeline's goroutine.
type acceptors struct {
	of   fifo.Table[connection, acceptor]
	held []content.Found
}

// note takes a record of accept.
func (a *acceptors) note(head *wire.Head, n *wire.Net) {
	key := connection{head.Origin, netip.AddrPortFrom(report.AddressOf(n.Family, n.Remote), n.RemotePort), n.LocalPort}
	by := acceptor{head.Tgid, head.Tid, head.Start}
	if known := a.of.Get(key); known != nil {
		*known = by
		return
	}
	a.of.Put(key, &by, maxAcceptors)
}

// name gives a finding the process that accepted the connection; false says that this is not known. Inside TLS the process that
// called the library is known anyhow.
func (a *acceptors) name(f *content.Found) bool {
	c := &f.Piece
	if f.Reason != dlp.Attack || c.Tls != 0 || c.Protocol != inspect.ProtocolTCP {
		return true
	}
	by := a.of.Get(connection{c.Head.Origin, netip.AddrPortFrom(report.AddressOf(c.Family, c.Remote), c.RemotePort), c.LocalPort})
	if by != nil {
		c.Head.Tgid, c.Head.Tid, c.Head.Start = by.tgid, by.tid, by.start
		f.Process = dlp.Process{PID: by.tgid, Start: by.start}
	}
	return by != nil
}

// hold keeps a finding whose process is not known; false says that it need not wait, or that too many do.
func (a *acceptors) hold(f *content.Found) bool {
	if a.name(f) || len(a.held) == maxUnaccepted {
		return false
	}
	a.held = append(a.held, *f)
	return true
}

// release gives the findings that have waited long enough, or whose process is known now.
func (a *acceptors) release(now uint64, give func(*content.Found)) {
	kept := a.held[:0]
	for i := range a.held {
		f := a.held[i]
		if !a.name(&f) && now < f.Piece.Head.Time+acceptWait {
			kept = append(kept, f)
			continue
		}
		give(&f)
	}
	clear(a.held[len(kept):])
	a.held = kept
}
