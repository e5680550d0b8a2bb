// SPDX-License-Identifier: Apache-2.0

// Package fleet knows the nodes: which are connected, what each can do and how it fares, what they shall record, and who
// watches their events live. It keeps what they observe of each workload, merges it with what people have written over it,
// and tells every node that runs the workload what it is allowed, and in which mode. It keeps no alerts and no events. Run
// owns its two goroutines; every method may be called concurrently.
package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/authority"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Errors that callers branch on.
var (
	// ErrNotConnected says that a known node's agent is not connected now.
	ErrNotConnected = errors.New("the agent is not connected")
	// ErrTooManyTails says that as many people watch the node as may.
	ErrTooManyTails = errors.New("too many live views of the node")
	// ErrPolicy says that a record policy or filter cannot be understood.
	ErrPolicy = errors.New("malformed policy")
	// ErrSuperseded ends a session whose node has opened another one.
	ErrSuperseded = errors.New("the node has opened a newer stream")
	// ErrRevoked ends a session whose node was revoked.
	ErrRevoked = errors.New("the node was revoked")
)

// Store is what the fleet keeps of store.Store.
type Store interface {
	store.Nodes
	store.Policies
	store.Profiles
	store.Modes
	store.Refusals
	Losses(ctx context.Context, lane apiv1.Lane) ([]store.LossCount, error)
}

// Config makes a fleet.
type Config struct {
	Store Store
	Log   *slog.Logger
	// Every is how often what nodes said is written down, revocations are looked up, and slow viewers are told what they
	// lost; 0 means 5 seconds.
	Every time.Duration
	// Gather is how long changes of profiles are gathered before they are merged and sent; 0 means 200 milliseconds.
	Gather time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Fleet is the nodes. Use New.
type Fleet struct {
	store Store
	log   *slog.Logger
	every time.Duration
	// gather is how long changes of profiles are gathered.
	gather time.Duration
	now    func() time.Time

	mu       sync.Mutex
	sessions map[string]*Session
	policy   *apiv1.RecordPolicy
	modes    *apiv1.ModeSettings
	// revoked are the revocations that were seen last.
	revoked  map[string]time.Time
	nextTail uint64
	// removed is when profiles were removed; it is replaced, never changed.
	removed map[profile.Key]time.Time
	// conflicts are those of objects, keyConflicts those of them that are about profiles.
	conflicts    []ObjectConflict
	keyConflicts map[profile.Key][]ObjectConflict

	// setting serialises changes of policy and modes, so that memory and store end with the same ones.
	setting sync.Mutex

	book *book
	// computing serialises what computes effective profiles, editing what changes overlays, decoding what agents send.
	computing, editing, decoding sync.Mutex
	// removing is held for reading while something observed is stored, so that nothing is that was removed meanwhile.
	removing sync.RWMutex
}

// New makes a fleet, with the record policy that is stored.
func New(ctx context.Context, cfg Config) (*Fleet, error) {
	f := &Fleet{
		store: cfg.Store, log: cfg.Log, every: cmp.Or(cfg.Every, 5*time.Second), gather: cmp.Or(cfg.Gather, 200*time.Millisecond),
		now: cfg.Now, sessions: map[string]*Session{},
	}
	if f.now == nil {
		f.now = time.Now
	}
	var err error
	f.policy, _, err = f.store.RecordPolicy(ctx)
	if err != nil {
		return nil, fmt.Errorf("load the record policy: %w", err)
	}
	if f.modes, err = f.loadModes(ctx); err != nil {
		return nil, fmt.Errorf("load the modes: %w", err)
	}
	if f.removed, err = f.loadRemovals(ctx); err != nil {
		return nil, fmt.Errorf("load which profiles were removed: %w", err)
	}
	if err := f.loadBook(ctx); err != nil {
		return nil, err
	}
	return f, nil
}

// Run writes down what nodes say, ends the sessions of revoked nodes, and keeps profiles up to date, until ctx ends. Then
// it writes down the rest.
func (f *Fleet) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return f.keep(ctx) })
	group.Go(func() error { return f.tend(ctx) })
	return group.Wait()
}

// tend looks after everything but profiles every so often.
func (f *Fleet) tend(ctx context.Context) error {
	f.book.rouse()
	tick, trim := time.NewTicker(f.every), time.NewTicker(trimEvery)
	defer tick.Stop()
	defer trim.Stop()
	for {
		select {
		case <-tick.C:
			f.endRevoked(ctx)
			f.save(ctx)
			f.tellShed()
			f.book.rouse()
			f.remind()
		case <-trim.C:
			f.trimProfiles(ctx)
		case <-ctx.Done():
			f.save(context.WithoutCancel(ctx))
			return ctx.Err()
		}
	}
}

// save writes down what changed. What cannot be written is tried again the next time.
func (f *Fleet) save(ctx context.Context) {
	var nodes []store.Node
	var from []*Session
	for _, s := range f.snapshot() {
		if n, dirty := s.takeDirty(); dirty {
			nodes, from = append(nodes, n), append(from, s)
		}
	}
	if len(nodes) == 0 {
		return
	}
	if err := f.store.PutNodes(ctx, nodes...); err != nil {
		f.log.Error("what nodes said was not written down, trying again", "nodes", len(nodes), "error", err)
		for _, s := range from {
			s.markDirty()
		}
	}
}

// endRevoked ends the sessions whose certificates are void, and has what their nodes have observed left out. Another process
// may have revoked them.
func (f *Fleet) endRevoked(ctx context.Context) {
	revoked, err := f.store.Revocations(ctx)
	if err != nil {
		f.log.Error("revocations could not be looked up", "error", err)
		return
	}
	f.disown(ctx, revoked)
	for _, s := range f.snapshot() {
		if at, ok := revoked[s.node]; ok && authority.Void(s.issued, at) {
			s.end(ErrRevoked)
		}
	}
}

// disown has the profiles computed anew that nodes have observed which were revoked since it was called last.
func (f *Fleet) disown(ctx context.Context, revoked map[string]time.Time) {
	f.mu.Lock()
	before := f.revoked
	f.revoked = revoked
	f.mu.Unlock()
	for node, at := range revoked {
		if before[node].Equal(at) {
			continue
		}
		observed, err := f.store.ListObserved(ctx, node)
		if err != nil {
			f.log.Error("what a revoked node has observed counts until the collector starts again", "node", node, "error", err)
			continue
		}
		for _, o := range observed {
			f.book.stale(o.Key)
		}
	}
}

func (f *Fleet) tellShed() {
	for _, s := range f.snapshot() {
		s.tellShed()
	}
}

// remind has sent what could not be sent before.
func (f *Fleet) remind() {
	for _, s := range f.snapshot() {
		s.remind()
	}
}

func (f *Fleet) snapshot() []*Session {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Values(f.sessions))
}

// Connected is how many agents are connected.
func (f *Fleet) Connected() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.sessions)
}

// Revoke voids the certificates that a node has, and ends its session.
func (f *Fleet) Revoke(ctx context.Context, node string) error {
	if err := authority.CheckNodeName(node); err != nil {
		return err
	}
	if err := f.store.RevokeNode(ctx, node, f.now()); err != nil {
		return err
	}
	f.endRevoked(ctx)
	return nil
}

// Refusals returns who was refused that would have been a node, the latest first.
func (f *Fleet) Refusals(ctx context.Context) ([]store.Refusal, error) {
	return f.store.ListRefusals(ctx)
}

// Node is what is known of a node now.
type Node struct {
	store.Node
	Connected bool
	// Losses is how many records the node has lost before they reached the collector, by lane and cause, such as
	// "alerts/disk full".
	Losses map[string]uint64
}

// Nodes returns every known node, by name.
func (f *Fleet) Nodes(ctx context.Context) ([]Node, error) {
	stored, err := f.store.ListNodes(ctx)
	if err != nil {
		return nil, err
	}
	losses, err := f.losses(ctx)
	if err != nil {
		return nil, err
	}
	live := map[string]*Session{}
	for _, s := range f.snapshot() {
		live[s.node] = s
	}
	all := make([]Node, 0, len(stored))
	for _, n := range stored {
		all = append(all, present(n, live[n.Name], losses[n.Name]))
	}
	return all, nil
}

// Node returns one node; store.ErrNotFound when it is not known.
func (f *Fleet) Node(ctx context.Context, name string) (Node, error) {
	n, err := f.store.Node(ctx, name)
	if err != nil {
		return Node{}, err
	}
	losses, err := f.losses(ctx)
	if err != nil {
		return Node{}, err
	}
	f.mu.Lock()
	s := f.sessions[name]
	f.mu.Unlock()
	return present(n, s, losses[name]), nil
}

// present is a stored node with what its session has heard since.
func present(n store.Node, s *Session, losses map[string]uint64) Node {
	if s == nil {
		return Node{Node: n, Losses: losses}
	}
	fresh := s.known()
	fresh.FirstSeen, fresh.Revoked, fresh.Allowed = n.FirstSeen, n.Revoked, n.Allowed
	return Node{Node: fresh, Connected: true, Losses: losses}
}

// laneNames are what Node.Losses calls the lanes.
func laneNames() map[apiv1.Lane]string {
	return map[apiv1.Lane]string{apiv1.Lane_LANE_ALERTS: "alerts", apiv1.Lane_LANE_RECORDS: "records"}
}

func (f *Fleet) losses(ctx context.Context) (map[string]map[string]uint64, error) {
	all := map[string]map[string]uint64{}
	for lane, name := range laneNames() {
		counts, err := f.store.Losses(ctx, lane)
		if err != nil {
			return nil, err
		}
		for _, c := range counts {
			if all[c.Node] == nil {
				all[c.Node] = map[string]uint64{}
			}
			all[c.Node][name+"/"+c.Cause] = c.Count
		}
	}
	return all, nil
}

// RecordPolicy returns what nodes shall record, and its version; 0 before it was set first.
func (f *Fleet) RecordPolicy(ctx context.Context) (*apiv1.RecordPolicy, uint64, error) {
	return f.store.RecordPolicy(ctx)
}

// SetRecordPolicy stores what nodes shall record, tells every connected one, and returns the new version. A policy that
// makes no sense is ErrPolicy.
func (f *Fleet) SetRecordPolicy(ctx context.Context, p *apiv1.RecordPolicy) (uint64, error) {
	if err := checkPolicy(p); err != nil {
		return 0, err
	}
	f.setting.Lock()
	defer f.setting.Unlock()
	version, err := f.store.SetRecordPolicy(ctx, p)
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.policy = p
	for _, s := range f.sessions {
		s.tellPolicy(p)
	}
	return version, nil
}

// Bounds of a record policy.
const (
	maxRules   = 1000
	maxPattern = 1024
	maxTypes   = 100
)

func checkPolicy(p *apiv1.RecordPolicy) error {
	if len(p.GetRules()) > maxRules {
		return fmt.Errorf("%d rules are more than %d: %w", len(p.GetRules()), maxRules, ErrPolicy)
	}
	for i, r := range p.GetRules() {
		if len(r.GetTypes()) == 0 {
			return fmt.Errorf("rule %d names no event types: %w", i+1, ErrPolicy)
		}
		if err := checkSelection(r.GetWorkload(), r.GetTypes()); err != nil {
			return fmt.Errorf("rule %d: %w", i+1, err)
		}
	}
	return nil
}

// checkSelection checks what policies and filters select by.
func checkSelection(workload string, types []string) error {
	if _, err := path.Match(workload, ""); err != nil || len(workload) > maxPattern {
		return fmt.Errorf("workload pattern %.80q: %w", workload, ErrPolicy)
	}
	if strings.Count(workload, "/") > 2 {
		return fmt.Errorf("workload pattern %.80q has more parts than namespace/workload/container: %w", workload, ErrPolicy)
	}
	if len(types) > maxTypes {
		return fmt.Errorf("%d event types are more than %d: %w", len(types), maxTypes, ErrPolicy)
	}
	for _, t := range types {
		if t == "" || len(t) > maxPattern {
			return fmt.Errorf("event type %.80q: %w", t, ErrPolicy)
		}
	}
	return nil
}
