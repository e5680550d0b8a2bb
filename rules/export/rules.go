// SPDX-License-Identifier: Apache-2.0

package export

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// form is a form of policy that the contacts of a pod are written in.
type form interface {
	// domain writes a contact by name, or a question for it; ofService says that the name is a known service's.
	domain(c contact, name string, ofService bool, open port)
	// unresolved writes a contact of a service of which it is not known which pods are behind it.
	unresolved(c contact, key string, b behind, open port)
	// prefix writes a contact of addresses, less those in except.
	prefix(c contact, except []string, open port)
	// pods opens ports of the pods of a namespace that have these labels, every one if there are none.
	pods(namespace string, selector map[string]string, ports ...port)
	// others says why contacts of protocols other than TCP, UDP and SCTP cannot be written.
	others() string
}

// write writes all contacts in a form.
func (p *pod) write(f form) error {
	for _, c := range p.contacts {
		open, ok := policyPort(c.Protocol, c.Port)
		switch {
		case !ok:
			p.note(LeftOut, c.owners, c.text, "%s", f.others())
		case c.Name != "":
			p.domain(f, c, c.Name, open)
		case c.Service != "":
			p.toService(f, c, c.Service, open)
		case c.Workload != "":
			p.toWorkload(f, c, open)
		default:
			if err := p.toPrefix(f, c, open); err != nil {
				return err
			}
		}
	}
	return nil
}

// domain writes a name. That of a known service stands for its pods.
func (p *pod) domain(f form, c contact, name string, open port) {
	service := p.cluster.serviceNamed(name)
	if service != "" && !question(c.Egress) {
		p.toService(f, c, service, open)
		return
	}
	f.domain(c, name, service != "", open)
}

func (p *pod) toService(f form, c contact, key string, open port) {
	b := p.service(key, c.Protocol, c.Port)
	switch {
	case b.external != "":
		f.domain(c, b.external, false, open)
	case b.problem == "":
		f.pods(b.namespace, b.selector, b.ports...)
	case len(b.selector) > 0:
		p.note(LeftOut, c.owners, c.text, "%s", b.problem)
	default:
		f.unresolved(c, key, b, open)
	}
}

func (p *pod) toWorkload(f form, c contact, open port) {
	namespace, _, _ := strings.Cut(c.Workload, "/")
	known, ok := p.cluster.workload(c.Workload)
	var sharing []string
	if ok {
		sharing = p.cluster.also(namespace, known.Selector, c.Workload)
	}
	switch {
	case ok && known.HostNetwork:
		p.note(LeftOut, c.owners, c.text, "its pods have their node's network, where no selector finds them")
	case len(sharing) > 0 && p.strict:
		p.note(LeftOut, c.owners, c.text, "the pods of %s have the same labels", sharing[0])
	case ok:
		f.pods(namespace, known.Selector, open)
		for _, other := range sharing {
			p.note(Widened, c.owners, c.text, "the pods of %s have the same labels", other)
		}
	case p.strict:
		p.note(LeftOut, c.owners, c.text, "the labels of its pods are not known")
	default:
		p.note(Widened, c.owners, c.text, "every pod of the namespace %s at that port: the labels of its pods are not known", namespace)
		f.pods(namespace, nil, open)
	}
}

// toPrefix writes a prefix. The address of a service is left before a packet is judged, so that its pods count.
func (p *pod) toPrefix(f form, c contact, open port) error {
	prefix, except, leaves, err := block(c.CIDR)
	if err != nil || !leaves {
		p.unwritten[c.text] = true
		return err
	}
	f.prefix(c, except, open)
	key := p.cluster.serviceAt(prefix.Addr())
	if key == "" || !prefix.IsSingleIP() {
		return nil
	}
	if _, dns := resolverAddress(c.Egress); dns && key == dnsNamespace+"/"+dnsService {
		return nil // The rule for DNS stands for it.
	}
	if b := p.service(key, c.Protocol, c.Port); b.problem == "" && b.external == "" {
		p.note(Added, c.owners, c.text, "the pods behind the service %s, whose address it is", key)
		f.pods(b.namespace, b.selector, b.ports...)
	}
	return nil
}

// rules are peers, each with the ports at which it may be contacted, by what names the peer.
type rules[P any] map[string]*rule[P]

type rule[P any] struct {
	peer  P
	ports map[port]bool
}

func (r rules[P]) allow(name string, peer P, ports ...port) {
	if r[name] == nil {
		r[name] = &rule[P]{peer: peer, ports: map[port]bool{}}
	}
	for _, p := range ports {
		r[name].ports[p] = true
	}
}

// all are the rules in order.
func (r rules[P]) all() []*rule[P] {
	var list []*rule[P]
	for _, name := range slices.Sorted(maps.Keys(r)) {
		list = append(list, r[name])
	}
	return list
}

// fewest are the ports in order, without those that others of them stand for.
func (r *rule[P]) fewest() []port {
	var list []port
	for p := range r.ports {
		every := p.protocol != "" && r.ports[port{}]
		whole := p != port{protocol: p.protocol} && r.ports[port{protocol: p.protocol}]
		if !every && !whole {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b port) int { return strings.Compare(a.order(), b.order()) })
	return list
}

// order is what ports are ordered by.
func (p port) order() string { return fmt.Sprintf("%s %05d %s", p.protocol, p.number, p.name) }

// podsName names the pods of a namespace that have these labels.
func podsName(namespace string, selector map[string]string) string {
	return "pods " + namespace + " " + labelWords(selector)
}
