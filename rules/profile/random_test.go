// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// random makes valid profiles out of small sets of everything, so that two of them have much in common.
type random struct {
	*rand.Rand
}

func newRandom(seed uint64) random {
	return random{rand.New(rand.NewPCG(seed, seed))}
}

func pick[T any](r random, of ...T) T {
	return of[r.IntN(len(of))]
}

func many[T any](r random, most int, one func() T) []T {
	var list []T
	for range r.IntN(most + 1) {
		list = append(list, one())
	}
	return list
}

func (r random) time() time.Time {
	return time.Date(2026, 11, 21, 15, r.IntN(60), r.IntN(60), 0, time.UTC)
}

// seen is a provenance of an observed profile.
func (r random) seen(node string) Provenance {
	p := Provenance{Origin: pick(r, Learned, Learned, Inherited, Probe, Candidate), First: r.time(), Count: r.Uint64N(4)}
	p.Last = p.First.Add(time.Duration(r.IntN(3)) * time.Hour)
	if p.Origin == Candidate {
		p.Suspect = pick(r, BySession, FromDrift, InIncident)
	}
	if r.IntN(4) > 0 {
		p.Replicas = map[string]uint32{node: r.Uint32N(3) + 1}
	}
	return p
}

// process is one of a few processes, as a node sees it.
func (r random) process(node string) Process {
	p := Process{Path: pick(r, "/usr/bin/a", "/usr/bin/b", "/opt/ü\xff*<n> 'x'", Any), Seen: r.seen(node)}
	if p.Path == Any {
		p.Seen = Provenance{Origin: Learned}
	} else {
		p.Sources = pick(r, nil, nil, []Source{FromUpper}, []Source{FromImage, FromVolume})
		p.Parents = many(r, 3, func() Parent {
			return Parent{Path: pick(r, Runtime, Any, "/usr/bin/a", "/usr/bin/b"), Seen: r.seen(node)}
		})
		p.AnyArguments = r.IntN(4) == 0
		if !p.AnyArguments {
			p.Arguments = many(r, 3, func() Argument {
				argv := pick(r, "", "a\x00", "a\x00-p\x0080\x00", "a\x00yes\x00\x00", "a\x00: {x}, [y]# '\"\n\x00", "a\x00cut")
				return Argument{Shape: ShapeArguments([]byte(argv)), Seen: r.seen(node)}
			})
		}
	}
	p.Libraries = many(r, 2, func() Library { return Library{Path: pick(r, "/tmp/x.so", "/tmp/y 1.so"), Seen: r.seen(node)} })
	p.Files = many(r, 4, func() File {
		return File{
			Path:   pick(r, "/etc/hosts", "/tmp/<n>", "/tmp/*", "/srv/<n>/*", "/var/lib/x/**", `/a\*\x0a`, "/true"),
			Access: Access(r.IntN(15) + 1), Seen: r.seen(node),
		}
	})
	p.Egress = many(r, 4, func() Egress {
		return pick(r, Egress{Name: "example.com", Protocol: "tcp", Port: 443, Seen: r.seen(node)},
			Egress{Name: "*.example.com", Protocol: "tcp", Seen: r.seen(node)},
			Egress{Service: "shop/db", Protocol: "any", Seen: r.seen(node)},
			Egress{Workload: "shop/Deployment/db", Protocol: "47", Seen: r.seen(node)},
			Egress{CIDR: "10.0.0.0/8", Protocol: "udp", Port: 53, Seen: r.seen(node)},
			Egress{CIDR: "fd00::1/128", Protocol: "icmpv6", Seen: r.seen(node)})
	})
	p.Listen = many(r, 2, func() Port { return Port{Protocol: pick(r, "tcp", "udp"), Port: uint16(r.IntN(2)), Seen: r.seen(node)} })
	p.Sockets = many(r, 2, func() Socket { return Socket{Family: pick(r, "netlink", "packet"), Kind: "raw", Seen: r.seen(node)} })
	p.Capabilities = many(r, 2, func() Capability {
		return Capability{Name: pick(r, "kill", "net_raw"), Seen: r.seen(node)}
	})
	return p
}

// observed is what a node has observed, in canonical order.
func (r random) observed(node string) *Profile {
	p := &Profile{Key: Key{Namespace: "shop", Kind: "Deployment", Name: "web", Container: "no"}, Signals: map[Signal]Learning{}}
	p.Images = many(r, 3, func() Image { return Image{Digest: fmt.Sprintf("sha256:%d", r.IntN(4)), FirstSeen: r.time()} })
	for _, signal := range Signals() {
		if r.IntN(3) > 0 {
			p.Signals[signal] = Learning{
				State: pick(r, StateLearning, StateStable, StatePartial), Observed: r.Uint64N(100), Once: r.Uint64N(10),
				Replicas: r.Uint32N(3), Since: r.time(), New: r.time(),
			}
		}
	}
	p.Processes = many(r, 5, func() Process { return r.process(node) })
	p.Normalise()
	return p.Attributed(node)
}

// overlay is what people have written over a profile, in canonical order.
func (r random) overlay() *Profile {
	p := r.observed("")
	p.Images, p.Signals = nil, nil
	removed := make(map[string]bool)
	kept := p.Processes[:0]
	for _, q := range p.Processes {
		if removed[q.Path] || q.Seen.Origin == Candidate && q.Path == Any {
			continue
		}
		removed[q.Path] = true
		q.provenances(func(s *Provenance) {
			*s = Provenance{Origin: pick(r, Written, Removed), Author: "ann", Reason: pick(r, "", "it is 'so': yes")}
		})
		switch {
		case q.Path == Any:
			q.Seen = Provenance{Origin: Written}
		case q.Seen.Origin == Removed && r.IntN(2) == 0:
			q = Process{Path: q.Path, Sources: q.Sources, Seen: q.Seen}
		case q.Seen.Origin == Removed:
			q.Seen, q.Sources, q.AnyArguments = Provenance{Origin: Context}, nil, false
		}
		kept = append(kept, q)
	}
	p.Processes = kept
	p.Normalise()
	return p
}
