// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
)

// item is what the entries in the lists of a process have in common.
type item[T any] interface {
	// identity tells the item from others of its list, and orders them.
	identity() string
	// origin is where it comes from.
	provenance() Provenance
	// join is the item together with another of the same identity: commutative, associative, idempotent.
	join(T) T
	// check returns an error for an item that means nothing.
	check() error
	// minus is what is left of it when another one is taken away, and whether that is anything.
	minus(T) (T, bool)
	// words say for people what it allows.
	words() string
	// fragment is a process of this path that lists nothing but the item.
	fragment(path string) Process
}

// joined returns the union of two lists, in order; items of the same identity are joined.
func joined[T item[T]](a, b []T) []T {
	if len(a)+len(b) == 0 {
		return nil
	}
	byID := make(map[string]T, len(a)+len(b))
	for _, list := range [][]T{a, b} {
		for _, x := range list {
			id := x.identity()
			if known, ok := byID[id]; ok {
				x = known.join(x)
			}
			byID[id] = x
		}
	}
	list := make([]T, 0, len(byID))
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		list = append(list, byID[id])
	}
	return list
}

// allowed returns the items that are allowed, less what removals take away.
func allowed[T item[T]](items []T, removals ...[]T) []T {
	var left []T
	for _, x := range items {
		keep := x.provenance().Allows()
		for _, list := range removals {
			for i := 0; keep && i < len(list); i++ {
				x, keep = x.minus(list[i])
			}
		}
		if keep {
			left = append(left, x)
		}
	}
	return left
}

// removed returns the items that take others away.
func removed[T item[T]](items []T) []T {
	var removals []T
	for _, x := range items {
		if x.provenance().Origin == Removed {
			removals = append(removals, x)
		}
	}
	return removals
}

// class sets what is no ordinary entry apart, so that it does not become one by being joined with one.
func class(p Provenance) string {
	switch p.Origin {
	case Candidate:
		return "\x00candidate"
	case Removed:
		return "\x00removed"
	default:
		return ""
	}
}

// join of provenances: the strongest origin with what belongs to it, the widest time, the highest count of any node, the
// replicas of each node.
func (p Provenance) join(o Provenance) Provenance {
	if p.compare(o) < 0 {
		p, o = o, p
	}
	p.First = earlier(p.First, o.First)
	p.Last = later(p.Last, o.Last)
	p.Count = max(p.Count, o.Count)
	p.Replicas = joinedMaps(p.Replicas, o.Replicas, func(a, b uint32) uint32 { return max(a, b) })
	return p
}

// compare orders provenances by what a person would believe more, and beyond that somehow.
func (p Provenance) compare(o Provenance) int {
	return cmp.Or(
		cmp.Compare(slices.Index(origins, p.Origin), slices.Index(origins, o.Origin)),
		cmp.Compare(p.Suspect, o.Suspect), cmp.Compare(p.Author, o.Author), cmp.Compare(p.Reason, o.Reason))
}

// joinedMaps is the union of two maps: nil if it is empty, never one of the two.
func joinedMaps[V any](a, b map[string]V, both func(V, V) V) map[string]V {
	if len(a)+len(b) == 0 {
		return nil
	}
	union := make(map[string]V, max(len(a), len(b)))
	maps.Copy(union, a)
	for k, v := range b {
		if known, ok := union[k]; ok {
			v = both(known, v)
		}
		union[k] = v
	}
	return union
}

// earlier is the earlier of two times; zero is no time.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// later is the later of two times; zero is no time.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// check returns an error for a provenance that says nothing.
func (p Provenance) check() error {
	if p.Origin != "" && !slices.Contains(origins, p.Origin) {
		return errors.New("unknown origin " + quoted(string(p.Origin)) +
			": learned, inherited, written, probe, candidate or context")
	}
	switch p.Suspect {
	case "", BySession, FromDrift, InIncident:
	default:
		return errors.New("unknown suspicion " + quoted(string(p.Suspect)))
	}
	if p.Suspect != "" && p.Origin != Candidate {
		return errors.New("only a candidate is suspect")
	}
	if p.Last.Before(p.First) {
		return errors.New("seen last before first")
	}
	if len(p.Replicas) > MaxNodes {
		return errors.New("too many nodes")
	}
	for node := range p.Replicas {
		if err := checkText(node, maxName); err != nil {
			return errors.New("node: " + err.Error())
		}
	}
	return errors.Join(checkText(p.Author, maxName), checkText(p.Reason, MaxText))
}

// quoted quotes a text for an error.
func quoted(text string) string {
	return `"` + strings.ToValidUTF8(text, "?") + `"`
}
