// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// ErrHeld says that what people have written or set is in the way of an object, and stays in force.
var ErrHeld = errors.New("in conflict")

// ObjectAction is the action of an overlay that a Kubernetes object is.
const ObjectAction = "object"

// objectAuthor begins the author of what an object says. No person can have such a name.
const objectAuthor = "kubernetes: "

// ObjectAuthor is the author of what an object says: its namespace and name, and in brackets who wrote it last.
func ObjectAuthor(namespace, name, manager string) string {
	return objectAuthor + namespace + "/" + name + " (" + manager + ")"
}

// ObjectOf is the namespace and name of the object that is an author; empty if the author is none.
func ObjectOf(author string) string {
	rest, ok := strings.CutPrefix(author, objectAuthor)
	if !ok {
		return ""
	}
	object, _, _ := strings.Cut(rest, " (")
	return object
}

// PutObject makes an object's profile the overlay of its key, or takes the overlay of an object away if it is nil. It
// replaces what an object wrote before. It replaces what people wrote only if it says the same of every entry that they
// have changed; otherwise the error is ErrHeld, and what they wrote stays in force. What cannot be taken is ErrRefused. To write
// what is there already changes nothing.
func (f *Fleet) PutObject(ctx context.Context, key profile.Key, after *profile.Profile, by Author) (Edited, error) {
	if err := key.Validate(); err != nil {
		return Edited{}, fmt.Errorf("the profile's name: %w: %w", err, ErrRefused)
	}
	if err := by.answers(); err != nil {
		return Edited{}, err
	}
	f.editing.Lock()
	defer f.editing.Unlock()
	before, err := f.layers(ctx, key)
	if err != nil {
		return Edited{}, err
	}
	written := before.written
	unchanged := Edited{Key: key, Overlay: written.Version, Version: f.book.version(key)}
	if len(written.Text) > 0 && written.Action != ObjectAction {
		if after == nil {
			return unchanged, nil
		}
		if err := f.honours(ctx, before, after); err != nil {
			return Edited{}, err
		}
	}
	e := edit{before: before, after: after, action: ObjectAction, reasons: by}
	switch {
	case after == nil && len(written.Text) == 0:
		return unchanged, nil
	case after == nil:
		e.action = "remove"
	case written.Action == ObjectAction && ObjectOf(written.Author) == ObjectOf(by.Name) && string(written.Text) == string(profile.Encode(after)):
		return unchanged, nil
	}
	edited, err := f.write(ctx, e)
	if err != nil {
		return Edited{}, err
	}
	return edited[0], nil
}

// honours returns ErrHeld if an object says otherwise than people do in what they have changed since an object wrote last.
func (f *Fleet) honours(ctx context.Context, before *layers, after *profile.Profile) error {
	if before.overlay == nil {
		return fmt.Errorf("%w: the overlay that %s wrote cannot be read", ErrHeld, before.written.Author)
	}
	last, err := f.lastObject(ctx, before.key)
	if err != nil {
		return err
	}
	missing := contradictions(last, before.overlay, after)
	if len(missing) == 0 {
		return nil
	}
	o := before.written
	return fmt.Errorf("%w: %s wrote version %d of the overlay (%s), which stays in force: %s; say the same in the object, or give "+
		"the overlay back to it by emptying it: holdfast profile edit %s", ErrHeld, o.Author, o.Version, o.Reason, sample(missing), before.key)
}

// lastObject is the newest overlay of a key that an object wrote, nil if none is kept.
func (f *Fleet) lastObject(ctx context.Context, key profile.Key) (*profile.Profile, error) {
	history, err := f.store.OverlayHistory(ctx, key)
	if err != nil {
		return nil, err
	}
	for _, o := range history {
		if o.Action == ObjectAction {
			written, err := f.store.Overlay(ctx, key, o.Version)
			if err != nil {
				return nil, err
			}
			return readOverlay(written)
		}
	}
	return nil, nil
}

// contradictions are, for people, the entries that they have changed from one overlay to the next and of which an object does
// not say the same.
func contradictions(from, to, object *profile.Profile) []string {
	before, order := entriesByID(from, nil)
	now, order := entriesByID(to, order)
	said, _ := entriesByID(object, nil)
	var missing []string
	for _, id := range order {
		b, was := before[id]
		n, is := now[id]
		s, says := said[id]
		switch {
		case was && is && same(b, n):
		case is && !(says && same(n, s)):
			missing = append(missing, "it lacks "+describeEntry(n))
		case !is && says:
			missing = append(missing, "it has "+describeEntry(s))
		}
	}
	return missing
}

// same reports whether two entries of one ID say the same, wherever they come from.
func same(a, b profile.Entry) bool {
	return a.Text == b.Text && a.Seen.Allows() == b.Seen.Allows()
}

func describeEntry(e profile.Entry) string {
	text := fmt.Sprintf("%s %s", e.Kind, e.Text)
	if e.Kind != profile.ProcessEntry {
		text += " of " + e.Process
	}
	if e.Seen.Origin == profile.Removed {
		text += ", removed"
	}
	return text
}

// maxSample is how many of many things a message names.
const maxSample = 3

func sample(all []string) string {
	text := strings.Join(all[:min(len(all), maxSample)], ", ")
	if more := len(all) - maxSample; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}

// Live returns the nodes that are connected, with what they said last. It asks nothing of the store.
func (f *Fleet) Live() []Node {
	var all []Node
	for _, s := range f.snapshot() {
		all = append(all, Node{Node: s.known(), Connected: true})
	}
	return all
}

// EffectiveVersion is the version of what agents are told of a key, 0 for nothing. It asks nothing of the store.
func (f *Fleet) EffectiveVersion(key profile.Key) uint64 { return f.book.version(key) }

// Overlays are the newest versions of all overlays, by key, without texts.
func (f *Fleet) Overlays(ctx context.Context) ([]store.Overlay, error) {
	return f.store.ListOverlays(ctx)
}

// SetObjectModes makes these settings the ones that objects have made, in place of those before, and tells every connected
// agent if that changes anything. Each has its author and reason, and none has an end. A signal for which people have a
// setting of the same pattern is left to them: it is taken out of the list that was given, and the setting's part of conflicts,
// which is as long as the list, says so.
func (f *Fleet) SetObjectModes(ctx context.Context, settings []store.ModeSetting) (conflicts [][]string, err error) {
	now := f.now()
	for i := range settings {
		s := &settings[i]
		if err := errors.Join(Author{Name: s.Author, Reason: s.Reason}.answers(), checkMode(s, now)); err != nil {
			return nil, fmt.Errorf("setting of %s: %w", s.Author, err)
		}
		s.Set = now
	}
	f.setting.Lock()
	defer f.setting.Unlock()
	all, _, err := f.store.Modes(ctx)
	if err != nil {
		return nil, err
	}
	change := store.ModeChange{At: now, Author: "holdfast", Reason: "the Kubernetes object was changed, removed, or is in conflict"}
	kept := map[uint64]bool{}
	conflicts = make([][]string, len(settings))
	for i := range settings {
		s := &settings[i]
		s.Signals, conflicts[i] = left(*s, all)
		if s.Signals != nil && !keeps(all, *s, kept) {
			change.Add = append(change.Add, *s)
		}
	}
	for _, old := range all {
		if ObjectOf(old.Author) != "" && !kept[old.ID] {
			change.End = append(change.End, old.ID)
		}
	}
	if len(change.Add)+len(change.End) == 0 {
		return conflicts, nil
	}
	if err := f.roomFor(change.Add, change.End); err != nil {
		return nil, err
	}
	if _, _, err := f.store.ChangeModes(ctx, change); err != nil {
		return nil, err
	}
	return conflicts, f.spreadModes(ctx)
}

// left are the signals of an object's setting that no setting of people with the same pattern is about, and why the others
// are not. Nil if none is.
func left(s store.ModeSetting, all []store.ModeSetting) (signals []profile.Signal, conflicts []string) {
	taken := map[profile.Signal]bool{}
	for _, other := range all {
		if ObjectOf(other.Author) != "" || other.Workload != s.Workload || !other.Until.IsZero() {
			continue
		}
		var both []string
		for _, signal := range every(s.Signals) {
			if slices.Contains(every(other.Signals), signal) {
				taken[signal] = true
				both = append(both, string(signal))
			}
		}
		if len(both) > 0 {
			conflicts = append(conflicts, fmt.Sprintf("%s set %s of %s to %s, as setting %d (%s), which stays in force; to give way: holdfast mode clear %d",
				other.Author, strings.Join(both, ", "), other.Workload, other.Mode, other.ID, other.Reason, other.ID))
		}
	}
	for _, signal := range every(s.Signals) {
		if !taken[signal] {
			signals = append(signals, signal)
		}
	}
	return signals, conflicts
}

// every is a list of signals, of which none means those about deeds, written out.
func every(signals []profile.Signal) []profile.Signal {
	if len(signals) == 0 {
		return profile.Deeds()
	}
	return signals
}

// keeps reports whether a setting of an object is there already, and marks it.
func keeps(all []store.ModeSetting, s store.ModeSetting, kept map[uint64]bool) bool {
	for _, old := range all {
		if !kept[old.ID] && ObjectOf(old.Author) != "" && ObjectOf(old.Author) == ObjectOf(s.Author) && old.Workload == s.Workload &&
			old.Mode == s.Mode && slices.Equal(every(old.Signals), every(s.Signals)) && old.Until.IsZero() {
			kept[old.ID] = true
			return true
		}
	}
	return false
}

// ObjectConflict is something that an object says and that is not in force, since something else says otherwise.
type ObjectConflict struct {
	// Object is its kind, namespace and name.
	Object string
	// Key is the profile that it is about; Workload is the pattern, where it is about modes.
	Key      profile.Key
	Workload string
	Message  string
}

// SetObjectConflicts replaces what Profiles and ObjectConflicts tell of conflicts.
func (f *Fleet) SetObjectConflicts(all []ObjectConflict) {
	byKey := map[profile.Key][]ObjectConflict{}
	for _, c := range all {
		if c.Key != (profile.Key{}) {
			byKey[c.Key] = append(byKey[c.Key], c)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conflicts, f.keyConflicts = all, byKey
}

// ObjectConflicts are the conflicts of objects with others and with people.
func (f *Fleet) ObjectConflicts() []ObjectConflict {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.conflicts)
}

// conflictsByKey are those about profiles.
func (f *Fleet) conflictsByKey() map[profile.Key][]ObjectConflict {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.keyConflicts)
}
