// SPDX-License-Identifier: Apache-2.0

package container

import "fmt"

// States of a source.
const (
	sourceConnecting = "connecting"
	sourceUp         = "up"
	sourceOff        = "off"
)

// queryQueue is how many questions may wait for a source.
const queryQueue = 512

// maxFeeds is bounded by the set of answers that an entry keeps.
const maxFeeds = 64

// Query asks a source for a container.
type Query struct {
	// Cgroup is set if a cgroup waits for the answer: it appeared without a record. Without it the question is what the
	// source can add to a container that the runtime has just started.
	Cgroup uint64
	// ID is the container's id.
	ID string
	// RuntimeNamespace is the container's, empty if only its cgroup's path is known.
	RuntimeNamespace string
	// Deleted asks nothing: it tells that the runtime has deleted the container.
	Deleted bool
}

// Feed is a source's access to the registry. Its methods are safe for concurrent use.
type Feed struct {
	r       *Registry
	rank    Rank
	bit     uint64
	queries chan Query
	status  SourceStatus
	sync    uint64
}

// Feed makes the handle of a source. Until it says otherwise the source counts as connecting: containers wait for it.
func (r *Registry) Feed(source string, rank Rank) (*Feed, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if rank >= ranks {
		return nil, fmt.Errorf("container source %s: rank %d does not exist", source, rank)
	}
	if len(r.feeds) == maxFeeds {
		return nil, fmt.Errorf("container source %s: more than %d sources", source, maxFeeds)
	}
	f := &Feed{
		r: r, rank: rank, bit: 1 << len(r.feeds), queries: make(chan Query, queryQueue),
		status: SourceStatus{Name: source, State: sourceConnecting, Since: r.cfg.Now()},
	}
	r.feeds = append(r.feeds, f)
	return f, nil
}

// Queries delivers the containers that the registry wants to know about. Those that find the queue full are dropped and
// counted; a full listing must answer them.
func (f *Feed) Queries() <-chan Query { return f.queries }

// Put delivers a record. Delivering it again replaces what this source said before.
func (f *Feed) Put(rec Record) {
	f.r.mu.Lock()
	kept := f.r.put(f, rec)
	if kept != nil && kept.entry == nil && f.rank == RankRuntime && kept.merged.HasSpec {
		f.r.notes = append(f.r.notes, note{expected: f.r.foretell(kept)})
	}
	f.r.unlock()
}

// Announce delivers a record of a container that is about to begin, as Put does, and returns what is known of the
// container by then: its Cgroup is 0 while its cgroup is not there. OnExpected is not called; what is to be done before
// the container begins is the caller's. It returns nil if there is no room for the record.
func (f *Feed) Announce(rec Record) *Container {
	f.r.mu.Lock()
	defer f.r.unlock()
	switch kept := f.r.put(f, rec); {
	case kept == nil:
		return nil
	case kept.entry != nil:
		return kept.entry.current.Load()
	default:
		return f.r.foretell(kept)
	}
}

// Lapse forgets a container that this source announced, that never got a cgroup, and that no other source has spoken of.
func (f *Feed) Lapse(key Key) {
	f.r.mu.Lock()
	defer f.r.unlock()
	rec := f.r.records[key]
	if rec == nil || rec.entry != nil {
		return
	}
	for rank, part := range rec.parts {
		if part != nil && Rank(rank) != f.rank {
			return
		}
	}
	f.r.drop(rec)
}

// Drop says that the runtime has deleted a container. It stays known for the time of grace.
func (f *Feed) Drop(key Key) {
	f.r.mu.Lock()
	if rec := f.r.records[key]; rec != nil && f.leads(rec) {
		f.r.drop(rec)
		f.r.spread(f, Query{ID: key.ID, RuntimeNamespace: key.RuntimeNamespace, Deleted: true})
	}
	f.r.unlock()
}

// leads reports whether this source decides on a record's life: the runtime does, CRI only where it is alone.
func (f *Feed) leads(rec *record) bool {
	return f.rank == RankRuntime || rec.parts[RankRuntime] == nil
}

// Started notes a container's first process. cgroupPath is the process's cgroup below the cgroup2 mount, empty if it is
// not known.
func (f *Feed) Started(key Key, pid uint32, cgroupPath string) {
	f.r.mu.Lock()
	f.r.started(f, key, pid, cgroupPath)
	f.r.unlock()
}

// Located reports whether the registry has seen a container's cgroup or knows where it will be.
func (f *Feed) Located(key Key) bool {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	rec := f.r.records[key]
	return rec != nil && (rec.entry != nil || rec.exact)
}

// Absent answers a query: this source does not know the container.
func (f *Feed) Absent(q Query) {
	f.r.mu.Lock()
	f.r.absent(f, q)
	f.r.unlock()
}

// Namespace announces a namespace of the runtime, so that cgroups at /<namespace>/<id> are recognised.
func (f *Feed) Namespace(name string) {
	f.r.mu.Lock()
	f.r.namespaces[f.r.strings.string(name)] = struct{}{}
	f.r.unlock()
}

// BeginSync opens a full listing: what is not Put before EndSync has been deleted.
func (f *Feed) BeginSync() {
	f.r.mu.Lock()
	f.sync++
	f.r.unlock()
}

// EndSync closes a full listing.
func (f *Feed) EndSync() {
	f.r.mu.Lock()
	for _, rec := range f.r.records {
		if rec.parts[f.rank] != nil && rec.seen[f.rank] != f.sync && f.leads(rec) {
			f.r.drop(rec)
		}
	}
	f.r.unlock()
}

// Up says that the source works.
func (f *Feed) Up() { f.set(sourceUp, "") }

// Connecting says that the source is being reached, or reached again: containers wait for it.
func (f *Feed) Connecting(reason string) { f.set(sourceConnecting, reason) }

// Off says that the source cannot be expected to answer, with the reason and what to do about it. Containers do not wait
// for it.
func (f *Feed) Off(reason string) { f.set(sourceOff, reason) }

func (f *Feed) set(state, reason string) {
	f.r.mu.Lock()
	defer f.r.unlock()
	if f.status.State != state {
		f.status.Since = f.r.cfg.Now()
	}
	f.status.State, f.status.Reason = state, reason
	if state == sourceOff && !f.r.answerable() {
		for _, e := range f.r.open {
			if e.hint.ContainerID != "" {
				f.r.unattribute(e)
			}
		}
	}
}

// answerable reports whether any source may still answer.
func (r *Registry) answerable() bool {
	for _, f := range r.feeds {
		if f.status.State != sourceOff {
			return true
		}
	}
	return false
}
