// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Author is who changes something, and why.
type Author struct {
	Name   string
	Reason string
}

// Check returns ErrPolicy for a change that nobody answers for, and for a name that only objects have.
func (a Author) Check() error {
	if strings.HasPrefix(a.Name, objectAuthor) {
		return fmt.Errorf("%.80q is the name of an object, not of a person: %w", a.Name, ErrPolicy)
	}
	return a.answers()
}

// answers returns ErrPolicy for a change that nobody answers for.
func (a Author) answers() error {
	switch {
	case a.Name == "":
		return fmt.Errorf("nobody is named: %w", ErrPolicy)
	case strings.TrimSpace(a.Reason) == "":
		return fmt.Errorf("a reason is needed: %w", ErrPolicy)
	case len(a.Reason) > maxReason:
		return fmt.Errorf("a reason of %d bytes is longer than %d: %w", len(a.Reason), maxReason, ErrPolicy)
	}
	return nil
}

// loadModes is the modes as agents are told them.
func (f *Fleet) loadModes(ctx context.Context) (*apiv1.ModeSettings, error) {
	settings, version, err := f.store.Modes(ctx)
	if err != nil {
		return nil, err
	}
	m := &apiv1.ModeSettings{Version: version}
	for _, s := range holding(settings, f.now()) {
		m.Settings = append(m.Settings, modeMessage(s))
	}
	return m, nil
}

func modeMessage(s store.ModeSetting) *apiv1.ModeSetting {
	m := &apiv1.ModeSetting{
		Id: s.ID, Workload: s.Workload, Mode: string(s.Mode), Author: s.Author, Reason: s.Reason, SetNs: s.Set.UnixNano(),
	}
	for _, signal := range s.Signals {
		m.Signals = append(m.Signals, string(signal))
	}
	if !s.Until.IsZero() {
		m.UntilNs = s.Until.UnixNano()
	}
	return m
}

// maxModeBytes is how many bytes all modes may take together: they travel in one message.
const maxModeBytes = 2 << 20

// roomFor checks that agents can be told the modes with some more, when some have ended. The caller holds setting.
func (f *Fleet) roomFor(added []store.ModeSetting, ended []uint64) error {
	f.mu.Lock()
	told := f.modes
	f.mu.Unlock()
	size := 0
	for _, s := range added {
		size += proto.Size(modeMessage(s))
	}
	for _, m := range told.GetSettings() {
		if !slices.Contains(ended, m.GetId()) {
			size += proto.Size(m)
		}
	}
	if size > maxModeBytes {
		return fmt.Errorf("mode settings of %d bytes together are more than %d: %w", size, maxModeBytes, store.ErrTooMany)
	}
	return nil
}

// holding are the settings whose time is not over.
func holding(all []store.ModeSetting, now time.Time) []store.ModeSetting {
	return slices.DeleteFunc(slices.Clone(all), func(s store.ModeSetting) bool { return over(s, now) })
}

func over(s store.ModeSetting, now time.Time) bool { return !s.Until.IsZero() && !now.Before(s.Until) }

// Modes returns the settings that hold, by ID, and their version.
func (f *Fleet) Modes(ctx context.Context) ([]store.ModeSetting, uint64, error) {
	all, version, err := f.store.Modes(ctx)
	return holding(all, f.now()), version, err
}

// ModesOf returns the settings that hold and are about a workload's container, the one that counts first.
func (f *Fleet) ModesOf(ctx context.Context, namespace, workload, container string) ([]store.ModeSetting, uint64, error) {
	all, version, err := f.Modes(ctx)
	if err != nil {
		return nil, 0, err
	}
	about, err := settingsAbout(all, namespace+"/"+workload+"/"+container)
	return about, version, err
}

// settingsAbout gives the settings about namespace/workload/container in the order of profile.Setting.
func settingsAbout(all []store.ModeSetting, name string) ([]store.ModeSetting, error) {
	var about []store.ModeSetting
	for _, s := range all {
		m, err := store.Compile(store.Filter{Workload: s.Workload})
		if err != nil {
			return nil, fmt.Errorf("mode setting %d: %w", s.ID, err)
		}
		if m.Workload(name) {
			about = append(about, s)
		}
	}
	slices.SortFunc(about, func(a, b store.ModeSetting) int { return precedence(a).Compare(precedence(b)) })
	return about, nil
}

func precedence(s store.ModeSetting) profile.Setting {
	return profile.Setting{Workload: s.Workload, Set: s.Set, ID: s.ID, Until: s.Until}
}

// ModeHistory returns the newest settings, ended or not, the newest first, at most limit.
func (f *Fleet) ModeHistory(ctx context.Context, limit int) ([]store.ModeSetting, error) {
	return f.store.ModeHistory(ctx, limit)
}

// SetMode adds a setting and tells every connected agent. It returns the setting, those that it replaces, and the new
// version. Without an end it replaces those of the same pattern whose signals it covers; with one it replaces only others
// with an end, and what lies beneath holds again when it is over. What makes no sense is ErrPolicy.
func (f *Fleet) SetMode(ctx context.Context, s store.ModeSetting, by Author) (set store.ModeSetting, replaced []store.ModeSetting, version uint64, err error) {
	now := f.now()
	s.Author, s.Reason, s.Set = by.Name, by.Reason, now
	if err := by.Check(); err != nil {
		return s, nil, 0, err
	}
	if err := checkMode(&s, now); err != nil {
		return s, nil, 0, err
	}
	f.setting.Lock()
	defer f.setting.Unlock()
	all, _, err := f.store.Modes(ctx)
	if err != nil {
		return s, nil, 0, err
	}
	change := store.ModeChange{Add: []store.ModeSetting{s}, At: now, Author: by.Name, Reason: "replaced: " + by.Reason}
	for _, old := range all {
		switch {
		case over(old, now):
			change.End = append(change.End, old.ID)
		case old.Workload == s.Workload && covers(s.Signals, old.Signals) && (s.Until.IsZero() || !old.Until.IsZero()):
			change.End = append(change.End, old.ID)
			replaced = append(replaced, old)
		}
	}
	if err := f.roomFor(change.Add, change.End); err != nil {
		return s, nil, 0, err
	}
	version, ids, err := f.store.ChangeModes(ctx, change)
	if err != nil {
		return s, nil, 0, err
	}
	s.ID = ids[0]
	return s, replaced, version, f.spreadModes(ctx)
}

// ClearMode ends a setting and tells every connected agent; store.ErrNotFound when none has the ID, ErrHeld when an object
// has made it, which would make it again.
func (f *Fleet) ClearMode(ctx context.Context, id uint64, by Author) (store.ModeSetting, uint64, error) {
	if err := by.Check(); err != nil {
		return store.ModeSetting{}, 0, err
	}
	f.setting.Lock()
	defer f.setting.Unlock()
	all, _, err := f.store.Modes(ctx)
	if err != nil {
		return store.ModeSetting{}, 0, err
	}
	i := slices.IndexFunc(all, func(s store.ModeSetting) bool { return s.ID == id })
	if i < 0 {
		return store.ModeSetting{}, 0, fmt.Errorf("mode setting %d: %w", id, store.ErrNotFound)
	}
	if object := ObjectOf(all[i].Author); object != "" {
		return store.ModeSetting{}, 0, fmt.Errorf("mode setting %d is what the Kubernetes object %s says: change the object, or set another mode of the same pattern, which stays in force: %w",
			id, object, ErrHeld)
	}
	version, _, err := f.store.ChangeModes(ctx, store.ModeChange{End: []uint64{id}, At: f.now(), Author: by.Name, Reason: by.Reason})
	if err != nil {
		return store.ModeSetting{}, 0, err
	}
	return all[i], version, f.spreadModes(ctx)
}

// spreadModes tells every connected agent the modes. The caller holds setting.
func (f *Fleet) spreadModes(ctx context.Context) error {
	m, err := f.loadModes(ctx)
	if err != nil {
		return fmt.Errorf("the modes are stored, and agents learn of them when they connect: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.modes = m
	for _, s := range f.sessions {
		s.tellModes(m)
	}
	return nil
}

// covers reports whether a list of signals, of which none means those about deeds, covers another one.
func covers(wide, narrow []profile.Signal) bool {
	wide = every(wide)
	for _, s := range every(narrow) {
		if !slices.Contains(wide, s) {
			return false
		}
	}
	return true
}

// checkMode checks a setting and brings its signals into order.
func checkMode(s *store.ModeSetting, now time.Time) error {
	if err := checkSelection(s.Workload, nil); err != nil {
		return err
	}
	if _, err := profile.ParseMode(string(s.Mode)); err != nil {
		return fmt.Errorf("%w: %w", err, ErrPolicy)
	}
	for _, signal := range s.Signals {
		_, err := profile.ParseSignal(string(signal))
		if err = errors.Join(err, profile.CheckMode(signal, s.Mode)); err != nil {
			return fmt.Errorf("%w: %w", err, ErrPolicy)
		}
	}
	slices.Sort(s.Signals)
	s.Signals = slices.Compact(s.Signals)
	if over(*s, now) {
		return fmt.Errorf("it would have ended at %s, and it is %s: %w", s.Until.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339), ErrPolicy)
	}
	return nil
}
