// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"fmt"
	"slices"
	"time"
)

// Amend returns an overlay with a change, which is an overlay itself: what the change adds is added, even if the overlay
// removed it before, and what the change removes is removed, even if the overlay added it. Either may be nil. ErrLimit says
// that there would be more than MaxEntries entries.
func Amend(overlay, change *Profile) (*Profile, error) {
	if change == nil {
		change = &Profile{}
	}
	if overlay == nil {
		overlay = &Profile{Key: change.Key}
	}
	amended := &Profile{Key: overlay.Key, Images: overlay.Images, Signals: overlay.Signals}
	for i := range overlay.Processes {
		p := overlay.Processes[i]
		for j := range change.Processes {
			if q := &change.Processes[j]; q.Path == p.Path {
				p = p.yield(q)
			}
		}
		if p.Seen.Origin != Context && (p.Path != Any || p.Seen.Origin != Written) || p.len() > 1 {
			amended.Processes = append(amended.Processes, p)
		}
	}
	amended.Processes = append(amended.Processes, change.Processes...)
	amended.Normalise()
	if n := amended.Len(); n > MaxEntries {
		return nil, fmt.Errorf("amend the overlay of %s: %w: %d, at most %d", overlay.Key, ErrLimit, n, MaxEntries)
	}
	return amended, nil
}

// yield is what is left of a process of an overlay when another of its path comes after it: nothing that the other says
// the opposite of.
func (p Process) yield(q *Process) Process {
	adds := q.Seen.Allows() && q.Path != Any
	switch {
	case q.Seen.Origin == Removed && p.Seen.Allows():
		bits := uint8(0)
		if len(q.Sources) > 0 {
			bits = sourceBits(p.Sources) &^ sourceBits(q.Sources)
		}
		if bits == 0 {
			return Process{Path: p.Path, Seen: Provenance{Origin: Context}}
		}
		p.Sources = sourcesOf(bits)
	case p.Seen.Origin == Removed && adds:
		if len(p.Sources) == 0 {
			return Process{Path: p.Path, Seen: Provenance{Origin: Context}}
		}
		bits := sourceBits(p.Sources) &^ sourceBits(q.Sources)
		if bits == 0 {
			return Process{Path: p.Path, Seen: Provenance{Origin: Context}}
		}
		p.Sources = sourceList(bits)
	}
	p.Parents = yielded(p.Parents, q.Parents)
	p.Arguments = yielded(p.Arguments, q.Arguments)
	p.Libraries = yielded(p.Libraries, q.Libraries)
	p.Files = yielded(p.Files, q.Files)
	p.Egress = yielded(p.Egress, q.Egress)
	p.Listen = yielded(p.Listen, q.Listen)
	p.Sockets = yielded(p.Sockets, q.Sockets)
	p.Capabilities = yielded(p.Capabilities, q.Capabilities)
	return p
}

// yielded are the items that nothing which comes after them says the opposite of. A removal yields to an addition that is
// the same, or wider: one that removes more than is added still holds for the rest.
func yielded[T item[T]](items, later []T) []T {
	var left []T
	for _, x := range items {
		keep := true
		for i := 0; keep && i < len(later); i++ {
			if (x.provenance().Origin == Removed) != (later[i].provenance().Origin == Removed) {
				x, keep = x.minus(later[i])
			}
		}
		if keep {
			left = append(left, x)
		}
	}
	return left
}

// Candidates returns what waits for a person to confirm it: entries of an observed profile that were not learned in the
// ordinary way, less those that the overlay has decided on and those that are allowed anyhow. What a process did that
// waits itself is listed with it, not by itself, unless its executable is allowed. The overlay may be nil.
func Candidates(observed, overlay *Profile) ([]Entry, error) {
	effective, err := Effective(observed, overlay)
	if err != nil {
		return nil, err
	}
	allows := allowedItems(effective)
	var rejected masks
	if overlay != nil {
		rejected = masksOf(overlay)
	}
	var candidates []Entry
	for i := range observed.Processes {
		p := &observed.Processes[i]
		waits := p.Seen.Origin == Candidate
		if waits {
			p = rejected.undecided(p)
		}
		if p == nil {
			continue
		}
		one := Profile{Key: observed.Key, Processes: []Process{*p}}
		entries := one.Entries()
		waits = waits && !slices.ContainsFunc(entries, func(e Entry) bool { return e.Kind == ProcessEntry && allows.has(e) })
		for _, e := range entries {
			if e.Seen.Origin != Candidate || waits && e.Kind != ProcessEntry {
				continue
			}
			if waits {
				e.part = *p
			}
			if !rejected.rejects(e) && !allows.has(e) {
				candidates = append(candidates, e)
			}
		}
	}
	return candidates, nil
}

// undecided is what is left of a process that waits, less what was rejected; nil if that is nothing.
func (m masks) undecided(p *Process) *Process {
	q := *p
	q.Seen.Origin = Learned
	left, keep := m.left(&q)
	if !keep {
		return nil
	}
	q = *p
	q.Sources = left.Sources
	return &q
}

// rejects reports whether an overlay takes away all of what an entry of a process stands for.
func (m masks) rejects(e Entry) bool {
	p := e.part
	if e.Kind == ProcessEntry {
		return false
	}
	p.provenances(func(s *Provenance) { s.Origin = Learned })
	p.Seen = Provenance{Origin: Context}
	left, keep := m.left(&p)
	return !keep || left.len() == 1
}

// allowedItems looks up what a profile allows, entry by entry.
type allowedSet struct {
	effective *Profile
	byPath    map[string]*Process
}

func allowedItems(effective *Profile) allowedSet {
	s := allowedSet{effective: effective, byPath: make(map[string]*Process)}
	for i := range effective.Processes {
		s.byPath[effective.Processes[i].Path] = &effective.Processes[i]
	}
	return s
}

// has reports whether all that an entry stands for is allowed already.
func (s allowedSet) has(e Entry) bool {
	q := s.byPath[e.part.Path]
	if q == nil {
		return false
	}
	if e.Kind == ProcessEntry {
		return q.Executable() && sourceBits(e.part.Sources)&^sourceBits(q.Sources) == 0
	}
	if e.Kind == ArgumentEntry && q.AnyArguments {
		return true
	}
	// What is allowed takes the entry away as if it removed it.
	mask := masks{byPath: map[string]*Process{e.part.Path: q}}
	if every := s.byPath[Any]; every != nil {
		mask.all = *every
	}
	return mask.rejects(e)
}

// Approve returns an overlay that allows candidates which a person has confirmed, with what a process that waited has
// done. Author and reason are kept with each entry.
func Approve(overlay *Profile, key Key, candidates []Entry, author, reason string, at time.Time) (*Profile, error) {
	return decide(overlay, key, candidates, Provenance{Origin: Written, Author: author, Reason: reason, First: second(at), Last: second(at)})
}

// Reject returns an overlay that takes away candidates which a person does not want to be asked about again. They are not
// allowed if they are learned in the ordinary way later, either.
func Reject(overlay *Profile, key Key, candidates []Entry, author, reason string, at time.Time) (*Profile, error) {
	return decide(overlay, key, candidates, Provenance{Origin: Removed, Author: author, Reason: reason, First: second(at), Last: second(at)})
}

func decide(overlay *Profile, key Key, candidates []Entry, seen Provenance) (*Profile, error) {
	change := &Profile{Key: key}
	for _, e := range candidates {
		part := e.Part(key, seen)
		p := &part.Processes[0]
		if e.Kind == ProcessEntry && seen.Origin == Removed {
			*p = Process{Path: p.Path, Sources: sourceList(sourceBits(p.Sources)), Seen: seen}
		} else {
			p.provenances(func(s *Provenance) {
				if s.Origin != Context {
					*s = seen
				}
			})
		}
		change.Processes = append(change.Processes, *p)
	}
	change.Normalise()
	if overlay == nil {
		overlay = &Profile{Key: key}
	}
	return Amend(overlay, change)
}

// Find returns the entry with an ID.
func Find(entries []Entry, id string) (Entry, bool) {
	i := slices.IndexFunc(entries, func(e Entry) bool { return e.ID() == id })
	if i < 0 {
		return Entry{}, false
	}
	return entries[i], true
}
