// SPDX-License-Identifier: Apache-2.0

package exfil

import (
	"net/netip"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/agent/dns"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/fifo"
	"github.com/holdfast-project/holdfast/agent/proc"
	"github.com/holdfast-project/holdfast/agent/report"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// World is what a Joiner has to know of containers and their profiles.
type World interface {
	// Asked tells what is asked for of a container, by its cgroup.
	Asked(cgroup uint64) (dlp, waf bool)
	// Holds reports whether the profile of the event's workload lists the other end of its connection, which was told by
	// the names.
	Holds(ev *event.Event, names []string) bool
	// Settled reports whether something holds the container to a profile in the signal, and it is not still being learned:
	// what it does not list is news.
	Settled(cgroup uint64, signal profile.Signal) bool
	// Internal reports whether an address belongs to the cluster.
	Internal(netip.Addr) bool
	// Labelled is told of a labelled file that was read, so that it can be found again in what is sent. It must not wait.
	Labelled(r dlp.Read, cgroup uint64)
}

// Config makes a Joiner.
type Config struct {
	World  World
	Labels *Labels
	// Lineage, Volume and Tunnels are the bounds of what follows from deeds.
	Lineage dlp.LineageConfig
	Volume  dlp.VolumeConfig
	Tunnels dlp.TunnelConfig
}

// Bounds of what a Joiner remembers, each for all containers.
const (
	maxFlows   = 16384
	maxNames   = 8192
	maxNews    = 4096
	maxServers = 1024
	maxRecent  = 8
)

// Times, in nanoseconds.
const (
	advanceEvery = int64(time.Second)
	// newsFor is how long a destination that was learned while the profile was settled counts as none that it holds.
	newsFor = int64(15 * time.Minute)
	// early is how much earlier than the request a deed may be told that follows from it.
	early = int64(5 * time.Second)
	// flowsFor is how long a flow is remembered that says nothing.
	flowsFor = int64(24 * time.Hour)
	// followedFor is how long after a hit what is new counts as its consequence; further hits of the same in the first
	// minute are folded, so that one of them may be what it follows from.
	followedFor = 3 * time.Minute
)

// Joiner takes events and findings. Use New.
type Joiner struct {
	cfg     Config
	lineage *dlp.Lineage
	volume  *dlp.Volume
	tunnels *dlp.Tunnels
	attacks *dlp.Attacks
	flows   map[flowKey]*flow
	// names are what addresses were asked by, the newest answer of each.
	names   fifo.Table[contact, string]
	news    map[contact]int64
	servers map[uint64][]dlp.Behaviour
	walker  dns.Walker
	dst     []dlp.Finding
	next    int64
	counts  counts
}

type counts struct {
	read, full, forgotten atomic.Uint64
}

// Stats is what a Joiner did and gave up.
type Stats struct {
	// Read are the labelled files that were seen to be read.
	Read uint64
	// Full counts flows that were not followed for want of room; their bytes count when they end. Forgotten is what made room
	// for others: processes that had read a labelled file, files that such wrote, amounts that are usual, domains, servers
	// that were attacked.
	Full, Forgotten uint64
}

// contact is a container and an address.
type contact struct {
	cgroup uint64
	addr   netip.Addr
}

// New makes a joiner.
func New(cfg Config) *Joiner {
	if cfg.Labels == nil {
		cfg.Labels = &Labels{}
	}
	return &Joiner{
		cfg: cfg, lineage: dlp.NewLineage(cfg.Lineage), volume: dlp.NewVolume(cfg.Volume), tunnels: dlp.NewTunnels(cfg.Tunnels),
		attacks: dlp.NewAttacks(dlp.AttacksConfig{Within: followedFor}), flows: map[flowKey]*flow{},
		news: map[contact]int64{}, servers: map[uint64][]dlp.Behaviour{},
	}
}

// Stats may be called from any goroutine.
func (j *Joiner) Stats() Stats {
	c := &j.counts
	return Stats{Read: c.read.Load(), Full: c.full.Load(), Forgotten: c.forgotten.Load()}
}

// Classes are the classes of events that are wanted whole of a container whose sensitive data is watched, as bits
// 1 << type. Opens of labelled files come by their names.
func Classes() uint64 {
	var bits uint64
	for _, t := range []wire.Type{wire.TypeFork, wire.TypeExec, wire.TypeExit, wire.TypeCreate, wire.TypeFlow, wire.TypeDns} {
		bits |= 1 << t
	}
	return bits
}

// Take takes an event that has its process and its container, and gives what follows from it, valid until the next call.
func (j *Joiner) Take(ev *event.Event) []dlp.Finding {
	origin := ev.Head.Origin
	if origin == 0 || ev.Process == nil || ev.Container == nil {
		return nil
	}
	watch, serve := j.cfg.World.Asked(origin)
	j.dst = j.dst[:0]
	if watch {
		j.follow(ev)
	}
	if serve {
		j.behaved(ev)
	}
	if now := int64(ev.Head.Time); (watch || serve) && now >= j.next {
		j.next = now + advanceEvery
		j.advance(now)
	}
	return j.dst
}

// follow takes an event of a container whose sensitive data is watched.
func (j *Joiner) follow(ev *event.Event) {
	now := int64(ev.Head.Time)
	switch ev.Type {
	case wire.TypeFork:
		f := ev.Fork()
		if f.ChildOrigin == ev.Head.Origin {
			j.lineage.Fork(j.known(ev.Process), dlp.Process{PID: f.ChildTgid, Start: f.ChildStart})
		}
	case wire.TypeExec:
		j.lineage.Exec(j.known(ev.Process), program(ev.Process), now)
	case wire.TypeExit:
		j.lineage.Exit(identity(ev.Process))
	case wire.TypeOpen:
		j.opened(ev, now)
	case wire.TypeCreate:
		j.lineage.Wrote(j.known(ev.Process), ev.Process.Image.Exe, string(ev.Path()), now)
	case wire.TypeConnect, wire.TypeSendto:
		n := ev.Net()
		if ev.Has(wire.FlagLearn) && j.cfg.World.Settled(ev.Head.Origin, profile.SignalEgress) && len(j.news) < maxNews {
			j.news[contact{ev.Head.Origin, report.AddressOf(n.Family, n.Remote)}] = now + newsFor
		}
	case wire.TypeFlow:
		j.flowed(ev, now)
	case wire.TypeDns:
		j.asks(ev, now)
	}
}

// program is the path of what a process runs; of a file that is many programs, of the one that it is called as.
func program(p *proc.Process) string {
	exe := p.Image.Exe
	switch path.Base(exe) {
	case "busybox", "toybox", "coreutils":
		if name, _, _ := strings.Cut(p.Image.Argv, "\x00"); name != "" {
			return path.Join(path.Dir(exe), path.Base(name))
		}
	}
	return exe
}

func identity(p *proc.Process) dlp.Process { return dlp.Process{PID: p.PID, Start: p.Start} }

// maxAncestors is how many ancestors of a process are told to the lineage.
const maxAncestors = 8

// known makes sure that the lineage knows a process and its ancestors within the container, those too that were there
// before anybody asked. Of one that nobody has told of, they are not known.
func (j *Joiner) known(p *proc.Process) dlp.Process {
	if p.Stub || j.lineage.Knows(identity(p)) {
		return identity(p)
	}
	var line [maxAncestors]*proc.Process
	n := 0
	for at := p; at != nil && n < len(line) && at.Origin != 0 && at.Origin == p.Origin; at = at.Parent {
		line[n] = at
		n++
	}
	for i := n - 1; i > 0; i-- {
		// A process that has run another program stands above itself.
		if identity(line[i]) != identity(line[i-1]) {
			j.lineage.Fork(identity(line[i]), identity(line[i-1]))
		}
	}
	return identity(p)
}

// Flags of open(2).
const (
	accessMode = 3
	writeOnly  = 1
	readWrite  = 2
)

// opened takes the opening of a file whose name is watched.
func (j *Joiner) opened(ev *event.Event, now int64) {
	file, mode := string(ev.Path()), ev.File().Flags&accessMode
	p, exe := j.known(ev.Process), ev.Process.Image.Exe
	if mode == writeOnly || mode == readWrite {
		j.lineage.Wrote(p, exe, file, now)
	}
	if mode == writeOnly || ev.Has(wire.FlagBlocked) {
		return
	}
	label, labelled := j.cfg.Labels.Of(file)
	if !labelled && j.cfg.Labels.protects(file) && j.cfg.World.Settled(ev.Head.Origin, profile.SignalEgress) {
		// Without a profile, who reads a key and then speaks to somebody is every server.
		label, labelled = Protected, true
	}
	if !labelled {
		j.lineage.Opened(p, exe, file, now)
		return
	}
	j.counts.read.Add(1)
	r := dlp.Read{Time: now, Process: p, Executable: exe, File: file, Label: label}
	// One that packs may have begun before anybody asked, or be known as listed.
	j.lineage.Exec(p, program(ev.Process), now)
	j.lineage.Read(r)
	j.cfg.World.Labelled(r, ev.Head.Origin)
}

// advance forgets what no longer counts, and publishes what had to be forgotten before.
func (j *Joiner) advance(now int64) {
	lineage := j.lineage.Stats()
	j.counts.forgotten.Store(lineage.EvictedProcesses + lineage.EvictedFiles + j.volume.Stats().Evicted + j.tunnels.Stats().Evicted +
		j.attacks.Stats().Evicted)
	j.lineage.Advance(now)
	j.tunnels.Advance(now)
	j.attacks.Advance(now)
	for c, until := range j.news {
		if now > until {
			delete(j.news, c)
		}
	}
	for key, f := range j.flows {
		if now-f.last > flowsFor {
			delete(j.flows, key)
		}
	}
}

// workload names the workload of an event, for what is learned of it: its container where there is none.
func workload(ev *event.Event) string {
	if key, ok := report.Key(ev.Container); ok {
		return key.String()
	}
	return ev.Container.ID
}
