// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/enforce/objects"
	"github.com/holdfast-project/holdfast/agent/policy"
	"github.com/holdfast-project/holdfast/agent/sensor"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// Errors of a full map: of hashes and of tries.
const (
	errTooBig  = unix.E2BIG
	errNoSpace = unix.ENOSPC
)

// Maps are the maps that verdicts are taken from. The enforcer uses them until Close, and does not close them.
type Maps = sensor.PolicyMaps

// Config is what an Enforcer is made of.
type Config struct {
	Maps Maps
	// Interval is how often Run looks for entries that nobody reads any more. Default 250 ms.
	Interval time.Duration
	Logger   *slog.Logger
}

// Enforcer writes policies.
type Enforcer struct {
	cfg    Config
	hasher *policy.Hasher

	mu       sync.Mutex
	grace    *grace
	programs objects.ApplyPrograms
	batches  *ebpf.Map
	batch    batch
	allow    *table[policy.Key]
	tree     *table[policy.Tree]
	egress   *table[policy.Contact]
	// deleted is the moment of the last deletion of an entry: before the next is inserted, whose memory may be the same,
	// programs that may be reading it must have ended.
	deleted  uint64
	policies map[uint32]*state
	next     uint32
	// containers and names are what holds for each.
	containers map[uint64]held
	names      map[wire.ContainerName]held
}

// state is a policy as it stands in the maps.
type state struct {
	id         uint32
	generation uint32
	set        *policy.Set
	// pending are changes that are in force, and whose entries still serve the generation before; flipped is when the last
	// container was told of the present one.
	pending policy.Changes
	flipped uint64
	// inherited says that the policy was read back and is nobody's yet: it goes with its last container.
	inherited bool
	// released says that the policy goes, with all entries.
	released bool
}

// held is what holds for a container.
type held struct {
	policy uint32
	modes  Modes
}

// New reads back what the maps hold and mends what an agent left half done. It needs CAP_BPF and starts nothing.
func New(cfg Config) (*Enforcer, error) {
	if cfg.Interval == 0 {
		cfg.Interval = 250 * time.Millisecond
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Enforcer{
		cfg: cfg, policies: map[uint32]*state{}, containers: map[uint64]held{}, names: map[wire.ContainerName]held{},
	}
	e.allow, e.tree, e.egress = newTables(cfg.Maps)
	if err := e.open(); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *Enforcer) open() error {
	var key wire.HashKey
	if err := e.cfg.Maps.HashKey.Lookup(uint32(0), &key); err != nil {
		return fmt.Errorf("map hash_key: %w", err)
	}
	if key == (wire.HashKey{}) {
		return errors.New("map hash_key: holds no key")
	}
	e.hasher = policy.NewHasher(&key)
	var err error
	if e.grace, err = newGrace(); err != nil {
		return err
	}
	if err := e.loadPrograms(); err != nil {
		return fmt.Errorf("load the programs that change entries: %w", err)
	}
	if err := e.load(); err != nil {
		return fmt.Errorf("read back the policies that the maps hold: %w", err)
	}
	return nil
}

// loadPrograms loads the programs with the maps of policies in the place of their own.
func (e *Enforcer) loadPrograms() error {
	spec, err := objects.LoadApply()
	if err != nil {
		return err
	}
	maps := map[string]*ebpf.Map{
		"allow": e.cfg.Maps.Allow, "allow_tree": e.cfg.Maps.Tree, "allow_egress": e.cfg.Maps.Egress,
		"policy_by_container": e.cfg.Maps.ByContainer, "policy_by_name": e.cfg.Maps.ByName, "admitted": e.cfg.Maps.Admitted,
	}
	for name, m := range maps {
		spec.Maps[name].MaxEntries, spec.Maps[name].Flags = m.MaxEntries(), m.Flags()
	}
	var loaded struct {
		objects.ApplyPrograms
		Batches *ebpf.Map `ebpf:"apply_batches"`
	}
	if err := spec.LoadAndAssign(&loaded, &ebpf.CollectionOptions{MapReplacements: maps}); err != nil {
		return err
	}
	e.programs, e.batches = loaded.ApplyPrograms, loaded.Batches
	e.allow.change, e.tree.change, e.egress.change = e.programs.ApplyAllow, e.programs.ApplyTree, e.programs.ApplyEgress
	return nil
}

// Close gives back what New took. The maps stay as they are, so that what is in force stays in force.
func (e *Enforcer) Close() error {
	closers := []io.Closer{}
	for _, p := range []*ebpf.Program{
		e.programs.ApplyAllow, e.programs.ApplyTree, e.programs.ApplyEgress, e.programs.ApplyContainer, e.programs.ApplyName,
		e.programs.ApplyAdmit,
	} {
		if p != nil {
			closers = append(closers, p)
		}
	}
	if e.batches != nil {
		closers = append(closers, e.batches)
	}
	var errs []error
	for _, c := range closers {
		errs = append(errs, c.Close())
	}
	if e.grace != nil {
		errs = append(errs, e.grace.close())
	}
	return errors.Join(errs...)
}

// Hasher hashes as the maps are keyed.
func (e *Enforcer) Hasher() *policy.Hasher { return e.hasher }

// Create makes a policy that lists nothing, and gives its id, which no other policy has had for long. ErrFull says that
// there are as many as the maps can hold.
func (e *Enforcer) Create() (uint32, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := uint32(len(e.policies)); n >= e.cfg.Maps.Tally.MaxEntries() {
		return 0, fmt.Errorf("map tally_by_policy: %d policies: %w", n, ErrFull)
	}
	for {
		e.next++
		if _, used := e.policies[e.next]; !used && e.next != 0 {
			break
		}
	}
	if err := e.cfg.Maps.Tally.Put(e.next, &wire.Tally{}); err != nil {
		return 0, fmt.Errorf("map tally_by_policy: policy %d: %w", e.next, full(err))
	}
	e.policies[e.next] = &state{id: e.next, set: policy.NewSet()}
	return e.next, nil
}

// Release takes a policy that no container has. Run deletes its entries, and its id is free then.
func (e *Enforcer) Release(id uint32) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, err := e.policy(id)
	if err != nil {
		return err
	}
	for container, h := range e.containers {
		if h.policy == id {
			return fmt.Errorf("policy %d: container %d has it", id, container)
		}
	}
	for name, h := range e.names {
		if h.policy == id {
			return fmt.Errorf("policy %d: container %s has it", id, name.Id[:12])
		}
	}
	if found, err := e.holders(id); err != nil {
		return err
	} else if len(found) > 0 {
		return fmt.Errorf("policy %d: container %d has it, by its name", id, found[0])
	}
	p.released, p.flipped = true, e.grace.now()
	return nil
}

// holders reads which containers have a policy, those that took it by their name included.
func (e *Enforcer) holders(id uint32) ([]uint64, error) {
	var found []uint64
	err := each(e.cfg.Maps.ByContainer, func(container uint64, p wire.Policy) {
		if p.Id == id {
			found = append(found, container)
		}
	})
	return found, named("policy_by_container", err)
}

// Adopt gives the policy that a container had under the agent before, for the workload to go on with; false: it had none,
// or that one was adopted already. A policy that nobody adopts goes with its last container.
func (e *Enforcer) Adopt(c Container) (uint32, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	h, ok := e.containers[c.Cgroup]
	if name, err := nameOf(c.Name); !ok && err == nil {
		h, ok = e.names[name]
	}
	p := e.policies[h.policy]
	if !ok || p == nil || !p.inherited || p.released {
		return 0, false
	}
	p.inherited = false
	return p.id, true
}

// releaseInherited releases policies of the agent before that no container has any more.
func (e *Enforcer) releaseInherited() {
	var has map[uint32]bool
	for _, p := range e.policies {
		if !p.inherited || p.released {
			continue
		}
		if has == nil {
			has = map[uint32]bool{}
			for _, h := range e.containers {
				has[h.policy] = true
			}
			for _, h := range e.names {
				has[h.policy] = true
			}
		}
		if !has[p.id] {
			p.released, p.flipped = true, e.grace.now()
		}
	}
}

func (e *Enforcer) policy(id uint32) (*state, error) {
	p, ok := e.policies[id]
	if !ok || p.released {
		return nil, fmt.Errorf("no policy %d", id)
	}
	return p, nil
}

// Policy is a policy as it stands in the maps.
type Policy struct {
	ID         uint32
	Generation uint32
	// Entries is how many it lists, Containers how many containers have it, those that are to come included.
	Entries    int
	Containers int
	// Pending is how many entries still serve the generation before.
	Pending int
}

// Policies gives what there is, by id.
func (e *Enforcer) Policies() []Policy {
	e.mu.Lock()
	defer e.mu.Unlock()
	containers := map[uint32]int{}
	for _, h := range e.containers {
		containers[h.policy]++
	}
	for _, h := range e.names {
		containers[h.policy]++
	}
	list := make([]Policy, 0, len(e.policies))
	for _, p := range e.policies {
		if !p.released {
			list = append(list, Policy{
				ID: p.id, Generation: p.generation, Entries: p.set.Len(), Containers: containers[p.id], Pending: p.pending.Len(),
			})
		}
	}
	slices.SortFunc(list, func(a, b Policy) int { return int(a.ID) - int(b.ID) })
	return list
}
