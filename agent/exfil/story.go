// SPDX-License-Identifier: Apache-2.0

package exfil

import (
	"fmt"

	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/report"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// behaved takes an event of a container whose requests are looked at: what its profile does not list may be what an attack
// led to.
func (j *Joiner) behaved(ev *event.Event) {
	if !j.isNew(ev) {
		return
	}
	b := dlp.Behaviour{
		Time: int64(ev.Head.Time), Process: identity(ev.Process), Executable: ev.Process.Image.Exe, Workload: workload(ev),
		Lineage: ev.Head.Origin, What: event.Name(ev.Type), Object: object(ev),
	}
	j.dst = j.attacks.Behaved(j.dst, &b)
	// The request that led to it may be told later: it comes another way.
	recent := j.servers[b.Lineage]
	if recent == nil && len(j.servers) >= maxServers {
		clear(j.servers)
	}
	if len(recent) == maxRecent {
		recent = append(recent[:0], recent[1:]...)
	}
	j.servers[b.Lineage] = append(recent, b)
}

// isNew reports whether an event is a deed that the profile does not list. While the profile is learned, nothing is.
func (j *Joiner) isNew(ev *event.Event) bool {
	switch wire.Flag(ev.Head.Flags) & report.VerdictFlags {
	case 0:
		return false
	case wire.FlagLearn:
		return j.cfg.World.Settled(ev.Head.Origin, report.SignalOf(wire.Signal(ev.Head.Signal)))
	}
	return true
}

// object is what a deed was about.
func object(ev *event.Event) string {
	switch {
	case ev.Exec() != nil:
		return string(ev.Exe())
	case ev.File() != nil:
		return string(ev.Path())
	case ev.DNS() != nil:
		return report.Question(ev)
	case ev.Net() != nil:
		n := ev.Net()
		if addr := report.AddressOf(n.Family, n.Remote); addr.IsValid() && n.RemotePort != 0 {
			return fmt.Sprintf("%s port %d", addr, n.RemotePort)
		}
		return fmt.Sprintf("port %d", n.LocalPort)
	}
	return ""
}

// Attacked takes a finding about a request, and gives what had followed from it before it was told, valid until the next
// call.
func (j *Joiner) Attacked(f *dlp.Finding) []dlp.Finding {
	j.dst = j.dst[:0]
	j.attacks.Note(f)
	for i := range j.servers[f.Join] {
		if b := &j.servers[f.Join][i]; b.Time >= f.Time && b.Time-f.Time <= early {
			j.dst = j.attacks.Behaved(j.dst, b)
		}
	}
	return j.dst
}

// Matched takes a finding about a labelled file in what is sent, and reports whether it is to be told: not to a destination
// that the profile holds, and not where the story of the read is about to be told, with the file, when the flow is.
func (j *Joiner) Matched(f *dlp.Finding, ev *event.Event) bool {
	s := dlp.Send{Time: f.Time, Peer: f.Peer, Inbound: f.Inbound}
	j.peer(&s, ev)
	if f.Peer.Host == "" {
		f.Peer.Host = s.Peer.Host
	}
	f.Peer.Known, f.Peer.Internal = s.Peer.Known, s.Peer.Internal
	return !s.Peer.Known && !j.lineage.Shares(j.known(ev.Process), f.File, f.Time)
}

// Forget forgets a container that is gone.
func (j *Joiner) Forget(cgroup uint64) { delete(j.servers, cgroup) }
