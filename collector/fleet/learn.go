// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// maxReason is how much of why a profile was refused is told, in bytes.
const maxReason = 1000

// Observed takes what the agent has observed of a key. Whatever it is, it is the node's own: it says nothing of other
// nodes. One that makes no sense is kept aside, and the agent is told why; the error is only that nothing could be stored,
// or that the agent does not take its answers.
func (s *Session) Observed(ctx context.Context, m *apiv1.ObservedProfile) error {
	f := s.fleet
	now := f.now()
	o := store.Observed{Node: s.node, Key: keyOf(m.GetKey()), Version: m.GetVersion(), Received: now, Seen: now}
	if err := o.Key.Validate(); err != nil {
		return s.refuse(m, cut("the key: "+err.Error(), maxReason))
	}
	// What is removed meanwhile must not be there again.
	f.removing.RLock()
	defer f.removing.RUnlock()
	if reason := f.outdated(o.Key, m); reason != "" {
		f.log.Debug("observed profile refused", "node", s.node, "profile", o.Key.String(), "reason", reason)
		return s.answer(m, reason)
	}
	var err error
	if o.Text, o.Entries, err = f.own(s.node, o.Key, m); err == nil {
		o.States = states(m)
	} else {
		o.Refused, o.Raw = cut(err.Error(), maxReason), m.GetProfile()
		f.log.Warn("observed profile refused", "node", s.node, "profile", o.Key.String(), "version", o.Version, "reason", o.Refused)
	}
	if err := f.store.PutObserved(ctx, o); errors.Is(err, store.ErrTooMany) {
		f.log.Warn("observed profile refused", "node", s.node, "profile", o.Key.String(), "reason", err)
		return s.refuse(m, cut(err.Error(), maxReason))
	} else if err != nil {
		return err
	}
	if o.Refused != "" {
		return s.refuse(m, o.Refused)
	}
	f.book.stale(o.Key)
	return s.answer(m, "")
}

// own reads what an agent has observed, and writes it as the node's own. A text takes fifty times its size while it is
// decoded, so they are read one at a time.
func (f *Fleet) own(node string, key profile.Key, m *apiv1.ObservedProfile) (text []byte, entries int, err error) {
	f.decoding.Lock()
	defer f.decoding.Unlock()
	p, err := readObserved(key, m)
	if err != nil {
		return nil, 0, err
	}
	p = p.Attributed(node)
	text, err = bounded(profile.Encode(p))
	return text, p.Len(), err
}

// readObserved decodes what an agent has observed, and checks that it is what an agent may say.
func readObserved(key profile.Key, m *apiv1.ObservedProfile) (*profile.Profile, error) {
	text, err := apiv1.UnpackProfile(m.GetProfile(), m.GetEncoding())
	if err != nil {
		return nil, err
	}
	p, err := decodeProfile("observed", text)
	if err != nil {
		return nil, err
	}
	if p.Key != key {
		return nil, fmt.Errorf("it is of %s, and was sent as of %s", p.Key, key)
	}
	for _, e := range p.Entries() {
		if o := e.Seen.Origin; o == profile.Written || o == profile.Removed {
			return nil, fmt.Errorf("%s %.100q of %.100q is %s, which is for people to say", e.Kind, e.Text, e.Process, o)
		}
	}
	return p, nil
}

// decodeProfile is profile.DecodeOne. A defect of it must not end the collector, for agents decide what it is given.
func decodeProfile(name string, text []byte) (p *profile.Profile, err error) {
	defer func() {
		if r := recover(); r != nil {
			p, err = nil, fmt.Errorf("%s: decoding it panicked: %v", name, r)
		}
	}()
	return profile.DecodeOne(name, text)
}

// bounded is a text, unless it is too large to be sent.
func bounded(text []byte) ([]byte, error) {
	if len(text) > apiv1.MaxProfile {
		return nil, fmt.Errorf("a text of %d bytes is larger than %d", len(text), apiv1.MaxProfile)
	}
	return text, nil
}

// states are how far an agent says that learning is, as far as that is understood.
func states(m *apiv1.ObservedProfile) map[profile.Signal]profile.State {
	all := map[profile.Signal]profile.State{}
	for _, s := range m.GetStates() {
		signal, err := profile.ParseSignal(s.GetSignal())
		if state := profile.State(s.GetState()); err == nil && rank(state) > 0 {
			all[signal] = state
		}
	}
	return all
}

// rank orders states, the weakest first; 0 is none.
func rank(s profile.State) int {
	return map[profile.State]int{
		profile.StateLearning: 1, profile.StatePartial: 2, profile.StateStabilising: 3, profile.StateStable: 4,
	}[s]
}

// cut is the beginning of a text that others have influence on, fit for a message: those take nothing but UTF-8.
func cut(text string, most int) string {
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strings.ToValidUTF8(text, "?")
}

func keyOf(k *apiv1.ProfileKey) profile.Key {
	return profile.Key{Namespace: k.GetNamespace(), Kind: k.GetKind(), Name: k.GetName(), Container: k.GetContainer()}
}

func keyMessage(k profile.Key) *apiv1.ProfileKey {
	return &apiv1.ProfileKey{Namespace: k.Namespace, Kind: k.Kind, Name: k.Name, Container: k.Container}
}

// layers are what is known of a key.
type layers struct {
	key profile.Key
	// observed is each node's, merged what they come to; nil where nothing was observed.
	observed map[string]*profile.Profile
	merged   *profile.Profile
	// overlay is nil where there is none; written is its version.
	overlay *profile.Profile
	written store.Overlay
	// effective is what is allowed; nil where neither layer is there.
	effective *profile.Profile
	// trouble is what is left out and why, nil if nothing is.
	trouble error
}

// layers reads what is known of a key. Texts that cannot be read any more are left out, and told of.
func (f *Fleet) layers(ctx context.Context, key profile.Key) (*layers, error) {
	l := &layers{key: key, observed: map[string]*profile.Profile{}}
	observed, err := f.store.Observed(ctx, key)
	if err != nil {
		return nil, err
	}
	revoked, err := f.store.Revocations(ctx)
	if err != nil {
		return nil, err
	}
	for _, o := range observed {
		if o.Text == nil || void(o, revoked) {
			continue
		}
		p, err := decodeProfile("observed by "+o.Node, o.Text)
		if err != nil {
			l.trouble = errors.Join(l.trouble, err)
			continue
		}
		l.observed[o.Node] = p
		if l.merged == nil {
			l.merged = p
			continue
		}
		// Beyond the limit, what was merged before is given back, with every signal partial.
		merged, err := profile.Merge(l.merged, p)
		l.trouble = errors.Join(l.trouble, err)
		if merged != nil {
			l.merged = merged
		}
	}
	if len(l.observed) > 1 {
		// What is few on each node may be many together.
		l.merged = profile.Generalise(l.merged)
	}
	if l.written, err = f.written(ctx, key); err != nil {
		return nil, err
	}
	if l.overlay, err = readOverlay(l.written); err != nil {
		// What is allowed without it is not what people meant, so what was in force stays.
		l.trouble = errors.Join(l.trouble, err)
		return l, nil
	}
	if l.merged == nil && l.overlay == nil {
		return l, nil
	}
	effective, err := profile.Effective(l.merged, l.overlay)
	if err != nil {
		l.trouble = errors.Join(l.trouble, fmt.Errorf("effective profile: %w", err))
		return l, nil
	}
	l.effective = effective
	return l, nil
}

// void reports whether what a node has observed counts no more: the node was revoked since, so it may not be what it was.
func void(o store.Observed, revoked map[string]time.Time) bool {
	at, ok := revoked[o.Node]
	return ok && !o.Received.After(at)
}

// written is the newest overlay of a key, of version 0 if there never was one.
func (f *Fleet) written(ctx context.Context, key profile.Key) (store.Overlay, error) {
	o, err := f.store.Overlay(ctx, key, 0)
	if errors.Is(err, store.ErrNotFound) {
		return store.Overlay{Key: key}, nil
	}
	return o, err
}

// readOverlay decodes an overlay, nil if it is none or was removed.
func readOverlay(o store.Overlay) (*profile.Profile, error) {
	if len(o.Text) == 0 {
		return nil, nil
	}
	return decodeProfile(fmt.Sprintf("overlay version %d", o.Version), o.Text)
}

// candidates are the entries that wait for a person.
func (l *layers) candidates() ([]profile.Entry, error) {
	if l.merged == nil {
		return nil, nil
	}
	return profile.Candidates(l.merged, l.overlay)
}

// tellable is an effective profile, nil for none, as agents are told it. The error says why they cannot be.
func tellable(key profile.Key, p *profile.Profile) (store.Effective, error) {
	e := store.Effective{Key: key}
	if p == nil {
		return e, nil
	}
	if n := p.Compiled(); n > profile.MaxEntries {
		return e, fmt.Errorf("effective profile: %w: %d, at most %d", profile.ErrLimit, n, profile.MaxEntries)
	}
	text := profile.EncodeBare(p)
	if _, _, err := apiv1.PackProfile(text); err != nil {
		return e, fmt.Errorf("effective profile: %w", err)
	}
	e.Text, e.Entries, e.Digest = text, p.Len(), sha256.Sum256(text)
	return e, nil
}

// refresh computes the effective profile of a key anew, and tells the agents that have use for it if it has changed. It
// returns the version. One at a time computes.
func (f *Fleet) refresh(ctx context.Context, key profile.Key) (uint64, error) {
	f.computing.Lock()
	defer f.computing.Unlock()
	l, err := f.layers(ctx, key)
	if err != nil {
		return 0, err
	}
	waiting, err := l.candidates()
	if err != nil {
		l.trouble = errors.Join(l.trouble, fmt.Errorf("candidates: %w", err))
	}
	e, err := tellable(key, l.effective)
	if err != nil {
		l.trouble = errors.Join(l.trouble, err)
	}
	f.book.note(key, l.trouble, len(waiting))
	if l.trouble != nil {
		f.log.Error("a profile is not whole", "profile", key.String(), "error", l.trouble)
	}
	if e.Text == nil && (l.merged != nil || len(l.written.Text) > 0) {
		// There is something that cannot be told, so what was told before holds.
		return f.book.version(key), nil
	}
	e.Changed = f.now()
	if e.Version, err = f.store.PutEffective(ctx, e); err != nil {
		return 0, err
	}
	if f.book.set(e) {
		for _, s := range f.snapshot() {
			s.offer(key, e.Digest[:])
		}
	}
	return e.Version, nil
}

// keep computes stale profiles until ctx ends.
func (f *Fleet) keep(ctx context.Context) error {
	for {
		select {
		case <-f.book.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
		for _, key := range f.book.takeStale() {
			if _, err := f.refresh(ctx, key); err != nil && ctx.Err() == nil {
				f.log.Error("a profile was not brought up to date, trying again", "profile", key.String(), "error", err)
				f.book.again(key)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		// What comes meanwhile is computed together.
		if !rest(ctx, f.gather) {
			return ctx.Err()
		}
	}
}

func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// trimProfiles forgets what was observed by nodes that have not run the workload for long. What connected agents have use
// for is noted first.
func (f *Fleet) trimProfiles(ctx context.Context) {
	now := f.now()
	for _, s := range f.snapshot() {
		if err := f.store.TouchObserved(ctx, s.node, s.Announced(), now); err != nil {
			f.log.Error("what nodes run was not noted, so nothing is forgotten", "error", err)
			return
		}
	}
	keys, err := f.store.TrimObserved(ctx, now.Add(-keepObserved))
	if err != nil {
		f.log.Error("old profiles were not forgotten", "error", err)
		return
	}
	for _, key := range keys {
		f.log.Info("forgot what nodes had observed that have not run it for long", "profile", key.String())
		f.book.stale(key)
	}
}

// Times of profiles.
const (
	// keepObserved is how long what a node has observed counts after the node ran the workload last.
	keepObserved = 90 * 24 * time.Hour
	// trimEvery is how often old profiles are looked for.
	trimEvery = time.Hour
)

// known are the versions and digests of effective profiles.
func knownOf(all []store.Effective) map[profile.Key]store.Effective {
	known := make(map[profile.Key]store.Effective, len(all))
	for _, e := range all {
		known[e.Key] = e
	}
	return known
}

// loadBook begins with what is stored. Everything is computed anew once, for a collector may have ended in between, and a
// newer one may come to another outcome.
func (f *Fleet) loadBook(ctx context.Context) error {
	effective, err := f.store.ListEffective(ctx)
	if err != nil {
		return fmt.Errorf("load effective profiles: %w", err)
	}
	observed, err := f.store.ListObserved(ctx, "")
	if err != nil {
		return fmt.Errorf("load observed profiles: %w", err)
	}
	overlays, err := f.store.ListOverlays(ctx)
	if err != nil {
		return fmt.Errorf("load overlays: %w", err)
	}
	f.book = newBook(knownOf(effective))
	for key := range maps.Keys(f.book.known) {
		f.book.stale(key)
	}
	for _, o := range observed {
		f.book.stale(o.Key)
	}
	for _, o := range overlays {
		f.book.stale(o.Key)
	}
	return nil
}
