// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// ErrRefused says that a profile or a change of one cannot be taken. It comes with what is wrong, line by line.
var ErrRefused = errors.New("refused")

// ErrInUse says that what is to be forgotten is still used.
var ErrInUse = errors.New("in use")

// Profile is what is known of a key, without texts.
type Profile struct {
	Key profile.Key
	// Version is that of the effective profile, 0 for none; Changed is when it came to be.
	Version uint64
	Changed time.Time
	// Entries counts the effective ones, Candidates those that wait for a person.
	Entries, Candidates int
	// States are the weakest of all nodes.
	States map[profile.Signal]profile.State
	// Overlay is the newest one; its version is 0 if there never was one.
	Overlay store.Overlay
	// Nodes are those that have observed the key or have announced it, by name.
	Nodes []ProfileNode
	// Trouble says what could not be taken into account, empty if nothing.
	Trouble string
	// Conflicts are those of Kubernetes objects about the key.
	Conflicts []ObjectConflict
}

// ProfileNode is a node that has to do with a key. Received is zero if it has observed nothing.
type ProfileNode struct {
	store.Observed
	// Announced says that the node is connected and runs the key.
	Announced bool
}

// Profiles returns what is known of every key, by key.
func (f *Fleet) Profiles(ctx context.Context) ([]Profile, error) {
	observed, err := f.store.ListObserved(ctx, "")
	if err != nil {
		return nil, err
	}
	overlays, err := f.store.ListOverlays(ctx)
	if err != nil {
		return nil, err
	}
	all := map[profile.Key]*Profile{}
	at := func(key profile.Key) *Profile {
		if all[key] == nil {
			all[key] = f.book.describe(key)
		}
		return all[key]
	}
	for _, key := range f.book.keys() {
		at(key)
	}
	for _, o := range observed {
		p := at(o.Key)
		p.Nodes = append(p.Nodes, ProfileNode{Observed: o})
		for signal, state := range o.States {
			if known, ok := p.States[signal]; !ok || rank(state) < rank(known) {
				p.States[signal] = state
			}
		}
	}
	for _, o := range overlays {
		// An overlay that was removed, of a key of which nothing else is known, is history.
		if all[o.Key] != nil || o.Entries > 0 {
			at(o.Key).Overlay = o
		}
	}
	for _, s := range f.snapshot() {
		for _, key := range s.Announced() {
			if p := all[key]; p != nil {
				p.announced(s.node)
			}
		}
	}
	for key, conflicts := range f.conflictsByKey() {
		at(key).Conflicts = conflicts
	}
	list := make([]Profile, 0, len(all))
	for _, p := range all {
		list = append(list, *p)
	}
	slices.SortFunc(list, func(a, b Profile) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	return list, nil
}

// announced notes that a node runs the key.
func (p *Profile) announced(node string) {
	i, known := slices.BinarySearchFunc(p.Nodes, node, func(n ProfileNode, name string) int { return cmp.Compare(n.Node, name) })
	if !known {
		p.Nodes = slices.Insert(p.Nodes, i, ProfileNode{Observed: store.Observed{Node: node, Key: p.Key}})
	}
	p.Nodes[i].Announced = true
}

// Profile returns what is known of one key; store.ErrNotFound when nothing is.
func (f *Fleet) Profile(ctx context.Context, key profile.Key) (Profile, error) {
	all, err := f.Profiles(ctx)
	if err != nil {
		return Profile{}, err
	}
	for _, p := range all {
		if p.Key == key {
			return p, nil
		}
	}
	return Profile{}, fmt.Errorf("profile of %s: %w", key, store.ErrNotFound)
}

// LayerName names a layer of a key.
type LayerName string

// The layers. Merged is what all nodes have observed, Observed what one has.
const (
	LayerEffective LayerName = "effective"
	LayerMerged    LayerName = "merged"
	LayerObserved  LayerName = "observed"
	LayerOverlay   LayerName = "overlay"
)

// Layer is one layer of a key.
type Layer struct {
	Name LayerName
	// Version is the effective profile's, the overlay's or the node's; 0 where the layer has none.
	Version uint64
	// Profile is nil where there is nothing.
	Profile *profile.Profile
}

// Text is the layer in the file format, empty where there is nothing.
func (l Layer) Text() string {
	if l.Profile == nil {
		return ""
	}
	return string(profile.Encode(l.Profile))
}

// Layer reads a layer of a key. The node is for LayerObserved, the version for LayerOverlay, 0 for the newest. It returns
// store.ErrNotFound when there is no such node or version, and ErrPolicy for a layer that there is not.
func (f *Fleet) Layer(ctx context.Context, key profile.Key, name LayerName, node string, version uint64) (Layer, error) {
	switch name {
	case LayerOverlay:
		return f.overlayLayer(ctx, key, version)
	case LayerEffective, LayerMerged, LayerObserved:
	default:
		return Layer{}, fmt.Errorf("layer %q is none of effective, merged, observed and overlay: %w", name, ErrPolicy)
	}
	l, err := f.layers(ctx, key)
	if err != nil {
		return Layer{}, err
	}
	switch name {
	case LayerEffective:
		return Layer{Name: name, Version: f.book.version(key), Profile: l.effective}, nil
	case LayerMerged:
		return Layer{Name: name, Profile: l.merged}, nil
	}
	observed, err := f.store.ListObserved(ctx, node)
	if err != nil {
		return Layer{}, err
	}
	for _, o := range observed {
		if o.Key == key && o.Node == node {
			return Layer{Name: name, Version: o.Version, Profile: l.observed[node]}, nil
		}
	}
	return Layer{}, fmt.Errorf("what node %q has observed of %s: %w", node, key, store.ErrNotFound)
}

func (f *Fleet) overlayLayer(ctx context.Context, key profile.Key, version uint64) (Layer, error) {
	written, err := f.written(ctx, key)
	if version != 0 {
		written, err = f.store.Overlay(ctx, key, version)
	}
	if err != nil {
		return Layer{}, err
	}
	p, err := readOverlay(written)
	return Layer{Name: LayerOverlay, Version: written.Version, Profile: p}, err
}

// OverlayHistory returns the versions of a key's overlay that are kept, the newest first, without texts.
func (f *Fleet) OverlayHistory(ctx context.Context, key profile.Key) ([]store.Overlay, error) {
	return f.store.OverlayHistory(ctx, key)
}

// Change is how two profiles differ in one entry.
type Change struct {
	// What is added, removed or changed.
	What string
	Kind profile.EntryKind
	// Process is the executable whose entry it is.
	Process string
	// Before and After are for people what the entry says and where it comes from; empty where it is not there.
	Before, After string
	BeforeOrigin  profile.Origin
	AfterOrigin   profile.Origin
}

// Diff says how two profiles differ; either may be nil. Counts and times make no difference.
func Diff(from, to *profile.Profile) []Change {
	before, order := entriesByID(from, nil)
	after, order := entriesByID(to, order)
	var changes []Change
	for _, id := range order {
		b, was := before[id]
		a, is := after[id]
		switch {
		case was && is && a.Text == b.Text && a.Seen.Origin == b.Seen.Origin:
		case was && is:
			changes = append(changes, Change{"changed", a.Kind, a.Process, b.Text, a.Text, b.Seen.Origin, a.Seen.Origin})
		case is:
			changes = append(changes, Change{What: "added", Kind: a.Kind, Process: a.Process, After: a.Text, AfterOrigin: a.Seen.Origin})
		default:
			changes = append(changes, Change{What: "removed", Kind: b.Kind, Process: b.Process, Before: b.Text, BeforeOrigin: b.Seen.Origin})
		}
	}
	slices.SortStableFunc(changes, func(a, b Change) int { return strings.Compare(a.Process, b.Process) })
	return changes
}

// entriesByID are the entries of a profile, and their IDs behind those given, each once.
func entriesByID(p *profile.Profile, order []string) (map[string]profile.Entry, []string) {
	byID := map[string]profile.Entry{}
	if p == nil {
		return byID, order
	}
	seen := map[string]bool{}
	for _, id := range order {
		seen[id] = true
	}
	for _, e := range p.Entries() {
		id := e.ID()
		byID[id] = e
		if !seen[id] {
			order = append(order, id)
		}
	}
	return byID, order
}

// keys are those that have an effective profile.
func (b *book) keys() []profile.Key {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Keys(b.known))
}

// describe is what the book says of a key.
func (b *book) describe(key profile.Key) *Profile {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.known[key]
	return &Profile{
		Key: key, Version: e.Version, Changed: e.Changed, Entries: e.Entries, Candidates: b.candidates[key], Trouble: b.troubles[key],
		States: map[profile.Signal]profile.State{}, Overlay: store.Overlay{Key: key},
	}
}
