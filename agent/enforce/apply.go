// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/holdfast-project/holdfast/agent/policy"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// Apply puts a set in force as what a policy lists, for all its containers. The set must not be changed any more. On an
// error, the set before is in force; ErrFull says that a map cannot hold the new one. Only if containers could be told of
// the new set in part, and not of the old one again, some have the one and some the other, until Run has told all of the new
// one.
//
// A set that allows only more than the one before takes effect entry by entry. Else entries are staged for the next
// generation, and containers are told of it one after the other.
func (e *Enforcer) Apply(id uint32, set *policy.Set) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, err := e.policy(id)
	if err != nil {
		return err
	}
	changes := policy.Diff(p.set, set)
	if changes.Len() == 0 {
		p.set = set
		return nil
	}
	if err := e.prepare(p, &changes); err != nil {
		return err
	}
	if changes.Widens() {
		return e.widen(p, &changes, set)
	}
	return e.replace(p, &changes, set)
}

// prepare makes sure that no entry of the policy serves two generations, that there is room, and that what was deleted is
// read by nobody.
func (e *Enforcer) prepare(p *state, changes *policy.Changes) error {
	if p.pending.Len() > 0 {
		if err := e.finish(p); err != nil {
			return err
		}
	}
	if e.room(p.id, changes) != nil {
		if err := e.finishAll(); err != nil {
			return err
		}
		if err := e.room(p.id, changes); err != nil {
			return err
		}
	}
	return e.grace.sync(e.deleted)
}

func (e *Enforcer) room(id uint32, changes *policy.Changes) error {
	return errors.Join(e.allow.room(id, changes.Allow), e.tree.room(id, changes.Tree), e.egress.room(id, changes.Egress))
}

// widen makes changes take effect at once, entry by entry.
func (e *Enforcer) widen(p *state, changes *policy.Changes, set *policy.Set) error {
	err := e.stage(p.id, changes, func(_, now uint16) uint64 { return word(p.generation, now, now) })
	if err != nil {
		return errors.Join(err, e.unstage(p, changes))
	}
	p.set = set
	return nil
}

// replace makes changes take effect with the next generation.
func (e *Enforcer) replace(p *state, changes *policy.Changes, set *policy.Set) error {
	// A deed that began under the generation before the present one reads entries that are now to be changed.
	if err := e.grace.sync(p.flipped); err != nil {
		return err
	}
	next := state{generation: p.generation + 1, pending: *changes, set: set}
	if err := e.stage(p.id, changes, func(was, now uint16) uint64 { return word(next.generation, was, now) }); err != nil {
		return errors.Join(err, e.unstage(p, changes))
	}
	if err := e.flip(p, next.generation); err != nil {
		if back := e.flip(p, p.generation); back != nil {
			// Containers of both generations remain. The entries serve both, and Run goes on with the flip.
			e.flipped(p, &next)
			return errors.Join(err, back)
		}
		// Programs that saw the new generation may still be judging by it.
		if waited := e.grace.sync(e.grace.now()); waited != nil {
			return errors.Join(err, waited)
		}
		return errors.Join(err, e.unstage(p, changes))
	}
	e.flipped(p, &next)
	return nil
}

// flipped notes that containers were told of the next generation of a policy.
func (e *Enforcer) flipped(p, next *state) {
	p.generation, p.pending, p.set, p.flipped = next.generation, next.pending, next.set, e.grace.now()
}

// stage writes the changes with the words that a function makes of was and now.
func (e *Enforcer) stage(id uint32, changes *policy.Changes, value func(was, now uint16) uint64) error {
	return errors.Join(
		stage(e, e.allow, id, changes.Allow, value),
		stage(e, e.tree, id, changes.Tree, value),
		stage(e, e.egress, id, changes.Egress, value),
	)
}

func stage[K comparable](
	e *Enforcer, t *table[K], id uint32, changes []policy.Change[K], value func(was, now uint16) uint64,
) error {
	var stores []store
	for _, c := range changes {
		if c.Old {
			stores = append(stores, store{key: t.raw(c.Key, id), word: value(c.Was, c.Now)})
		} else if err := t.insert(id, c.Key, value(c.Was, c.Now)); err != nil {
			return err
		}
	}
	return e.applyAll(t.name, t.change, stores)
}

// unstage takes staged changes back, as far as they were made.
func (e *Enforcer) unstage(p *state, changes *policy.Changes) error {
	err := errors.Join(
		unstage(e, e.allow, p, changes.Allow), unstage(e, e.tree, p, changes.Tree), unstage(e, e.egress, p, changes.Egress),
	)
	e.deleted = e.grace.now()
	return err
}

func unstage[K comparable](e *Enforcer, t *table[K], p *state, changes []policy.Change[K]) error {
	var errs []error
	var stores []store
	for _, c := range changes {
		if c.Old {
			stores = append(stores, store{key: t.raw(c.Key, p.id), word: word(p.generation, c.Was, c.Was)})
		} else {
			errs = append(errs, t.remove(p.id, c.Key))
		}
	}
	return errors.Join(append(errs, e.applyAll(t.name, t.change, stores))...)
}

// flip tells the containers of a policy the generation, each by one store. One that is gone needs it no more.
func (e *Enforcer) flip(p *state, generation uint32) error {
	value := generationWord(p.id, generation)
	var containers, names []store
	for id, h := range e.containers {
		if h.policy == p.id {
			containers = append(containers, store{key: bytesOf(&id), word: value, at: atGeneration})
		}
	}
	for name, h := range e.names {
		if h.policy == p.id {
			names = append(names, store{key: bytesOf(&name), word: value, at: atGeneration})
		}
	}
	// A container that is made meanwhile takes its policy from policy_by_name: what it copied before is found by stragglers.
	if _, err := e.apply(e.programs.ApplyName, names); err != nil {
		return fmt.Errorf("map policy_by_name: generation %d of policy %d: %w", generation, p.id, err)
	}
	if _, err := e.apply(e.programs.ApplyContainer, containers); err != nil {
		return fmt.Errorf("map policy_by_container: generation %d of policy %d: %w", generation, p.id, err)
	}
	return nil
}

// finish ends the change of a policy: entries that serve two generations serve the present one alone, and those that are
// not in it are deleted.
func (e *Enforcer) finish(p *state) error {
	if err := e.grace.sync(p.flipped); err != nil {
		return err
	}
	found, err := e.stragglers()
	if err != nil {
		return err
	}
	if found > 0 {
		if err := e.grace.sync(e.grace.now()); err != nil {
			return err
		}
	}
	err = errors.Join(
		settle(e, e.allow, p, p.pending.Allow), settle(e, e.tree, p, p.pending.Tree), settle(e, e.egress, p, p.pending.Egress),
	)
	if err != nil {
		return fmt.Errorf("policy %d: end generation %d: %w", p.id, p.generation-1, err)
	}
	p.pending = policy.Changes{}
	return nil
}

// settle ends the changes of one map.
func settle[K comparable](e *Enforcer, t *table[K], p *state, changes []policy.Change[K]) error {
	var stores []store
	for _, c := range changes {
		if c.New {
			stores = append(stores, store{key: t.raw(c.Key, p.id), word: word(p.generation, c.Now, c.Now)})
			continue
		}
		e.deleted = e.grace.now()
		if err := t.remove(p.id, c.Key); err != nil {
			return err
		}
	}
	return e.applyAll(t.name, t.change, stores)
}

// finishAll ends all changes, and deletes the policies that were released.
func (e *Enforcer) finishAll() error {
	for _, p := range e.policies {
		if p.pending.Len() > 0 {
			if err := e.finish(p); err != nil {
				return err
			}
		}
		if p.released {
			if err := e.drop(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// drop deletes a policy that was released, and takes it from a container that was made while that was done.
func (e *Enforcer) drop(p *state) error {
	if err := e.grace.sync(p.flipped); err != nil {
		return err
	}
	found, err := e.holders(p.id)
	if err != nil {
		return err
	}
	for _, container := range found {
		if err := e.cfg.Maps.ByContainer.Delete(container); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("map policy_by_container: container %d: %w", container, err)
		}
	}
	if len(found) > 0 {
		if err := e.grace.sync(e.grace.now()); err != nil {
			return err
		}
	}
	changes := policy.Diff(p.set, nil)
	err = errors.Join(
		settle(e, e.allow, p, changes.Allow), settle(e, e.tree, p, changes.Tree), settle(e, e.egress, p, changes.Egress),
	)
	if err != nil {
		return fmt.Errorf("delete policy %d: %w", p.id, err)
	}
	if err := e.cfg.Maps.Tally.Delete(p.id); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("map tally_by_policy: policy %d: %w", p.id, err)
	}
	delete(e.policies, p.id)
	return nil
}

// stragglers finds containers that have another generation of their policy than the present one, and tells them: those
// whose cgroup was made while the policy changed. It returns how many there were.
func (e *Enforcer) stragglers() (int, error) {
	var late []store
	err := each(e.cfg.Maps.ByContainer, func(container uint64, p wire.Policy) {
		s, ok := e.policies[p.Id]
		if ok && s.generation != p.Generation {
			late = append(late, store{key: bytesOf(&container), word: generationWord(s.id, s.generation), at: atGeneration})
		}
	})
	if err != nil {
		return 0, fmt.Errorf("map policy_by_container: %w", err)
	}
	var lateNames []store
	err = each(e.cfg.Maps.ByName, func(name wire.ContainerName, p wire.Policy) {
		s, ok := e.policies[p.Id]
		if ok && s.generation != p.Generation {
			lateNames = append(lateNames, store{key: bytesOf(&name), word: generationWord(s.id, s.generation), at: atGeneration})
		}
	})
	if err != nil {
		return 0, fmt.Errorf("map policy_by_name: %w", err)
	}
	_, namesErr := e.apply(e.programs.ApplyName, lateNames)
	_, err = e.apply(e.programs.ApplyContainer, late)
	return len(late) + len(lateNames), errors.Join(namesErr, err)
}
