// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"net/netip"
	"slices"

	"go.yaml.in/yaml/v3"
)

// count counts an entry and reports whether there may be so many. The first one too many is told, the others are not read.
func (r *reader) count(n *yaml.Node) bool {
	r.entries++
	if r.entries == MaxEntries+1 {
		r.refuse(n.Line, "more than %d entries", MaxEntries)
	}
	return r.entries <= MaxEntries
}

func (r *reader) processes(n *yaml.Node) []Process {
	var processes []Process
	lines := make(map[string]int)
	r.list(n, "processes", func(n *yaml.Node) {
		if !r.count(n) {
			return
		}
		before := r.total()
		p := r.process(n)
		if r.total() > before {
			return
		}
		r.refuseError(n.Line, quoted(p.Path), p.check())
		id := p.identity()
		if first, ok := lines[id]; ok {
			r.refuse(n.Line, "process %s stands twice: first in line %d", quoted(p.Path), first)
		}
		lines[id] = n.Line
		processes = append(processes, p)
	})
	return processes
}

func (r *reader) process(n *yaml.Node) Process {
	var p Process
	var e entry
	r.mapping(n, "a process", append(e.fields(r), []field{
		{"path", func(n *yaml.Node) { p.Path = r.path(n, Any) }},
		{"sources", func(n *yaml.Node) { p.Sources = r.sources(n) }},
		{"parents", func(n *yaml.Node) { p.Parents = readItems(r, n, "parents", r.parent) }},
		{"anyArguments", func(n *yaml.Node) { p.AnyArguments = r.boolean(n) }},
		{"arguments", func(n *yaml.Node) { p.Arguments = readItems(r, n, "arguments", r.argument) }},
		{"libraries", func(n *yaml.Node) { p.Libraries = readItems(r, n, "libraries", r.library) }},
		{"files", func(n *yaml.Node) { p.Files = readItems(r, n, "files", r.fileEntry) }},
		{"egress", func(n *yaml.Node) { p.Egress = readItems(r, n, "egress", r.egress) }},
		{"listen", func(n *yaml.Node) { p.Listen = readItems(r, n, "listen", r.port) }},
		{"sockets", func(n *yaml.Node) { p.Sockets = readItems(r, n, "sockets", r.socket) }},
		{"capabilities", func(n *yaml.Node) { p.Capabilities = readItems(r, n, "capabilities", r.capability) }},
	}...))
	p.Seen = e.provenance(r, n)
	if e.seen == nil && !e.remove {
		p.Seen.Origin = p.writtenOrigin()
	}
	return p
}

// writtenOrigin is the origin of a process of which the file does not say one: it is only there for what it lists if that
// is nothing but removals.
func (p *Process) writtenOrigin() Origin {
	removals := 0
	q := *p
	q.Seen = Provenance{}
	q.provenances(func(s *Provenance) {
		if s.Origin == Removed {
			removals++
		}
	})
	if removals > 0 && removals == p.len()-1 && len(p.Sources) == 0 && !p.AnyArguments {
		return Context
	}
	return Written
}

func (r *reader) sources(n *yaml.Node) []Source {
	var list []Source
	r.list(n, "sources", func(n *yaml.Node) {
		s := Source(r.text(n))
		if s.Bit() == 0 {
			r.refuse(n.Line, "unknown source %q: image, upper, memory or volume", string(s))
		}
		if slices.Contains(list, s) {
			r.refuse(n.Line, "source %s stands twice", s)
		}
		list = append(list, s)
	})
	return list
}

// entry is what every entry of a file has beside its own fields.
type entry struct {
	seen   *yaml.Node
	found  Provenance
	remove bool
}

func (e *entry) fields(r *reader) []field {
	return []field{
		{"remove", func(n *yaml.Node) { e.remove = r.boolean(n) }},
		{"seen", func(n *yaml.Node) { e.seen, e.found = n, r.provenance(n) }},
	}
}

// provenance is where the entry comes from: it was written by a person if the file does not say.
func (e *entry) provenance(r *reader, n *yaml.Node) Provenance {
	p := e.found
	switch {
	case e.remove && p.Origin != "":
		r.refuse(e.seen.Line, "what is removed has no origin")
	case e.remove:
		p.Origin = Removed
	case p.Origin == Removed:
		r.refuse(e.seen.Line, "what is removed is marked remove: true")
	case p.Origin == "":
		p.Origin = Written
	}
	line := n.Line
	if e.seen != nil {
		line = e.seen.Line
	}
	r.refuseError(line, "seen", p.check())
	return p
}

func (r *reader) provenance(n *yaml.Node) Provenance {
	var p Provenance
	r.mapping(n, "seen", []field{
		{"origin", func(n *yaml.Node) { p.Origin = Origin(r.text(n)) }},
		{"suspect", func(n *yaml.Node) { p.Suspect = Suspicion(r.text(n)) }},
		{"first", func(n *yaml.Node) { p.First = r.moment(n) }},
		{"last", func(n *yaml.Node) { p.Last = r.moment(n) }},
		{"count", func(n *yaml.Node) { p.Count = r.number(n, 64) }},
		{"replicas", func(n *yaml.Node) { p.Replicas = r.replicas(n) }},
		{"author", func(n *yaml.Node) { p.Author = r.text(n) }},
		{"reason", func(n *yaml.Node) { p.Reason = r.text(n) }},
	})
	return p
}

func (r *reader) replicas(n *yaml.Node) map[string]uint32 {
	replicas := make(map[string]uint32)
	r.named(n, "replicas", func(name string, n *yaml.Node) { replicas[name] = uint32(r.number(n, 32)) })
	return replicas
}

// readItems reads a list of entries of a process, each at most once.
func readItems[T item[T]](r *reader, n *yaml.Node, what string, read func(*yaml.Node) T) []T {
	var items []T
	lines := make(map[string]int)
	r.list(n, what, func(n *yaml.Node) {
		if !r.count(n) {
			return
		}
		before := r.total()
		x := read(n)
		if r.total() > before {
			return
		}
		r.refuseError(n.Line, what, x.check())
		id := x.identity()
		if first, ok := lines[id]; ok {
			r.refuse(n.Line, "%s: %s stands twice: first in line %d", what, quoted(x.words()), first)
		}
		lines[id] = n.Line
		items = append(items, x)
	})
	return items
}

func (r *reader) parent(n *yaml.Node) (p Parent) {
	var e entry
	r.mapping(n, "a parent", append(e.fields(r),
		field{"path", func(n *yaml.Node) { p.Path = r.path(n, Any, Runtime) }}))
	p.Seen = e.provenance(r, n)
	return p
}

func (r *reader) argument(n *yaml.Node) (a Argument) {
	var e entry
	given := r.mapping(n, "arguments", append(e.fields(r), field{"argv", func(n *yaml.Node) {
		r.list(n, "argv", func(n *yaml.Node) { a.Shape = append(a.Shape, r.text(n)) })
	}}))
	if _, ok := given["argv"]; !ok {
		r.refuse(n.Line, "argv is missing")
	}
	if raw, err := ArgumentBytes(a.Shape); err == nil {
		a.Shape = argumentTexts(raw)
	}
	a.Seen = e.provenance(r, n)
	return a
}

func (r *reader) library(n *yaml.Node) (l Library) {
	var e entry
	r.mapping(n, "a library", append(e.fields(r), field{"path", func(n *yaml.Node) { l.Path = r.path(n) }}))
	l.Seen = e.provenance(r, n)
	return l
}

func (r *reader) fileEntry(n *yaml.Node) (f File) {
	var e entry
	r.mapping(n, "a file", append(e.fields(r),
		field{"path", func(n *yaml.Node) { f.Path = r.template(n) }},
		field{"access", func(n *yaml.Node) { f.Access = r.access(n) }}))
	f.Seen = e.provenance(r, n)
	return f
}

// template reads a path template and returns its text in the canonical way.
func (r *reader) template(n *yaml.Node) string {
	text := r.text(n)
	t, err := ParseTemplate(text)
	if err != nil {
		r.refuse(n.Line, "%s: %v", quoted(text), err)
		return ""
	}
	return t.String()
}

func (r *reader) access(n *yaml.Node) Access {
	var access Access
	r.list(n, "access", func(n *yaml.Node) {
		a, err := ParseAccess(r.text(n))
		r.refuseError(n.Line, "", err)
		if access&a != 0 {
			r.refuse(n.Line, "access %s stands twice", a)
		}
		access |= a
	})
	return access
}

func (r *reader) egress(n *yaml.Node) (g Egress) {
	var e entry
	r.mapping(n, "egress", append(e.fields(r),
		field{"name", func(n *yaml.Node) { g.Name = r.text(n) }},
		field{"service", func(n *yaml.Node) { g.Service = r.text(n) }},
		field{"workload", func(n *yaml.Node) { g.Workload = r.text(n) }},
		field{"cidr", func(n *yaml.Node) { g.CIDR = r.cidr(n) }},
		field{"protocol", func(n *yaml.Node) { g.Protocol = r.text(n) }},
		field{"port", func(n *yaml.Node) { g.Port = r.portNumber(n) }}))
	g.Seen = e.provenance(r, n)
	return g
}

// cidr reads a prefix, or an address, which is a prefix of all its bits.
func (r *reader) cidr(n *yaml.Node) string {
	text := r.text(n)
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()).String()
	}
	return text
}

// portNumber reads a port; any, or none, stands for every one.
func (r *reader) portNumber(n *yaml.Node) uint16 {
	if n.Value == "any" {
		return 0
	}
	value := r.number(n, 16)
	if value == 0 && n.Kind == yaml.ScalarNode && n.Value == "0" {
		r.refuse(n.Line, "port 0: a port from 1 to 65535, or any, is expected")
	}
	return uint16(value)
}

func (r *reader) port(n *yaml.Node) (p Port) {
	var e entry
	given := r.mapping(n, "listen", append(e.fields(r),
		field{"protocol", func(n *yaml.Node) { p.Protocol = r.text(n) }},
		field{"port", func(n *yaml.Node) { p.Port = uint16(r.number(n, 16)) }}))
	if _, ok := given["port"]; !ok {
		r.refuse(n.Line, "port is missing; 0 is one that the kernel chooses")
	}
	p.Seen = e.provenance(r, n)
	return p
}

func (r *reader) socket(n *yaml.Node) (s Socket) {
	var e entry
	r.mapping(n, "a socket", append(e.fields(r),
		field{"family", func(n *yaml.Node) { s.Family = r.text(n) }},
		field{"kind", func(n *yaml.Node) { s.Kind = r.text(n) }}))
	s.Seen = e.provenance(r, n)
	return s
}

func (r *reader) capability(n *yaml.Node) (c Capability) {
	var e entry
	r.mapping(n, "a capability", append(e.fields(r), field{"name", func(n *yaml.Node) { c.Name = r.text(n) }}))
	c.Seen = e.provenance(r, n)
	return c
}
