// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// Key is an entry of the map of entries, without the policy that it belongs to.
type Key struct {
	Class   wire.AllowClass
	Subject uint64
	Object  [2]uint64
}

// Tree is a folder below which a subject may do something with every file. Folder has a slash at its end.
type Tree struct {
	Subject uint64
	Folder  string
}

// Contact is a prefix that a subject may contact. Port 0 stands for every port. Prefix is masked and of IPv6; IPv4 stands
// in it as v4-mapped.
type Contact struct {
	Subject  uint64
	Port     uint16
	Protocol uint8
	Prefix   netip.Prefix
}

// Set is what a policy allows: bits by entry, as bpf/include/wire.h has them for the class of the entry. In Tree and
// Egress, where the kernel finds the longest prefix alone, an entry allows also what shorter ones of its subject (and
// port and protocol) allow. No entry is without bits.
type Set struct {
	Allow  map[Key]uint16
	Tree   map[Tree]uint16
	Egress map[Contact]uint16
	// Unresolved are the services and workloads of the profile that nobody knew an address of, sorted. Nothing was
	// compiled for them.
	Unresolved []string
}

// NewSet returns an empty set.
func NewSet() *Set {
	return &Set{Allow: map[Key]uint16{}, Tree: map[Tree]uint16{}, Egress: map[Contact]uint16{}}
}

// Len is how many entries the set has.
func (s *Set) Len() int {
	return len(s.Allow) + len(s.Tree) + len(s.Egress)
}

// Bounds of the kernel side (bpf/include/names.h): how many listed names a name stands for, and below how many domains it is
// looked for, those with the fewest labels.
const (
	maxListed  = 3
	maxDomains = 16
)

// Listed gives the listed names that a name stands for, in lower case and without a dot at its end, as the objects of
// contacts by name have them: itself, and the domains that all names below are listed of.
func (s *Set) Listed(h *Hasher, name string) []uint64 {
	var listed []uint64
	if hash := h.HashString(name); s.Allow[Key{wire.AllowName, AnyExe, hash}] != 0 {
		listed = append(listed, hash[0])
	}
	for dots := strings.Count(name, "."); dots > 0 && len(listed) < maxListed; dots-- {
		name = name[strings.IndexByte(name, '.')+1:]
		hash := h.HashString(name)
		if dots <= maxDomains && s.Allow[Key{wire.AllowNameBelow, AnyExe, hash}] != 0 {
			listed = append(listed, ^hash[0])
		}
	}
	return listed
}

// below gives what the set allows in a folder: the bits of the longest entry that holds it.
func (s *Set) below(tree Tree) uint16 {
	for folder := tree.Folder; folder != ""; folder = parent(folder) {
		if bits, ok := s.Tree[Tree{tree.Subject, folder}]; ok {
			return bits
		}
	}
	return 0
}

// parent is the folder that a folder is in, both with a slash at the end; empty for the root.
func parent(folder string) string {
	return folder[:strings.LastIndexByte(folder[:len(folder)-1], '/')+1]
}

// within gives what the set allows for a prefix: the bits of the longest entry that holds all of it.
func (s *Set) within(c Contact) uint16 {
	for bits := c.Prefix.Bits(); bits >= 0; bits-- {
		c.Prefix = netip.PrefixFrom(c.Prefix.Addr(), bits).Masked()
		if found, ok := s.Egress[c]; ok {
			return found
		}
	}
	return 0
}

// Change is an entry that allows something else than it did. Was or Now is 0 for one that comes or goes, except in tries:
// there, while it stands, it says for its prefix what the sets before and after say.
type Change[K comparable] struct {
	Key      K
	Was, Now uint16
	// Old and New say whether the set before and after has the entry.
	Old, New bool
}

// Changes lead from one set to another, in a fixed order.
type Changes struct {
	Allow  []Change[Key]
	Tree   []Change[Tree]
	Egress []Change[Contact]
}

// Len is how many entries change.
func (c *Changes) Len() int {
	return len(c.Allow) + len(c.Tree) + len(c.Egress)
}

// Widens reports whether the changes only allow more. Then they need not take effect at once: whatever part of them a
// program sees, what both sets allow is allowed, and what both refuse is refused.
func (c *Changes) Widens() bool {
	return widens(c.Allow) && widens(c.Tree) && widens(c.Egress)
}

func widens[K comparable](changes []Change[K]) bool {
	return !slices.ContainsFunc(changes, func(c Change[K]) bool { return !c.New || c.Was&^c.Now != 0 })
}

// Diff gives the changes that lead from one set to another. A nil set is an empty one.
func Diff(from, to *Set) Changes {
	if from == nil {
		from = NewSet()
	}
	if to == nil {
		to = NewSet()
	}
	changes := Changes{
		Allow:  diff(from.Allow, to.Allow, func(s bool, k Key) uint16 { return pick(s, from, to).Allow[k] }),
		Tree:   diff(from.Tree, to.Tree, func(s bool, k Tree) uint16 { return pick(s, from, to).below(k) }),
		Egress: diff(from.Egress, to.Egress, func(s bool, k Contact) uint16 { return pick(s, from, to).within(k) }),
	}
	slices.SortFunc(changes.Allow, func(a, b Change[Key]) int { return CompareKeys(a.Key, b.Key) })
	slices.SortFunc(changes.Tree, func(a, b Change[Tree]) int { return CompareTrees(a.Key, b.Key) })
	slices.SortFunc(changes.Egress, func(a, b Change[Contact]) int { return CompareContacts(a.Key, b.Key) })
	return changes
}

func pick(second bool, from, to *Set) *Set {
	if second {
		return to
	}
	return from
}

// diff compares two sides; lookup gives what a side says of an entry that it does not have.
func diff[K comparable](from, to map[K]uint16, lookup func(second bool, key K) uint16) []Change[K] {
	var changes []Change[K]
	for key, was := range from {
		now, ok := to[key]
		if !ok {
			now = lookup(true, key)
		}
		if !ok || now != was {
			changes = append(changes, Change[K]{Key: key, Was: was, Now: now, Old: true, New: ok})
		}
	}
	for key, now := range to {
		if _, ok := from[key]; !ok {
			changes = append(changes, Change[K]{Key: key, Was: lookup(false, key), Now: now, New: true})
		}
	}
	return changes
}

// CompareKeys orders entries.
func CompareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.Subject, b.Subject),
		cmp.Compare(a.Object[0], b.Object[0]), cmp.Compare(a.Object[1], b.Object[1]))
}

// CompareTrees orders folders.
func CompareTrees(a, b Tree) int {
	return cmp.Or(cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Folder, b.Folder))
}

// CompareContacts orders contacts.
func CompareContacts(a, b Contact) int {
	return cmp.Or(cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol),
		a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
}
