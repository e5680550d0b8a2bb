// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"time"

	"github.com/holdfast-project/holdfast/agent/fifo"
	"github.com/holdfast-project/holdfast/rules/waf"
)

// AttacksConfig has the bounds of Attacks. Zero values stand for the defaults.
type AttacksConfig struct {
	// Within is how long after a hit new behaviour of the server counts as its consequence: 2 minutes.
	Within time.Duration
	// Lineages is how many servers are remembered: 4,096. Hits is how many hits each remembers: 8.
	Lineages, Hits int
	// Quiet is how long further hits of one rule on one server from one address are folded: 1 minute.
	Quiet time.Duration
}

func (c AttacksConfig) withDefaults() AttacksConfig {
	c.Lineages = orInt(c.Lineages, 4096)
	c.Hits = orInt(c.Hits, 8)
	if c.Within == 0 {
		c.Within = 2 * time.Minute
	}
	if c.Quiet == 0 {
		c.Quiet = time.Minute
	}
	return c
}

// Target is the server that a request came to.
type Target struct {
	Time                 int64
	Tag                  uint64
	Process              Process
	Executable, Workload string
	// Lineage is the same for all processes of the server, such as the id of its first one.
	Lineage uint64
	// Peer is who sent the request.
	Peer Peer
	App  string
	Path string
}

// Behaviour is something new that a process did: what its profile does not hold.
type Behaviour struct {
	Time                 int64
	Tag                  uint64
	Process              Process
	Executable, Workload string
	Lineage              uint64
	// What is the kind of event, such as exec, connect or open, and Object what it was about.
	What, Object string
}

// AttacksStats is what Attacks did and gave up.
type AttacksStats struct {
	Hits, Folded, Followed, Evicted uint64
}

// Attacks reports hits of the web application filter, and joins them with what the server does next: a hit says that
// somebody tried, new behaviour soon after says that it worked.
type Attacks struct {
	cfg     AttacksConfig
	servers fifo.Table[uint64, server]
	stats   AttacksStats
}

// server is a lineage that was attacked.
type server struct {
	hits    []struckBy
	last    int64
	told    int64
	further int
}

type struckBy struct {
	rule   *waf.Rule
	peer   string
	target Target
	quiet  int64
	folded int
}

// NewAttacks returns Attacks.
func NewAttacks(cfg AttacksConfig) *Attacks {
	return &Attacks{cfg: cfg.withDefaults()}
}

// Stats returns the counts so far.
func (a *Attacks) Stats() AttacksStats { return a.stats }

// Hits takes what the filter found in one request, and appends a finding for each rule that was not reported just now.
func (a *Attacks) Hits(dst []Finding, t *Target, hits []waf.Hit) []Finding {
	if len(hits) == 0 {
		return dst
	}
	s := a.server(t.Lineage)
	s.last = t.Time
	from := t.Peer.Addr.Addr().String()
	for i := range hits {
		a.stats.Hits++
		h := &hits[i]
		if k := s.known(h.Rule, from); k != nil && t.Time < k.quiet {
			k.folded++
			k.target.Time = t.Time
			a.stats.Folded++
			continue
		}
		folded := s.strike(h.Rule, from, t, t.Time+int64(a.cfg.Quiet), a.cfg.Hits)
		dst = append(dst, Finding{
			Reason: Attack, Severity: Severity(h.Rule.Severity), Time: t.Time, Tag: t.Tag, Process: t.Process, Executable: t.Executable,
			Workload: t.Workload, Peer: t.Peer, Inbound: true, Detector: h.Rule.ID, Class: h.Rule.Family.String(), App: t.App,
			Part: h.Kind.String(), Path: clean(t.Path), Count: 1, Distinct: 1, Repeats: folded, Confidence: 80, Masked: []string{h.Evidence},
			Join: t.Lineage, rule: h.Rule,
		})
	}
	return dst
}

// Note takes a finding of other Attacks as a hit: where requests are looked at by one goroutine, and behaviour is seen by
// another.
func (a *Attacks) Note(f *Finding) {
	if f.Reason != Attack || f.rule == nil {
		return
	}
	s := a.server(f.Join)
	s.last = max(s.last, f.Time)
	s.strike(f.rule, f.Peer.Addr.Addr().String(), &Target{
		Time: f.Time, Tag: f.Tag, Process: f.Process, Executable: f.Executable, Workload: f.Workload, Lineage: f.Join, Peer: f.Peer,
		App: f.App, Path: f.Path,
	}, f.Time+int64(a.cfg.Quiet), a.cfg.Hits)
}

func (a *Attacks) server(lineage uint64) *server {
	s := a.servers.Get(lineage)
	if s == nil {
		s = &server{}
		if a.servers.Put(lineage, s, a.cfg.Lineages) {
			a.stats.Evicted++
		}
	}
	return s
}

func (s *server) known(rule *waf.Rule, from string) *struckBy {
	for i := range s.hits {
		if s.hits[i].rule == rule && s.hits[i].peer == from {
			return &s.hits[i]
		}
	}
	return nil
}

// strike remembers a hit in place of the same one or of the oldest, and returns how many had been folded into it.
func (s *server) strike(rule *waf.Rule, from string, t *Target, quiet int64, limit int) int {
	k := s.known(rule, from)
	if k == nil {
		if len(s.hits) < limit {
			s.hits = append(s.hits, struckBy{})
			k = &s.hits[len(s.hits)-1]
		} else {
			k = &s.hits[0]
			for i := range s.hits {
				// A grave hit is not pushed out by what scanners do all day.
				if s.hits[i].rule.Severity < k.rule.Severity || s.hits[i].rule.Severity == k.rule.Severity && s.hits[i].target.Time < k.target.Time {
					k = &s.hits[i]
				}
			}
			k.folded = 0
		}
	}
	folded := k.folded
	*k = struckBy{rule: rule, peer: from, target: *t, quiet: quiet}
	return folded
}

// Behaved takes something new that a process did, and appends a finding if its server was attacked just before: one for
// a server within the time, and those that follow add to the same story by their Join.
func (a *Attacks) Behaved(dst []Finding, b *Behaviour) []Finding {
	s := a.servers.Get(b.Lineage)
	if s == nil {
		return dst
	}
	var by *struckBy
	for i := range s.hits {
		k := &s.hits[i]
		age := b.Time - k.target.Time
		if age < 0 || age > int64(a.cfg.Within) || k.rule.Severity < waf.Medium {
			continue
		}
		if by == nil || k.rule.Severity > by.rule.Severity || k.rule.Severity == by.rule.Severity && k.target.Time > by.target.Time {
			by = k
		}
	}
	if by == nil {
		return dst
	}
	if b.Time < s.told {
		s.further++
		return dst
	}
	f := Finding{
		Reason: AttackFollowed, Severity: Critical, Time: b.Time, Tag: b.Tag, Process: b.Process, Executable: b.Executable, Workload: b.Workload,
		Peer: by.target.Peer, Inbound: true, Detector: by.rule.ID, Class: by.rule.Family.String(), App: by.target.App, Path: clean(by.target.Path),
		Count: 1 + by.folded, Repeats: s.further, Confidence: 90, Join: b.Lineage,
		Chain: []Step{
			{Time: by.target.Time, What: "attack", Process: by.target.Process, Executable: by.target.Executable, Object: by.rule.ID},
			{Time: b.Time, What: b.What, Process: b.Process, Executable: b.Executable, Object: b.Object},
		},
	}
	s.told, s.further = b.Time+int64(a.cfg.Within), 0
	a.stats.Followed++
	return append(dst, f)
}

// Advance forgets servers that were not attacked within the time.
func (a *Attacks) Advance(now int64) {
	a.servers.Forget(func(s *server) bool { return now-s.last > int64(a.cfg.Within+a.cfg.Quiet) })
}
