// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Edited is what a change of an overlay has led to.
type Edited struct {
	Key profile.Key
	// Overlay and Version are the versions of the overlay and of the effective profile; 0 where there is none.
	Overlay, Version uint64
	// Changes are those of the effective profile, or of the overlay where only that has changed.
	Changes []Change
	// Object is the namespace and name of the Kubernetes object whose overlay a person has changed; empty if it was none's.
	Object string
}

// edit is a change of one overlay that is checked and ready to be written.
type edit struct {
	before  *layers
	after   *profile.Profile
	action  string
	reasons Author
}

// PutOverlay replaces the overlay of a key with a file, or removes it if the text is empty. base is the version that the
// author has seen, 0 for none; store.ErrChanged says that there is another one. A nil base is whatever there is. A text
// that cannot be taken is ErrRefused.
func (f *Fleet) PutOverlay(ctx context.Context, key profile.Key, text string, base *uint64, by Author) (Edited, error) {
	if err := checkEdit(key, by); err != nil {
		return Edited{}, err
	}
	var after *profile.Profile
	action := "remove"
	if text != "" {
		action = "edit"
		p, err := decodeOverlay("overlay", text)
		if err != nil {
			return Edited{}, err
		}
		if p.Key != key {
			return Edited{}, fmt.Errorf("%w: the text is of %s, not of %s", ErrRefused, p.Key, key)
		}
		after = p
	}
	f.editing.Lock()
	defer f.editing.Unlock()
	before, err := f.layers(ctx, key)
	if err != nil {
		return Edited{}, err
	}
	if base != nil && *base != before.written.Version {
		return Edited{}, fmt.Errorf("the overlay of %s is at version %d, not %d: %w", key, before.written.Version, *base, store.ErrChanged)
	}
	edited, err := f.write(ctx, edit{before: before, after: after, action: action, reasons: by})
	if err != nil {
		return Edited{}, err
	}
	return edited[0], nil
}

// Import makes each text the overlay of the key that it names, all or none. Texts may hold several profiles each.
func (f *Fleet) Import(ctx context.Context, texts []string, by Author) ([]Edited, error) {
	if err := by.Check(); err != nil {
		return nil, err
	}
	var all []*profile.Profile
	var problems []error
	seen := map[profile.Key]int{}
	for i, text := range texts {
		documents, err := decodeOverlays(fmt.Sprintf("profile %d", i+1), text)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		for _, d := range documents {
			key := d.Profile.Key
			if first, twice := seen[key]; twice {
				problems = append(problems, fmt.Errorf("%w: profile %d: %s is there already, in profile %d", ErrRefused, i+1, key, first))
			}
			seen[key] = i + 1
			all = append(all, d.Profile)
		}
	}
	if len(all) == 0 && len(problems) == 0 {
		return nil, fmt.Errorf("%w: no profile", ErrRefused)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	f.editing.Lock()
	defer f.editing.Unlock()
	var edits []edit
	for _, p := range all {
		before, err := f.layers(ctx, p.Key)
		if err != nil {
			return nil, err
		}
		edits = append(edits, edit{before: before, after: p, action: "import", reasons: by})
	}
	return f.write(ctx, edits...)
}

// Forget removes all that is known of a key but the history of its overlay, here and on the nodes: those that are connected are
// told now, others when they come back. Learning begins anew when the workload runs again. ErrInUse says that a connected
// node runs it.
func (f *Fleet) Forget(ctx context.Context, key profile.Key, by Author) (Edited, error) {
	if err := checkEdit(key, by); err != nil {
		return Edited{}, err
	}
	f.editing.Lock()
	defer f.editing.Unlock()
	for _, s := range f.snapshot() {
		if slices.Contains(s.Announced(), key) {
			return Edited{}, fmt.Errorf("node %s runs %s: %w", s.node, key, ErrInUse)
		}
	}
	before, err := f.layers(ctx, key)
	if err != nil {
		return Edited{}, err
	}
	if before.merged == nil && before.overlay == nil {
		return Edited{}, fmt.Errorf("profile of %s: %w", key, store.ErrNotFound)
	}
	if err := f.remove(ctx, key); err != nil {
		return Edited{}, err
	}
	f.log.Info("profile removed", "profile", key.String(), "author", by.Name, "reason", by.Reason)
	if before.overlay == nil {
		version, err := f.refresh(ctx, key)
		return Edited{Key: key, Overlay: before.written.Version, Version: version, Changes: Diff(before.effective, nil)}, err
	}
	edited, err := f.write(ctx, edit{before: before, action: "remove", reasons: by})
	if err != nil {
		return Edited{}, err
	}
	return edited[0], nil
}

// Candidates returns the entries of a key that wait for a person, and the version of its overlay.
func (f *Fleet) Candidates(ctx context.Context, key profile.Key) ([]profile.Entry, uint64, error) {
	l, err := f.layers(ctx, key)
	if err != nil {
		return nil, 0, err
	}
	if l.effective == nil {
		return nil, 0, fmt.Errorf("profile of %s: %w", key, store.ErrNotFound)
	}
	waiting, err := l.candidates()
	return waiting, l.written.Version, err
}

// Decide approves or rejects candidates by their IDs, or all of them for nil. An ID that is not a candidate's is
// store.ErrNotFound.
func (f *Fleet) Decide(ctx context.Context, key profile.Key, ids []string, approve bool, by Author) (Edited, error) {
	if err := checkEdit(key, by); err != nil {
		return Edited{}, err
	}
	f.editing.Lock()
	defer f.editing.Unlock()
	before, err := f.layers(ctx, key)
	if err != nil {
		return Edited{}, err
	}
	waiting, err := before.candidates()
	if err != nil {
		return Edited{}, err
	}
	chosen, err := choose(waiting, ids)
	if err != nil {
		return Edited{}, fmt.Errorf("%s: %w", key, err)
	}
	action, decide := "approve", profile.Approve
	if !approve {
		action, decide = "reject", profile.Reject
	}
	after, err := decide(before.overlay, key, chosen, by.Name, by.Reason, f.now())
	if err != nil {
		return Edited{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	edited, err := f.write(ctx, edit{before: before, after: after, action: action, reasons: by})
	if err != nil {
		return Edited{}, err
	}
	return edited[0], nil
}

func choose(candidates []profile.Entry, ids []string) ([]profile.Entry, error) {
	if ids == nil {
		if len(candidates) == 0 {
			return nil, fmt.Errorf("no entry waits to be decided: %w", store.ErrNotFound)
		}
		return candidates, nil
	}
	var chosen []profile.Entry
	for _, id := range ids {
		e, ok := profile.Find(candidates, id)
		if !ok {
			return nil, fmt.Errorf("candidate %.40q: %w", id, store.ErrNotFound)
		}
		chosen = append(chosen, e)
	}
	return chosen, nil
}

// write checks edits, stores all or none of them, and brings what agents are told up to date. The caller holds editing.
func (f *Fleet) write(ctx context.Context, edits ...edit) ([]Edited, error) {
	now := f.now()
	overlays := make([]store.Overlay, len(edits))
	for i, e := range edits {
		o := store.Overlay{
			Key: e.before.key, Base: e.before.written.Version, Written: now, Author: e.reasons.Name, Reason: e.reasons.Reason, Action: e.action,
		}
		if e.after != nil {
			effective, err := profile.Effective(e.before.merged, e.after)
			if err == nil {
				_, err = tellable(o.Key, effective)
			}
			if err != nil {
				return nil, fmt.Errorf("%w: %s: %w", ErrRefused, o.Key, err)
			}
			text, err := bounded(profile.Encode(e.after))
			if err == nil {
				// What could not be read again must not be stored.
				_, err = decodeProfile("overlay", text)
			}
			if err != nil {
				return nil, fmt.Errorf("%w: %s: %w", ErrRefused, o.Key, err)
			}
			o.Text, o.Entries = text, e.after.Len()
		}
		overlays[i] = o
	}
	versions, err := f.store.PutOverlays(ctx, overlays...)
	if err != nil {
		return nil, err
	}
	edited := make([]Edited, len(edits))
	for i, e := range edits {
		key := e.before.key
		f.log.Info("overlay written", "profile", key.String(), "version", versions[i], "action", e.action, "author", e.reasons.Name, "reason", e.reasons.Reason)
		edited[i] = Edited{Key: key, Overlay: versions[i]}
		if e.before.written.Action == ObjectAction && ObjectOf(e.reasons.Name) == "" {
			edited[i].Object = ObjectOf(e.before.written.Author)
		}
		// What is stored is told: now, or when it can be computed.
		f.book.again(key)
		if edited[i].Version, err = f.refresh(ctx, key); err != nil {
			return nil, fmt.Errorf("the overlay is stored as version %d, and agents are told later: %w", versions[i], err)
		}
		after, err := f.layers(ctx, key)
		if err != nil {
			return nil, err
		}
		edited[i].Changes = Diff(e.before.effective, after.effective)
	}
	return edited, nil
}

// checkEdit checks what every change of a profile needs.
func checkEdit(key profile.Key, by Author) error {
	if err := key.Validate(); err != nil {
		return fmt.Errorf("the profile's name: %w: %w", err, ErrPolicy)
	}
	return by.Check()
}

// decodeOverlay reads a file that a person wrote, of one profile.
func decodeOverlay(name, text string) (*profile.Profile, error) {
	documents, err := decodeOverlays(name, text)
	if err != nil {
		return nil, err
	}
	if len(documents) != 1 {
		return nil, fmt.Errorf("%w: %s: %d profiles where one is expected", ErrRefused, name, len(documents))
	}
	return documents[0].Profile, nil
}

func decodeOverlays(name, text string) ([]profile.Document, error) {
	if len(text) > apiv1.MaxProfile {
		return nil, fmt.Errorf("%w: %s: %d bytes are more than %d", ErrRefused, name, len(text), apiv1.MaxProfile)
	}
	documents, err := profile.Decode(name, []byte(text))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	for _, d := range documents {
		if len(d.Modes) > 0 {
			return nil, fmt.Errorf("%w: %s:%d: modes are set by themselves, not with an overlay", ErrRefused, name, d.Line)
		}
	}
	return documents, nil
}
