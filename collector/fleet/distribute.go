// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// maxAnswers is how many answers to observed profiles may wait for an agent.
const maxAnswers = 64

// share is what a session has to do with profiles and modes. It is guarded by the session's mu.
type share struct {
	// announced are the keys that the agent has use for, with the digest of what it holds or was sent last.
	announced map[profile.Key][]byte
	// due are the keys of which the agent is to be told.
	due map[profile.Key]bool
	// answers are those that the agent waits for.
	answers []*apiv1.ObservedAck
	// removed are the removals that the agent is to be told of.
	removed map[profile.Key]time.Time
	// modes are those that the agent is to be told of, nil for none.
	modes *apiv1.ModeSettings
	// news holds a token when there is something to send.
	news chan struct{}
}

// maxTogether is how many bytes of profiles are put together into one message.
const maxTogether = 1 << 20

func newShare() share {
	return share{
		announced: map[profile.Key][]byte{}, due: map[profile.Key]bool{}, removed: map[profile.Key]time.Time{},
		news: make(chan struct{}, 1),
	}
}

// rouse says that there is something to send.
func (s *share) rouse() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// News gives a token when TakeNews has something.
func (s *Session) News() <-chan struct{} { return s.share.news }

// Held is which observed profiles of the node are stored and count, for its welcome.
func (s *Session) Held(ctx context.Context) (*apiv1.ObservedHeld, error) {
	observed, err := s.fleet.store.ListObserved(ctx, s.node)
	if err != nil {
		return nil, err
	}
	revoked, err := s.fleet.store.Revocations(ctx)
	if err != nil {
		return nil, err
	}
	held := &apiv1.ObservedHeld{}
	for _, o := range observed {
		if void(o, revoked) {
			continue
		}
		held.Held = append(held.Held, &apiv1.ObservedAck{Key: keyMessage(o.Key), Version: o.Version, Refused: o.Refused})
	}
	return held, nil
}

// CurrentModes are the modes to begin with.
func (s *Session) CurrentModes() *apiv1.ModeSettings {
	s.fleet.mu.Lock()
	defer s.fleet.mu.Unlock()
	return s.fleet.modes
}

// Announce takes which profiles the agent has use for. The error is ErrPolicy for what makes no sense.
func (s *Session) Announce(ctx context.Context, m *apiv1.Announce) error {
	keys, digests := m.GetKeys(), m.GetDigests()
	if len(keys) > profile.MaxProfiles {
		return fmt.Errorf("%d announced profiles are more than %d: %w", len(keys), profile.MaxProfiles, ErrPolicy)
	}
	if len(digests) != len(keys) && len(digests) != 0 {
		return fmt.Errorf("%d digests of %d announced profiles: %w", len(digests), len(keys), ErrPolicy)
	}
	announced := make(map[profile.Key][]byte, len(keys))
	for i, k := range keys {
		key := keyOf(k)
		if err := key.Validate(); err != nil {
			s.fleet.log.Warn("an announced profile is left out", "node", s.node, "reason", err)
			continue
		}
		announced[key] = nil
		if len(digests) > 0 {
			announced[key] = digests[i]
		}
	}
	s.mu.Lock()
	s.share.announced = announced
	s.mu.Unlock()
	for key := range announced {
		// What the agent holds of a key that is not known here is left to it: this collector may have lost what it knew.
		if digest := s.fleet.book.digest(key); digest != nil {
			s.offer(key, digest)
		}
	}
	return s.fleet.store.TouchObserved(ctx, s.node, slices.Collect(maps.Keys(announced)), s.fleet.now())
}

// Announced are the keys that the agent has use for.
func (s *Session) Announced() []profile.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.share.announced))
}

// offer has the agent told of a key, if it has use for it and holds another profile than the one of the digest.
func (s *Session) offer(key profile.Key, digest []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held, ok := s.share.announced[key]
	if !ok || bytes.Equal(held, digest) {
		return
	}
	s.share.due[key] = true
	s.share.rouse()
}

// tellModes replaces the modes that wait to be sent.
func (s *Session) tellModes(m *apiv1.ModeSettings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.share.modes = m
	s.share.rouse()
}

// refuse queues the answer to an observed profile that cannot be taken, and counts it.
func (s *Session) refuse(m *apiv1.ObservedProfile, reason string) error {
	s.fleet.book.refuse()
	return s.answer(m, reason)
}

// answer queues the answer to an observed profile.
func (s *Session) answer(m *apiv1.ObservedProfile, refused string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.share.answers) >= maxAnswers {
		return fmt.Errorf("%d observed profiles were sent ahead of their answers: %w", len(s.share.answers), ErrPolicy)
	}
	s.share.answers = append(s.share.answers, &apiv1.ObservedAck{Key: m.GetKey(), Version: m.GetVersion(), Refused: refused})
	s.share.rouse()
	return nil
}

// TakeNews returns the next messages about profiles and modes. When there are more, News gives another token. What cannot
// be read from the store is tried again later.
func (s *Session) TakeNews(ctx context.Context) []*apiv1.CollectorMessage {
	var messages []*apiv1.CollectorMessage
	s.mu.Lock()
	modes, answers := s.share.modes, s.share.answers
	s.share.modes, s.share.answers = nil, nil
	s.mu.Unlock()
	if modes != nil {
		messages = append(messages, &apiv1.CollectorMessage{Message: &apiv1.CollectorMessage_Modes{Modes: modes}})
	}
	messages = append(messages, s.takeRemovals()...)
	for _, a := range answers {
		messages = append(messages, &apiv1.CollectorMessage{Message: &apiv1.CollectorMessage_Observed{Observed: a}})
	}
	if p := s.takeProfiles(ctx); len(p.GetProfiles()) > 0 {
		messages = append(messages, &apiv1.CollectorMessage{Message: &apiv1.CollectorMessage_Profiles{Profiles: p}})
	}
	return messages
}

// takeProfiles are the next profiles that the agent is to be told of: as many as make a message.
func (s *Session) takeProfiles(ctx context.Context) *apiv1.Profiles {
	batch := &apiv1.Profiles{}
	size := 0
	for size < maxTogether {
		key, ok := s.nextDue()
		if !ok {
			return batch
		}
		m, digest, err := s.fleet.told(ctx, key)
		if err != nil {
			// It is due again when the node is looked at the next time.
			s.fleet.log.Error("a profile was not sent, trying again", "node", s.node, "profile", key.String(), "error", err)
			s.postpone(key)
			return batch
		}
		if size += len(m.GetProfile()); size > maxTogether && len(batch.GetProfiles()) > 0 {
			s.due(key)
			return batch
		}
		batch.Profiles = append(batch.Profiles, m)
		s.sent(key, digest)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.share.due) > 0 {
		s.share.rouse()
	}
	return batch
}

// nextDue takes a key that is due, if the agent still has use for it.
func (s *Session) nextDue() (profile.Key, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.share.due {
		delete(s.share.due, key)
		if _, ok := s.share.announced[key]; ok {
			return key, true
		}
	}
	return profile.Key{}, false
}

// sent notes what the agent holds from now on.
func (s *Session) sent(key profile.Key, digest []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.share.announced[key]; ok {
		s.share.announced[key] = digest
	}
}

// due has a key sent with the next message, postpone with the one that Fleet.Run asks for.
func (s *Session) due(key profile.Key) {
	s.postpone(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.share.rouse()
}

func (s *Session) postpone(key profile.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.share.due[key] = true
}

// remind has what was postponed sent.
func (s *Session) remind() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.share.due) > 0 {
		s.share.rouse()
	}
}

// told is what agents are told of a key, and the digest of its text: nil where there is none.
func (f *Fleet) told(ctx context.Context, key profile.Key) (*apiv1.EffectiveProfile, []byte, error) {
	m := &apiv1.EffectiveProfile{Key: keyMessage(key)}
	e, err := f.store.Effective(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return m, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	m.Version = e.Version
	m.Profile, m.Encoding, err = apiv1.PackProfile(e.Text)
	return m, e.Digest[:], err
}
