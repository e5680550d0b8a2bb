// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/holdfast-project/holdfast/agent/policy"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// each calls a function for every element of a map. A map that programs write to meanwhile is read again from the start
// when the kernel lost the place; then a function may be called twice for an element.
func each[K, V any](m *ebpf.Map, f func(K, V)) error {
	const tries = 8
	var err error
	for range tries {
		var key K
		var value V
		entries := m.Iterate()
		for entries.Next(&key, &value) {
			f(key, value)
		}
		if err = entries.Err(); !errors.Is(err, ebpf.ErrIterationAborted) {
			return err
		}
	}
	return err
}

// load reads back what the maps hold. Where the agent before ended in the middle of a change, the change is ended: when
// some container was told of it, it holds for all, else for none.
func (e *Enforcer) load() error {
	if err := e.loadAssignments(); err != nil {
		return err
	}
	found, err := e.stragglers()
	if err != nil {
		return err
	}
	if found > 0 {
		e.cfg.Logger.Warn("ended a change of policies that was under way", "containers", found)
	}
	// Deeds that began under another generation read entries that are now to be changed.
	if err := e.grace.sync(e.grace.now()); err != nil {
		return err
	}
	l := &loading{e: e}
	if err := l.read(); err != nil {
		return err
	}
	if err := l.mend(); err != nil {
		return err
	}
	return e.loadTallies()
}

// loadAssignments reads which containers have which policies, and with them which policies there are and the generation of
// each: the newest that a container has been told of.
func (e *Enforcer) loadAssignments() error {
	note := func(p *wire.Policy) {
		s, ok := e.policies[p.Id]
		if !ok {
			s = &state{id: p.Id, generation: p.Generation, set: policy.NewSet(), inherited: true}
			e.policies[p.Id] = s
			e.next = max(e.next, p.Id)
		}
		if int32(p.Generation-s.generation) > 0 {
			s.generation = p.Generation
		}
	}
	err := each(e.cfg.Maps.ByContainer, func(container uint64, p wire.Policy) {
		e.containers[container] = held{p.Id, p.Mode}
		note(&p)
	})
	if err != nil {
		return fmt.Errorf("map policy_by_container: %w", err)
	}
	err = each(e.cfg.Maps.ByName, func(name wire.ContainerName, p wire.Policy) {
		e.names[name] = held{p.Id, p.Mode}
		note(&p)
	})
	if err != nil {
		return fmt.Errorf("map policy_by_name: %w", err)
	}
	return nil
}

// loading is what one reading of the entries brings: which are to be settled, and which deleted.
type loading struct {
	e      *Enforcer
	allow  mending[policy.Key]
	tree   mending[policy.Tree]
	egress mending[policy.Contact]
}

type mending[K comparable] struct {
	stores []store
	gone   []owned[K]
}

type owned[K comparable] struct {
	policy uint32
	key    K
}

func (l *loading) read() error {
	var errs []error
	err := each(l.e.cfg.Maps.Allow, func(k wire.AllowKey, v wire.Allow) {
		note(l.e, &l.allow, l.e.allow, k.Policy, policy.KeyOf(&k), &v, func(s *policy.Set) map[policy.Key]uint16 { return s.Allow })
	})
	errs = append(errs, named("allow", err))
	err = each(l.e.cfg.Maps.Tree, func(k wire.TreeKey, v wire.Allow) {
		tree, err := policy.TreeOf(&k)
		if err != nil {
			errs = append(errs, named("allow_tree", err))
			return
		}
		note(l.e, &l.tree, l.e.tree, k.Policy, tree, &v, func(s *policy.Set) map[policy.Tree]uint16 { return s.Tree })
	})
	errs = append(errs, named("allow_tree", err))
	err = each(l.e.cfg.Maps.Egress, func(k wire.EgressKey, v wire.Allow) {
		contact, err := policy.ContactOf(&k)
		if err != nil {
			errs = append(errs, named("allow_egress", err))
			return
		}
		note(l.e, &l.egress, l.e.egress, k.Policy, contact, &v, func(s *policy.Set) map[policy.Contact]uint16 { return s.Egress })
	})
	errs = append(errs, named("allow_egress", err))
	return errors.Join(errs...)
}

func named(name string, err error) error {
	if err != nil {
		return fmt.Errorf("map %s: %w", name, err)
	}
	return nil
}

// note takes up one entry: what it allows in the generation of its policy.
func note[K comparable](
	e *Enforcer, m *mending[K], t *table[K], id uint32, key K, v *wire.Allow, of func(*policy.Set) map[K]uint16,
) {
	t.used++
	p, ok := e.policies[id]
	if !ok {
		m.gone = append(m.gone, owned[K]{id, key})
		return
	}
	bits := v.Now
	if int32(p.generation-v.Since) < 0 {
		bits = v.Was
	}
	if bits == 0 {
		m.gone = append(m.gone, owned[K]{id, key})
		return
	}
	of(p.set)[key] = bits
	if v.Was != bits || v.Now != bits {
		m.stores = append(m.stores, store{key: t.raw(key, id), word: word(p.generation, bits, bits)})
	}
}

// mend settles the entries that served two generations and deletes those that serve none.
func (l *loading) mend() error {
	return errors.Join(mend(l.e, l.e.allow, &l.allow), mend(l.e, l.e.tree, &l.tree), mend(l.e, l.e.egress, &l.egress))
}

func mend[K comparable](e *Enforcer, t *table[K], m *mending[K]) error {
	err := e.applyAll(t.name, t.change, m.stores)
	for _, gone := range m.gone {
		e.deleted = e.grace.now()
		err = errors.Join(err, t.remove(gone.policy, gone.key))
	}
	return err
}

// loadTallies gives every policy its counts and deletes those of policies that are gone.
func (e *Enforcer) loadTallies() error {
	have := map[uint32]bool{}
	err := each(e.cfg.Maps.Tally, func(id uint32, _ wire.Tally) { have[id] = true })
	for id := range have {
		if _, ok := e.policies[id]; !ok {
			err = errors.Join(err, e.cfg.Maps.Tally.Delete(id))
		}
	}
	for id := range e.policies {
		if !have[id] {
			err = errors.Join(err, full(e.cfg.Maps.Tally.Put(id, &wire.Tally{})))
		}
	}
	return named("tally_by_policy", err)
}
