// SPDX-License-Identifier: Apache-2.0

package container

import (
	"cmp"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"
)

// record is what all sources together know of a runtime's container.
type record struct {
	key    Key
	parts  [ranks]*Record
	merged Record
	seen   [ranks]uint64
	// expected is the path its cgroup will have; exact says that it is the whole path.
	expected string
	exact    bool
	podKey   string
	// entry is its latest cgroup.
	entry *entry
	// dropped says that the runtime has deleted it, expired that its time of grace is over too.
	dropped bool
	expired bool
	// enriched says that the other sources were asked what they can add.
	enriched bool
}

// pod is what the containers of one pod share.
type pod struct {
	labels      [podRanks]map[string]string
	annotations [podRanks]map[string]string
	resolvers   []netip.Addr
	name        string
	namespace   string
	owner       Owner
	members     map[*record]struct{}
	// What follows is Kubernetes' word, see PodFacts; ended says that the pod is gone.
	ownerAnnotations     map[string]string
	namespaceLabels      map[string]string
	namespaceAnnotations map[string]string
	commands             map[string][][]string
	ended                bool
}

// told reports whether Kubernetes has spoken of the pod.
func (p *pod) told() bool {
	return p.owner != (Owner{}) || p.labels[rankKubernetes] != nil || p.annotations[rankKubernetes] != nil || p.commands != nil
}

func (p *pod) podLabels() map[string]string { return lastOf(&p.labels) }

func (p *pod) podAnnotations() map[string]string { return lastOf(&p.annotations) }

// lastOf is what the source closest to Kubernetes says.
func lastOf(said *[podRanks]map[string]string) map[string]string {
	for _, m := range slices.Backward(said[:]) {
		if m != nil {
			return m
		}
	}
	return nil
}

// makeContainer makes the entry of a container's cgroup and resolves it, or asks the sources and lets it wait.
func (r *Registry) makeContainer(n *node, h hint, rec *record) {
	r.stats.Containers++
	e := &entry{cgroup: n.id, path: r.path(n), hint: h, at: n.at, deadline: r.cfg.Now().Add(r.cfg.Deadline)}
	n.place, n.entry = PlaceContainer, e
	e.current.Store(&Container{State: StatePending})
	if rec != nil {
		r.bind(e, rec)
	}
	r.entries[n.id], r.open[n.id] = e, e
	r.publish(e)
	r.table.set(n.id, e)
	r.notes = append(r.notes, note{cgroup: n.id, placed: n.id})
	if c := e.current.Load(); c.State == StateResolved {
		r.stats.ResolvedAtBirth++
		r.notes = append(r.notes, note{cgroup: n.id, resolved: c})
		return
	}
	r.ask(e)
}

// bind ties a cgroup to a record.
func (r *Registry) bind(e *entry, rec *record) {
	e.rec, rec.entry = rec, e
	e.hint.ContainerID = rec.key.ID
}

// publish builds the identity of an entry from what is known now and swaps it in. It moves the entry to StateResolved
// once that is possible; it never moves it back.
func (r *Registry) publish(e *entry) {
	was := e.state()
	c := r.compose(e)
	c.State = was
	if was != StateResolved && r.complete(e, c) {
		c.State = StateResolved
		r.stats.Resolved++
		if was == StateUnattributed {
			r.stats.Late++
		}
		delete(r.open, e.cgroup)
	}
	e.current.Store(c)
	if was == StatePending && c.State == StateResolved {
		r.announce(e, c)
	}
}

// complete reports whether an identity lacks nothing that will still come: a container in a pod's cgroup has a pod.
func (r *Registry) complete(e *entry, c *Container) bool {
	return e.rec != nil && (e.hint.PodUID == "" || c.Pod != "") && !r.awaitsOwner(e, c)
}

// announce queues the callbacks for a container that is not pending any more, one per cgroup of it.
func (r *Registry) announce(e *entry, c *Container) {
	if _, reported := r.nodes[e.cgroup]; !reported || r.table.get(e.cgroup) != e {
		return
	}
	r.notes = append(r.notes, note{cgroup: e.cgroup, resolved: c})
	for _, id := range r.inOrder(e.members) {
		r.notes = append(r.notes, note{cgroup: id, resolved: c})
	}
}

// compose builds the identity of an entry.
func (r *Registry) compose(e *entry) *Container {
	c := &Container{
		Kind: KindContainer, Cgroup: e.cgroup, CgroupPath: e.path, Node: r.cfg.Node,
		ID: e.hint.ContainerID, Name: e.hint.ContainerID, PodUID: e.hint.PodUID,
		Runtime: e.hint.Runtime, RuntimeNamespace: e.hint.namespace, Created: e.at,
	}
	if e.rec == nil {
		r.own(c, r.pods[c.PodUID])
		return c
	}
	m := &e.rec.merged
	if m.Sandbox {
		c.Kind = KindSandbox
	}
	c.ID, c.RuntimeNamespace = m.ID, m.RuntimeNamespace
	c.Name = cmp.Or(m.Name, m.ID)
	c.Runtime = cmp.Or(e.hint.Runtime, m.Runtime)
	c.Image, c.ImageDigest, c.ImageID = m.Image, m.ImageDigest, m.ImageID
	c.Pod, c.Namespace, c.SandboxID = m.Pod, m.Namespace, m.SandboxID
	c.PodUID = cmp.Or(m.PodUID, c.PodUID)
	c.Labels = m.Labels
	c.Snapshotter, c.SnapshotKey = m.Snapshotter, m.SnapshotKey
	c.InitPID = m.InitPID
	if !m.Created.IsZero() {
		c.Created = m.Created
	}
	r.own(c, r.pods[e.rec.podKey])
	return c
}

// own fills in what the pod says, and the workload.
func (r *Registry) own(c *Container, p *pod) {
	if p != nil {
		c.PodLabels, c.Annotations, c.Resolvers = p.podLabels(), p.podAnnotations(), p.resolvers
		c.WorkloadKind, c.Workload = p.owner.Kind, p.owner.Name
		c.OwnerAnnotations, c.NamespaceLabels, c.NamespaceAnnotations = p.ownerAnnotations, p.namespaceLabels, p.namespaceAnnotations
		c.Commands = p.commands[c.Name]
		c.Pod, c.Namespace = cmp.Or(c.Pod, p.name), cmp.Or(c.Namespace, p.namespace)
	}
	switch {
	case c.WorkloadKind != "":
	case c.Pod != "":
		o := OwnerOf(c.Pod, c.PodLabels)
		c.WorkloadKind, c.Workload = o.Kind, r.strings.string(o.Name)
	default:
		c.WorkloadKind, c.Workload = OwnerContainer, c.Name
	}
}

// giveUp ends the wait of an entry whose deadline has passed: one that lacks nothing but its owner goes by the guess.
func (r *Registry) giveUp(e *entry) {
	e.late = true
	r.publish(e)
	r.unattribute(e)
}

// unattribute ends the wait for an entry with what is known.
func (r *Registry) unattribute(e *entry) {
	if e.state() != StatePending {
		return
	}
	r.stats.Unattributed++
	c := *e.current.Load()
	c.State = StateUnattributed
	e.current.Store(&c)
	r.announce(e, &c)
	if c.ID != "" {
		r.log.Warn("container not identified", "cgroup", e.cgroup, "path", e.path, "id", c.ID, "pod_uid", c.PodUID)
	}
}

// put takes a record from a source. It returns nil if there is no room for it.
func (r *Registry) put(f *Feed, in Record) *record {
	r.stats.OmittedLabels += uint64(r.strings.record(&in))
	rank := f.rank
	rec := r.recordFor(rank, &in)
	if rec == nil {
		return nil
	}
	if old := rec.parts[rank]; old != nil && in.InitPID == 0 {
		in.InitPID = old.InitPID
	}
	rec.parts[rank] = &in
	rec.seen[rank] = f.sync
	rec.merged = merge(&rec.parts)
	if rec.merged.HasSpec {
		r.expect(rec)
	}
	r.join(rec, rank, &in)
	r.match(rec)
	return rec
}

// foretell is what is known of a container whose cgroup is not there yet.
func (r *Registry) foretell(rec *record) *Container {
	c := r.compose(&entry{rec: rec})
	c.State = StateResolved
	return c
}

// recordFor finds the record that a source speaks of, or makes it. A late word about a container that has been deleted
// does not bring it back to life; a new container under an old id is a new record.
func (r *Registry) recordFor(rank Rank, in *Record) *record {
	if rec := r.records[in.Key]; rec != nil {
		if !recreated(rec.parts[rank], in) {
			return rec
		}
		r.drop(rec)
		return r.addRecord(in.Key)
	}
	for _, rec := range r.byID[in.ID] {
		if rec.key == in.Key && (rank != RankRuntime || rec.merged.Created.Equal(in.Created)) {
			return rec
		}
	}
	return r.addRecord(in.Key)
}

// recreated reports whether a source speaks of another container under the id of an old one.
func recreated(old, in *Record) bool {
	return old != nil && !old.Created.IsZero() && !in.Created.IsZero() && !old.Created.Equal(in.Created)
}

// addRecord makes room for a record. It returns nil when there is none.
func (r *Registry) addRecord(key Key) *record {
	for r.held >= r.cfg.MaxRecords {
		if !r.evictOldest() {
			r.stats.DroppedRecords++
			return nil
		}
	}
	rec := &record{key: key}
	r.held++
	r.records[key] = rec
	r.byID[key.ID] = append(r.byID[key.ID], rec)
	if key.RuntimeNamespace != "" {
		r.namespaces[key.RuntimeNamespace] = struct{}{}
	}
	return rec
}

// expect indexes a record by the cgroup path that its spec names.
func (r *Registry) expect(rec *record) {
	p, exact := ExpectedPath(rec.merged.CgroupsPath, rec.key.ID)
	r.expectAt(rec, p, exact)
}

func (r *Registry) expectAt(rec *record, p string, exact bool) {
	if rec.expected == p {
		return
	}
	r.unexpect(rec)
	if p != "" {
		leaf := r.strings.string(path.Base(p))
		rec.expected, rec.exact = p, exact
		r.byLeaf[leaf] = append(r.byLeaf[leaf], rec)
	}
}

func (r *Registry) unexpect(rec *record) {
	if rec.expected != "" {
		remove(r.byLeaf, path.Base(rec.expected), rec)
		rec.expected = ""
	}
}

// remove takes a record out of an index.
func remove(index map[string][]*record, key string, rec *record) {
	left := slices.DeleteFunc(index[key], func(x *record) bool { return x == rec })
	if len(left) == 0 {
		delete(index, key)
		return
	}
	index[key] = left
}

// match publishes what a record says to its cgroup, or looks for one that waits for it.
func (r *Registry) match(rec *record) {
	if rec.entry != nil {
		r.publish(rec.entry)
		return
	}
	for _, e := range r.open {
		if e.rec == nil && e.hint.fits(rec.key) {
			r.bind(e, rec)
			r.publish(e)
		}
	}
	if rec.entry != nil || rec.expected == "" {
		return
	}
	leaf := path.Base(rec.expected)
	for _, n := range r.nodes {
		if n.name != leaf || n.gone || n.place == PlaceUnknown {
			continue
		}
		if found, exact := r.announced(n); found == rec && (n.entry == r.host || exact) {
			r.adopt(n, rec)
		}
	}
}

// adopt gives a cgroup that the runtime announced only now to its container.
func (r *Registry) adopt(n *node, rec *record) {
	switch n.place {
	case PlaceHost, PlacePod:
		r.convert(n, rec)
	case PlaceContainer:
		if n.entry.rec == nil {
			r.bind(n.entry, rec)
			r.publish(n.entry)
		}
	}
}

// join makes a record a member of its pod and takes over what it says of the pod.
func (r *Registry) join(rec *record, rank Rank, in *Record) {
	key := podKey(&rec.merged)
	if key != rec.podKey {
		r.leave(rec)
		rec.podKey = key
	}
	p := r.podOf(key)
	if p == nil {
		return
	}
	p.members[rec] = struct{}{}
	p.name, p.namespace = cmp.Or(p.name, rec.merged.Pod), cmp.Or(p.namespace, rec.merged.Namespace)
	if in.PodLabels == nil && in.Annotations == nil && in.Resolvers == nil {
		return
	}
	var resolved []*entry
	if in.Resolvers != nil && !slices.Equal(p.resolvers, in.Resolvers) {
		p.resolvers = in.Resolvers
		resolved = r.resolvedOf(p)
	}
	if in.PodLabels != nil {
		p.labels[rank] = in.PodLabels
	}
	if in.Annotations != nil {
		p.annotations[rank] = in.Annotations
	}
	r.publishPod(p)
	for _, e := range resolved {
		r.announce(e, e.current.Load())
	}
}

// resolvedOf are the containers of a pod that have been announced, by their cgroups.
func (r *Registry) resolvedOf(p *pod) []*entry {
	var list []*entry
	for rec := range p.members {
		if rec.entry != nil && rec.entry.state() == StateResolved {
			list = append(list, rec.entry)
		}
	}
	slices.SortFunc(list, func(a, b *entry) int { return cmp.Compare(a.cgroup, b.cgroup) })
	return list
}

// podKey names the pod of a record: its uid, or its sandbox where there is none.
func podKey(m *Record) string {
	if m.PodUID != "" || m.SandboxID == "" {
		return m.PodUID
	}
	return "sandbox:" + m.SandboxID
}

func (r *Registry) podOf(key string) *pod {
	if key == "" {
		return nil
	}
	p := r.pods[key]
	if p == nil {
		if len(r.pods) >= r.cfg.MaxRecords {
			r.stats.DroppedRecords++
			return nil
		}
		p = &pod{members: make(map[*record]struct{})}
		r.pods[key] = p
	}
	return p
}

func (r *Registry) leave(rec *record) {
	if p := r.pods[rec.podKey]; p != nil {
		delete(p.members, rec)
		r.releasePod(rec.podKey, p)
	}
}

// releasePod forgets a pod that has no containers and of which Kubernetes has nothing to say, or nothing more.
func (r *Registry) releasePod(key string, p *pod) {
	if len(p.members) == 0 && (p.ended || !p.told()) {
		delete(r.pods, key)
	}
}

func (r *Registry) publishPod(p *pod) {
	for rec := range p.members {
		if rec.entry != nil {
			r.publish(rec.entry)
		}
	}
}

// started notes a container's first process and, if its cgroup is not known yet, the path that process is in. The other
// sources are asked for what they can add: they know a container only about now.
func (r *Registry) started(f *Feed, key Key, pid uint32, cgroupPath string) {
	rec := r.records[key]
	if rec == nil || rec.parts[f.rank] == nil {
		return
	}
	if rec.parts[f.rank].InitPID != pid {
		fresh := *rec.parts[f.rank]
		fresh.InitPID = pid
		rec.parts[f.rank] = &fresh
		rec.merged = merge(&rec.parts)
	}
	// A path that leads out of the agent's own cgroup namespace cannot be compared.
	usable := cgroupPath != "" && cgroupPath != "/" && !strings.HasPrefix(cgroupPath, "/..")
	if rec.entry == nil && !rec.exact && usable {
		r.expectAt(rec, cgroupPath, true)
	}
	r.match(rec)
	if !rec.enriched {
		rec.enriched = true
		r.spread(f, Query{ID: key.ID, RuntimeNamespace: key.RuntimeNamespace})
	}
}

// spread puts a question to all sources of other ranks that can answer.
func (r *Registry) spread(from *Feed, q Query) {
	for _, f := range r.feeds {
		if f.rank != from.rank && f.status.State != sourceOff {
			r.query(f, q)
		}
	}
}

// query puts a question into a source's queue.
func (r *Registry) query(f *Feed, q Query) {
	select {
	case f.queries <- q:
	default:
		r.stats.DroppedQueries++
	}
}

// ask sends an open entry to all sources that can answer. With none the wait is over.
func (r *Registry) ask(e *entry) {
	q := Query{Cgroup: e.cgroup, ID: e.hint.ContainerID, RuntimeNamespace: e.hint.namespace}
	asked := false
	for _, f := range r.feeds {
		if f.status.State == sourceOff {
			continue
		}
		asked = true
		r.query(f, q)
	}
	if !asked {
		r.unattribute(e)
		return
	}
	r.poke()
}

// absent notes that a source does not know a container. When none does, the wait is over.
func (r *Registry) absent(f *Feed, q Query) {
	e := r.entries[q.Cgroup]
	if e == nil || e.state() != StatePending || e.rec != nil {
		return
	}
	e.absent |= f.bit
	for _, other := range r.feeds {
		if other.status.State != sourceOff && e.absent&other.bit == 0 {
			return
		}
	}
	r.unattribute(e)
}

// expire ends the waits whose deadline has passed and returns the next one, zero if none waits.
func (r *Registry) expire(now time.Time) (next time.Time) {
	for _, e := range r.open {
		switch {
		case e.state() != StatePending:
		case !e.deadline.After(now):
			r.giveUp(e)
		case next.IsZero() || e.deadline.Before(next):
			next = e.deadline
		}
	}
	return next
}
