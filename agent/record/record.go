// SPDX-License-Identifier: Apache-2.0

// Package record decides which event classes of which containers are recorded: the classes that the node's own settings
// name, for every workload, and what the collector's record policy asks for. It is pure: no goroutines, no I/O, no clock.
// It decides about recording only; alerts do not depend on it.
package record

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/workload"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// Policy answers which classes are recorded, as bits 1 << wire.Type. All methods may be called concurrently.
type Policy struct {
	// local is recorded of everything.
	local   uint64
	current atomic.Pointer[rules]
}

// rule is a rule of the collector that is not about everything.
type rule struct {
	pattern workload.Pattern
	bits    uint64
}

// rules is one policy, with what was worked out of it. A new policy begins with an empty cache.
type rules struct {
	// everyone is recorded of every workload, union is what any rule asks for.
	everyone, union uint64
	some            []rule
	cache           cache
}

// New makes a policy that records the classes, given by the names of docs/events.md, of every workload and of the host.
// Names that are not known count for nothing: config has refused them.
func New(classes []string) *Policy {
	p := &Policy{}
	p.local, _ = bits(classes)
	p.current.Store(&rules{everyone: p.local, union: p.local})
	return p
}

// Set replaces what the collector asks for; nil asks for nothing. A rule with a malformed pattern is left out, and so is
// a class that this agent does not know; the error tells of each, and the rest holds all the same.
func (p *Policy) Set(from *apiv1.RecordPolicy) error {
	next := &rules{everyone: p.local, union: p.local}
	var errs []error
	for i, r := range from.GetRules() {
		pattern, err := workload.Compile(r.GetWorkload())
		if err != nil {
			errs = append(errs, fmt.Errorf("rule %d of the record policy is left out: %w", i+1, err))
			continue
		}
		classes, unknown := bits(r.GetTypes())
		for _, name := range unknown {
			errs = append(errs, fmt.Errorf("rule %d of the record policy: %.80q is no event class that this agent knows", i+1, name))
		}
		next.union |= classes
		if pattern.Everything() {
			next.everyone |= classes
		} else if classes != 0 {
			next.some = append(next.some, rule{pattern: pattern, bits: classes})
		}
	}
	p.current.Store(next)
	return errors.Join(errs...)
}

// bits gives the classes as bits, and the names that are none.
func bits(classes []string) (all uint64, unknown []string) {
	for _, name := range classes {
		t, ok := event.Parse(name)
		if !ok {
			unknown = append(unknown, name)
			continue
		}
		all |= 1 << t
	}
	return all, unknown
}

// Bits gives what is recorded of a container, or of the host. A container whose name is not known, nil included, might be
// any: all that any rule asks for is recorded of it. Bits allocates nothing once it was asked about a container.
func (p *Policy) Bits(c *container.Container) uint64 {
	r := p.current.Load()
	if len(r.some) == 0 {
		return r.everyone
	}
	if c == nil || c.State != container.StateResolved {
		return r.union
	}
	if known, ok := r.cache.get(c); ok {
		return known
	}
	all := r.everyone
	for i := range r.some {
		if r.some[i].bits&^all != 0 && r.some[i].pattern.Match(c) {
			all |= r.some[i].bits
		}
	}
	r.cache.put(c, all)
	return all
}

// Union gives what any rule could ask for, of any container.
func (p *Policy) Union() uint64 { return p.current.Load().union }
