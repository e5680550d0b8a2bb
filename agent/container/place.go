// SPDX-License-Identifier: Apache-2.0

package container

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// insert adds a cgroup, or gives one that was reported without its place the place it has.
func (r *Registry) insert(b Birth) Placement {
	n := r.nodes[b.Cgroup]
	switch {
	case b.Cgroup == 0:
		return Placement{}
	case n == nil:
		if n = r.addNode(b); n == nil {
			return Placement{}
		}
		if !r.place(n) {
			r.forgetNode(n)
		}
	case n.place == PlaceUnknown && r.placeable(n, b.Parent):
		n.parent, n.name, n.at = b.Parent, r.strings.string(b.Name), b.At
		r.settle(n)
	}
	p := Placement{Kind: n.place}
	if n.place == PlaceContainer || n.place == PlaceNested {
		p.Container = n.entry.cgroup
	}
	return p
}

// placeable reports whether a parent tells where a lost cgroup is. One that lies in the lost cgroup itself does not:
// such a report is garbage.
func (r *Registry) placeable(n *node, parent uint64) bool {
	p := r.nodes[parent]
	return parent == 0 || (p != nil && p.entry.cgroup != n.id)
}

// addNode makes room for a cgroup. It returns nil when there is none.
func (r *Registry) addNode(b Birth) *node {
	for len(r.nodes) >= r.cfg.MaxCgroups {
		if !r.evictOldest() {
			r.stats.DroppedCgroups++
			return nil
		}
	}
	r.seq++
	n := &node{id: b.Cgroup, parent: b.Parent, name: r.strings.string(b.Name), at: b.At, seq: r.seq}
	r.nodes[n.id] = n
	return n
}

// place decides what a cgroup is. It returns false if the cgroup is not worth a node of its own.
func (r *Registry) place(n *node) bool {
	if n.parent == 0 || n.parent == n.id {
		r.atHost(n, PlaceHost)
		return true
	}
	parent := r.nodes[n.parent]
	if parent == nil {
		r.stats.Orphans++
		r.lost(n)
		return r.nodes[n.id] == n
	}
	inside := parent.entry != r.host
	rec, exact := r.announced(n)
	switch {
	case rec != nil && (exact || !inside):
		r.makeContainer(n, r.hintOf(n), rec)
	case inside:
		return r.nest(n, parent)
	default:
		r.placeByLayout(n, parent)
	}
	return true
}

// placeByLayout reads the name of a cgroup that lies in no container.
func (r *Registry) placeByLayout(n, parent *node) {
	h := r.hintOf(n)
	switch {
	case h.ContainerID != "":
		r.makeContainer(n, h, r.candidate(h, n.at))
	case h.PodUID != "":
		r.atHost(n, PlacePod)
	default:
		r.atHost(n, PlaceHost)
	}
	if n.place == PlaceHost && parent.place == PlacePod {
		n.place = PlacePod
	}
}

// hintOf reads the path of a cgroup. A directory at /<namespace>/<id> is what containerd makes when a client asks for no
// path; there the id can be any name, so that only namespaces the runtime has reported count.
func (r *Registry) hintOf(n *node) hint {
	h := hint{Layout: ParseName(n.name)}
	parent := r.nodes[n.parent]
	if parent == nil {
		return h
	}
	if top := r.nodes[parent.parent]; top != nil && top.parent == 0 && top.place == PlaceHost {
		if _, ok := r.namespaces[parent.name]; ok {
			h.namespace = parent.name
			if h.ContainerID == "" && h.PodUID == "" {
				h.ContainerID = n.name
			}
		}
	}
	if h.ContainerID != "" && h.Runtime == "" && parent.name == "docker" {
		h.Runtime = "docker"
	}
	for level := 0; h.PodUID == "" && parent != nil && level < maxLevels; level++ {
		h.PodUID = ParseName(parent.name).PodUID
		parent = r.nodes[parent.parent]
	}
	return h
}

func (r *Registry) atHost(n *node, kind PlaceKind) {
	n.place, n.entry = kind, r.host
	r.table.set(n.id, r.host)
}

// nest puts a cgroup into the container that its parent belongs to. Beyond a bound it is placed but not remembered.
func (r *Registry) nest(n, parent *node) bool {
	e := parent.entry
	n.place, n.entry = PlaceNested, e
	if parent.place == PlaceUnknown {
		n.place = PlaceUnknown
	}
	if _, known := e.members[n.id]; !known && len(e.members) >= maxNested && !r.evict(&r.minor) {
		r.stats.DroppedCgroups++
		return false
	}
	if e.members == nil {
		e.members = make(map[uint64]struct{})
	}
	e.members[n.id] = struct{}{}
	r.table.set(n.id, e)
	if n.place == PlaceNested {
		r.notes = append(r.notes, note{cgroup: n.id, placed: e.cgroup})
	}
	return true
}

// lost gives a cgroup whose parent is not known a pending entry of its own and asks for a walk.
func (r *Registry) lost(n *node) {
	if r.unknown >= maxUnknown {
		r.stats.DroppedCgroups++
		delete(r.nodes, n.id)
		return
	}
	r.unknown++
	n.place = PlaceUnknown
	e := &entry{cgroup: n.id, at: n.at, deadline: r.cfg.Now().Add(r.cfg.Deadline)}
	n.entry = e
	e.current.Store(&Container{
		State: StatePending, Kind: KindContainer, Cgroup: n.id, Node: r.cfg.Node,
		WorkloadKind: OwnerContainer, Created: n.at,
	})
	r.entries[n.id], r.open[n.id] = e, e
	r.table.set(n.id, e)
	r.scan.wanted = true
	r.poke()
}

// settle places a cgroup that was lost, and what was reported inside it.
func (r *Registry) settle(n *node) {
	old := n.entry
	if old.cgroup == n.id {
		r.unknown--
		delete(r.entries, n.id)
		delete(r.open, n.id)
	} else {
		delete(old.members, n.id)
	}
	r.place(n)
	r.tell(n, old)
	if old.cgroup != n.id {
		return
	}
	for _, id := range r.inOrder(old.members) {
		if m := r.nodes[id]; m != nil && m.entry == old {
			if !r.place(m) {
				r.forgetNode(m)
			}
			r.tell(m, old)
		}
	}
}

// tell reports the end of the wait for a cgroup that moved from a pending entry to one that is not.
func (r *Registry) tell(n *node, old *entry) {
	if n.entry == nil || old.state() != StatePending || n.entry.state() == StatePending {
		return
	}
	r.notes = append(r.notes, note{cgroup: n.id, resolved: n.entry.current.Load()})
}

// inOrder returns the cgroups of a set in the order of their births, so that parents come first.
func (r *Registry) inOrder(set map[uint64]struct{}) []uint64 {
	return slices.SortedFunc(maps.Keys(set), func(a, b uint64) int {
		na, nb := r.nodes[a], r.nodes[b]
		if na == nil || nb == nil {
			return 0
		}
		return int(int64(na.seq) - int64(nb.seq))
	})
}

// convert turns a cgroup of the host into the container that the runtime says it is, with everything below it.
func (r *Registry) convert(n *node, rec *record) {
	r.stats.Converted++
	r.makeContainer(n, r.hintOf(n), rec)
	inside := map[uint64]bool{n.id: true}
	for grown := true; grown; {
		grown = false
		for _, m := range r.nodes {
			if m.entry == r.host && inside[m.parent] && !inside[m.id] {
				inside[m.id], grown = true, true
				r.nest(m, r.nodes[m.parent])
			}
		}
	}
}

// path builds the path of a node from the names of its ancestors.
func (r *Registry) path(n *node) string {
	var names []string
	for level := 0; n != nil && n.parent != 0 && n.parent != n.id && level < maxLevels; level++ {
		names = append(names, n.name)
		n = r.nodes[n.parent]
	}
	slices.Reverse(names)
	return "/" + strings.Join(names, "/")
}

// announced finds the runtime's record whose cgroup path is this node's. exact is false if only the end of the path was
// known to compare.
func (r *Registry) announced(n *node) (rec *record, exact bool) {
	candidates := r.byLeaf[n.name]
	if len(candidates) == 0 {
		return nil, false
	}
	p := r.path(n)
	for _, c := range candidates {
		full := c.exact && c.expected == p
		tail := !exact && strings.HasSuffix(p, c.expected) && !n.at.Before(c.merged.Created)
		if !full && !tail {
			continue
		}
		if rec == nil || (full && !exact) || better(c, rec, n.at) {
			rec, exact = c, full
		}
	}
	return rec, exact
}

// candidate finds the record of a container id. Ids that are names count only in their own namespace.
func (r *Registry) candidate(h hint, at time.Time) (rec *record) {
	for _, c := range r.byID[h.ContainerID] {
		if !h.fits(c.key) {
			continue
		}
		if rec == nil || better(c, rec, at) {
			rec = c
		}
	}
	return rec
}

// fits reports whether a record of this key can be the container that the path names.
func (h hint) fits(k Key) bool {
	if h.ContainerID != k.ID {
		return false
	}
	return h.namespace == k.RuntimeNamespace || isHexID(k.ID)
}

// better reports whether a suits a cgroup born at the given time better than b: the youngest of those that were there by
// then, else the youngest of all.
func better(a, b *record, at time.Time) bool {
	aThen, bThen := !a.merged.Created.After(at), !b.merged.Created.After(at)
	if aThen != bThen {
		return aThen
	}
	return a.merged.Created.After(b.merged.Created)
}
