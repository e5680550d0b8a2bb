// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"hash/maphash"
	"math"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"github.com/holdfast-project/holdfast/agent/fifo"
)

// TunnelConfig has the bounds of Tunnels and what is a tunnel. Zero values stand for the defaults.
type TunnelConfig struct {
	// Domains is how many workloads and registered domains are watched: 4,096. Names is how many different names one of
	// them remembers: 512. Peers is how many destinations of ICMP: 1,024.
	Domains, Names, Peers int
	// Window is the time that is looked at: 5 minutes.
	Window time.Duration
	// Unique is how many different names, NameBytes how many bytes in them below the domain, and Entropy how many bits a
	// character they must have at the least: 60, 2,048 and 3.2.
	Unique    int
	NameBytes uint64
	Entropy   float64
	// ICMPBytes is how many bytes of payload are too many in a minute: 32 KiB.
	ICMPBytes uint64
}

func (c TunnelConfig) withDefaults() TunnelConfig {
	c.Domains = orInt(c.Domains, 4096)
	c.Names = orInt(c.Names, 512)
	c.Peers = orInt(c.Peers, 1024)
	c.Unique = orInt(c.Unique, 60)
	if c.Window == 0 {
		c.Window = 5 * time.Minute
	}
	if c.NameBytes == 0 {
		c.NameBytes = 2048
	}
	if c.Entropy == 0 {
		c.Entropy = 3.2
	}
	if c.ICMPBytes == 0 {
		c.ICMPBytes = 32 << 10
	}
	return c
}

// Types of records that carry more than addresses.
const (
	typeNULL = 10
	typeTXT  = 16
)

// rcodeNoName is the answer that a name does not exist.
const rcodeNoName = 3

// Query is a name that was asked for, or what was answered.
type Query struct {
	Time                 int64
	Tag                  uint64
	Process              Process
	Executable, Workload string
	// Peer is the name server.
	Peer Peer
	Name string
	Type uint16
	// Answer says that this is an answer, and Code what it says.
	Answer bool
	Code   uint8
	Join   uint64
}

// Echo is a packet of ICMP.
type Echo struct {
	Time                 int64
	Tag                  uint64
	Process              Process
	Executable, Workload string
	Peer                 netip.Addr
	Payload              []byte
	Join                 uint64
}

// TunnelStats is what Tunnels did and gave up.
type TunnelStats struct {
	Findings, Evicted uint64
}

// Tunnels finds data in names of DNS, and in packets of ICMP.
type Tunnels struct {
	cfg     TunnelConfig
	seed    maphash.Seed
	domains fifo.Table[domainKey, domain]
	peers   fifo.Table[peerKey, echoes]
	stats   TunnelStats
}

type domainKey struct{ workload, domain string }

type peerKey struct {
	workload string
	peer     netip.Addr
}

// domain counts the queries below one registered domain since the window began.
type domain struct {
	begin, last         int64
	queries, rich, gone int
	names               map[uint64]struct{}
	bytes               uint64
	letters             [256]uint32
	told                int64
}

type echoes struct {
	begin, last int64
	packets     int
	bytes       uint64
	payloads    [16]uint64
	different   int
	told        int64
}

// NewTunnels returns Tunnels.
func NewTunnels(cfg TunnelConfig) *Tunnels {
	return &Tunnels{cfg: cfg.withDefaults(), seed: maphash.MakeSeed()}
}

// Stats returns the counts so far.
func (t *Tunnels) Stats() TunnelStats { return t.stats }

// registered splits a name in what is below the registered domain, and that domain.
func registered(name string) (below, domain string) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	domain, err := publicsuffix.EffectiveTLDPlusOne(name)
	if err != nil {
		return "", name
	}
	return strings.TrimSuffix(strings.TrimSuffix(name, domain), "."), domain
}

// Domain is the registered domain of a name of which it is not the whole, else "".
func Domain(name string) string {
	below, domain := registered(name)
	if below == "" {
		return ""
	}
	return domain
}

// carries reports whether the names below a registered domain carry data by design: reverse lookups, block lists, reputation
// services, names of the cluster.
func carries(domain string) bool {
	switch domain {
	case "spamhaus.org", "dnswl.org", "surbl.org", "uribl.com", "spamcop.net", "barracudacentral.org", "sophosxl.net", "mcafee.com", "cluster.local":
		return true
	}
	return strings.HasSuffix(domain, ".arpa")
}

// Query counts a query or an answer, and appends a finding if its domain's names carry data.
func (t *Tunnels) Query(dst []Finding, q *Query) []Finding {
	below, name := registered(q.Name)
	if carries(name) {
		return dst
	}
	d := t.domain(domainKey{q.Workload, name}, q.Time)
	if q.Answer {
		if q.Code == rcodeNoName {
			d.gone++
		}
		return dst
	}
	d.queries++
	if q.Type == typeTXT || q.Type == typeNULL {
		d.rich++
	}
	if hash := maphash.String(t.seed, below); len(d.names) < t.cfg.Names {
		if _, there := d.names[hash]; !there {
			d.names[hash] = struct{}{}
			d.add(below)
		}
	}
	sure := d.tunnel(&t.cfg)
	if sure == 0 || q.Time < d.told {
		return dst
	}
	d.told = q.Time + int64(t.cfg.Window)
	t.stats.Findings++
	f := Finding{
		Reason: DNSTunnel, Severity: High, Time: q.Time, Tag: q.Tag, Process: q.Process, Executable: q.Executable, Workload: q.Workload, Peer: q.Peer,
		App: "dns", Part: "dns-name", Count: d.queries, Distinct: len(d.names), Bytes: d.bytes, Confidence: sure, Join: q.Join,
		Detector: "dns-tunnel",
	}
	f.Peer.Host = name
	return append(dst, f)
}

func (t *Tunnels) domain(key domainKey, now int64) *domain {
	d := t.domains.Get(key)
	if d == nil {
		d = &domain{begin: now, names: make(map[uint64]struct{})}
		if t.domains.Put(key, d, t.cfg.Domains) {
			t.stats.Evicted++
		}
	}
	if now-d.begin > int64(t.cfg.Window) {
		told := d.told
		clear(d.names)
		*d = domain{begin: now, names: d.names, told: told}
	}
	d.last = now
	return d
}

func (d *domain) add(below string) {
	for i := range len(below) {
		if below[i] != '.' {
			d.letters[below[i]]++
			d.bytes++
		}
	}
}

// entropy is that of the characters of all names, in bits: English words have about 3.9 over letters alone but few
// different names; what is encoded has 4 (hexadecimal) to 5 (base32) and more.
func (d *domain) entropy() float64 {
	sum := 0.0
	for _, n := range d.letters {
		if n > 0 {
			p := float64(n) / float64(d.bytes)
			sum -= p * math.Log2(p)
		}
	}
	return sum
}

// tunnel is how sure it is that the names carry data, or 0: many different names that are long, look encoded, and are
// each asked once; records with room for answers, or names that do not exist, make it surer.
func (d *domain) tunnel(cfg *TunnelConfig) uint8 {
	unique := len(d.names)
	if unique < cfg.Unique || d.bytes < cfg.NameBytes || unique*10 < d.queries*6 {
		return 0
	}
	length := float64(d.bytes) / float64(unique)
	entropy := d.entropy()
	rich := d.rich*2 > d.queries
	gone := d.gone*2 > d.queries
	switch {
	case entropy < cfg.Entropy:
		return 0
	case length >= 40:
		return 95
	case length >= 24 && (rich || gone):
		return 90
	case length >= 24:
		return 75
	case length >= 12 && rich:
		return 70
	}
	return 0
}

// Echo counts a packet of ICMP, and appends a finding if there is more payload, of more kinds, than pings have.
func (t *Tunnels) Echo(dst []Finding, e *Echo) []Finding {
	key := peerKey{e.Workload, e.Peer}
	p := t.peers.Get(key)
	if p == nil {
		p = &echoes{begin: e.Time}
		if t.peers.Put(key, p, t.cfg.Peers) {
			t.stats.Evicted++
		}
	}
	if e.Time-p.begin > minute {
		*p = echoes{begin: e.Time, told: p.told}
	}
	p.last = e.Time
	p.packets++
	p.bytes += uint64(len(e.Payload))
	// Pings repeat their payload but for the time at its beginning.
	hash := maphash.Bytes(t.seed, e.Payload[min(len(e.Payload), 24):])
	if p.payloads[hash%16] != hash {
		p.payloads[hash%16] = hash
		p.different++
	}
	if p.bytes < t.cfg.ICMPBytes && (p.bytes < t.cfg.ICMPBytes/16 || p.different*2 < p.packets || p.packets < 16) || e.Time < p.told {
		return dst
	}
	p.told = e.Time + int64(t.cfg.Window)
	t.stats.Findings++
	f := Finding{
		Reason: ICMPVolume, Severity: Medium, Time: e.Time, Tag: e.Tag, Process: e.Process, Executable: e.Executable, Workload: e.Workload,
		Peer: Peer{Addr: netip.AddrPortFrom(e.Peer, 0)}, App: "icmp", Part: "payload", Count: p.packets, Distinct: p.different, Bytes: p.bytes,
		Usual: t.cfg.ICMPBytes, Confidence: 60, Join: e.Join, Detector: "icmp-tunnel",
	}
	if p.different*2 > p.packets {
		f.Severity, f.Confidence = High, 85
	}
	return append(dst, f)
}

// Advance forgets domains and destinations that have not been asked for within two windows.
func (t *Tunnels) Advance(now int64) {
	old := now - 2*int64(t.cfg.Window)
	t.domains.Forget(func(d *domain) bool { return d.last < old })
	t.peers.Forget(func(p *echoes) bool { return p.last < old })
}
