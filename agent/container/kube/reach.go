// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/policy"
)

// holdFor is how long an address counts as a service's or a workload's that is it no more: proxies take a moment to be
// told, and who follows them there must not be refused. An address that another pod has by then counts no more at once.
const holdFor = 5 * time.Second

// maxHeld bounds the addresses that are held.
const maxHeld = 8192

// held is an address that was a service's or a workload's until a moment ago.
type held struct {
	address netip.Addr
	// pod had it.
	pod   string
	ports []servicePort
	until time.Time
}

// Told reports whether all that a name, as OnMoved has it, stands for has come once.
func (s *Source) Told(name string) bool {
	if strings.HasPrefix(name, "service ") {
		return s.services.whole() && s.slices.whole()
	}
	namespace, _, _ := strings.Cut(strings.TrimPrefix(name, "workload "), "/")
	s.mu.Lock()
	far := s.watched[namespace]
	s.mu.Unlock()
	if !s.streams[0].whole() || far == nil || !far.stream.whole() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pods {
		if p.namespace == namespace && !p.found {
			return false
		}
	}
	return true
}

// serviceName and workloadName name what OnMoved tells of and Want asks for.
func serviceName(name string) string { return "service " + name }

func workloadName(namespace string, o container.Owner) string {
	return "workload " + namespace + "/" + o.Kind + "/" + o.Name
}

// hold keeps an address for a while under the name that it was reached by. mu is held.
func (s *Source) hold(name string, h held) {
	if s.heldCount >= maxHeld {
		return
	}
	h.until = s.now().Add(holdFor)
	s.held[name] = append(s.held[name], h)
	s.heldCount++
	s.poke()
}

// letGo forgets what was held long enough, and gives when the next will be. mu is held.
func (s *Source) letGo(now time.Time) (next time.Time) {
	for name, list := range s.held {
		n := len(list)
		list = slices.DeleteFunc(list, func(h held) bool { return !h.until.After(now) })
		s.heldCount -= n - len(list)
		if len(list) < n {
			s.moved(name)
		}
		if len(list) == 0 {
			delete(s.held, name)
			continue
		}
		s.held[name] = list
		for _, h := range list {
			next = earlier(next, h.until)
		}
	}
	return next
}

// moved notes that what a name stands for has changed. mu is held.
func (s *Source) moved(name string) {
	if len(s.news) == 0 {
		s.newsAt = s.now()
	}
	if len(s.news) < maxServices {
		s.news[name] = struct{}{}
	}
	s.poke()
}

func (s *Source) movedPod(p *pod) {
	if p.found && !p.host {
		s.moved(workloadName(p.namespace, p.owner.Owner))
	}
}

// Lookup returns whose an address is: a service's by its cluster IP, a pod's by its own. It allocates nothing for a service
// or a pod of the node.
func (s *Source) Lookup(a netip.Addr) (container.Endpoint, bool) {
	a = plain(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	if of := s.table.clusterIPs[a]; of != nil {
		namespace, name, _ := strings.Cut(of.name, "/")
		return container.Endpoint{Kind: container.EndpointService, Namespace: namespace, Name: name}, true
	}
	if p := s.byAddr[a]; p != nil {
		return container.Endpoint{Kind: container.EndpointPod, Namespace: p.namespace, Name: p.name}, true
	}
	if pod := s.table.owner(a); pod != "" {
		namespace, name, _ := strings.Cut(pod, "/")
		return container.Endpoint{Kind: container.EndpointPod, Namespace: namespace, Name: name}, true
	}
	return container.Endpoint{}, false
}

// Service implements policy.Resolver. What comes first is asked for by the service's own port; behind it stand its pods, at
// the ports that they are reached at. A service without an address of its own (headless) is reached at its pods alone, at
// the port that the client chooses.
func (s *Source) Service(namespace, name string, protocol uint8, port uint16) []policy.Target {
	name = nameOf(namespace, name)
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.table.services[name]
	if of == nil {
		return s.heldTargets(name, nil, protocol, port, nil)
	}
	var list []policy.Target
	for _, a := range of.ips {
		list = append(list, policy.Target{Prefix: single(a), Port: port})
	}
	for _, in := range of.slices {
		for _, at := range behind(of, in.ports, protocol, port) {
			for _, e := range in.addresses {
				list = append(list, policy.Target{Prefix: single(e.address), Port: at})
			}
		}
	}
	n := len(of.ips)
	list = s.heldTargets(name, of, protocol, port, list)
	slices.SortFunc(list[n:], func(a, b policy.Target) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Port, b.Port))
	})
	return slices.Compact(list)
}

// heldTargets adds the addresses that a service had a moment ago. mu is held.
func (s *Source) heldTargets(name string, of *service, protocol uint8, port uint16, list []policy.Target) []policy.Target {
	for _, h := range s.held[serviceName(name)] {
		if s.anothers(h) {
			continue
		}
		for _, at := range behind(of, h.ports, protocol, port) {
			list = append(list, policy.Target{Prefix: single(h.address), Port: at})
		}
	}
	return list
}

// anothers reports whether an address that is held has gone to another pod. mu is held.
func (s *Source) anothers(h held) bool {
	if p := s.byAddr[h.address]; p != nil && nameOf(p.namespace, p.name) != h.pod {
		return true
	}
	for _, c := range s.table.endpoints[h.address] {
		if c.pod != h.pod {
			return true
		}
	}
	return false
}

// behind gives the ports of a slice that a port of a service leads to; for a service without addresses the port itself as
// well. Port 0 stands for all.
func behind(of *service, in []servicePort, protocol uint8, port uint16) []uint16 {
	if port == 0 {
		return []uint16{0}
	}
	var list []uint16
	if of == nil || len(of.ips) == 0 {
		list = append(list, port)
	}
	if of == nil {
		return list
	}
	for _, p := range of.ports {
		if p.port != port || protocol != 0 && p.protocol != protocol {
			continue
		}
		for _, at := range in {
			if at.name == p.name && at.protocol == p.protocol && at.port != 0 && !slices.Contains(list, at.port) {
				list = append(list, at.port)
			}
		}
	}
	return list
}

// Workload implements policy.Resolver: the addresses of the pods of a workload, on the node and, once Want has asked for
// it, on every other.
func (s *Source) Workload(namespace, kind, name string) []netip.Prefix {
	of := container.Owner{Kind: kind, Name: name}
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []netip.Prefix
	for _, p := range s.pods {
		if !p.found || p.host || p.namespace != namespace || p.owner.Owner != of {
			continue
		}
		for _, a := range p.addresses {
			list = append(list, single(a))
		}
	}
	for _, h := range s.held[workloadName(namespace, of)] {
		if !s.anothers(h) {
			list = append(list, single(h.address))
		}
	}
	slices.SortFunc(list, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	return slices.Compact(list)
}

func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// earlier is the earlier of two times, of which zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
