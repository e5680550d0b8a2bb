// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// removalsTogether is how many removals are put together into one message; store.MaxRemovals is how many there are.
const removalsTogether = 500

// loadRemovals is when profiles were removed, as it is stored.
func (f *Fleet) loadRemovals(ctx context.Context) (map[profile.Key]time.Time, error) {
	stored, err := f.store.Removals(ctx)
	if err != nil {
		return nil, err
	}
	removed := make(map[profile.Key]time.Time, len(stored))
	for _, r := range stored {
		removed[r.Key] = r.At
	}
	return removed, nil
}

// remove forgets what nodes have observed of a key, and tells those that are connected. What comes later of what was learned
// before is refused. Whoever is to be told knows of the removal before this returns.
func (f *Fleet) remove(ctx context.Context, key profile.Key) error {
	f.removing.Lock()
	defer f.removing.Unlock()
	at, err := f.store.RemoveObserved(ctx, key, f.now())
	if err != nil {
		return err
	}
	removed, err := f.loadRemovals(ctx)
	if err != nil {
		return fmt.Errorf("it is removed, and nodes are told when the collector starts again: %w", err)
	}
	f.mu.Lock()
	f.removed = removed
	all := slices.Collect(maps.Values(f.sessions))
	f.mu.Unlock()
	for _, s := range all {
		s.forget(map[profile.Key]time.Time{key: at})
	}
	return nil
}

// outdated says why what an agent has observed is not taken: it was learned before the profile was removed. Empty if it was
// not, or if the agent is one of before there were removals. removing is held.
func (f *Fleet) outdated(key profile.Key, m *apiv1.ObservedProfile) string {
	f.mu.Lock()
	at, removed := f.removed[key]
	f.mu.Unlock()
	if !removed || m.Forgotten == nil || m.GetForgotten() >= uint64(at.UnixNano()) {
		return ""
	}
	return fmt.Sprintf("the profile was removed at %s, after this was learned", at.Format(time.RFC3339))
}

// forget has the agent told of removals.
func (s *Session) forget(removed map[profile.Key]time.Time) {
	if len(removed) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(s.share.removed, removed)
	s.share.rouse()
}

// takeRemovals are the removals that the agent is to be told of.
func (s *Session) takeRemovals() []*apiv1.CollectorMessage {
	s.mu.Lock()
	removed := s.share.removed
	s.share.removed = map[profile.Key]time.Time{}
	s.mu.Unlock()
	var messages []*apiv1.CollectorMessage
	for keys := range slices.Chunk(slices.SortedFunc(maps.Keys(removed), profile.Key.Compare), removalsTogether) {
		m := &apiv1.Forget{}
		for _, key := range keys {
			m.Removals = append(m.Removals, &apiv1.Removal{Key: keyMessage(key), At: uint64(removed[key].UnixNano())})
		}
		messages = append(messages, &apiv1.CollectorMessage{Message: &apiv1.CollectorMessage_Forget{Forget: m}})
	}
	return messages
}
