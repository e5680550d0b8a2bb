// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"sync"

	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// book says which effective profile of each key is the newest, and which are to be computed anew. It holds no texts.
type book struct {
	mu    sync.Mutex
	known map[profile.Key]store.Effective
	// queue is the keys to compute, in order; queued holds the same.
	queue  []profile.Key
	queued map[profile.Key]bool
	// troubles is what could not be taken into account, candidates how many entries wait for a person.
	troubles   map[profile.Key]string
	candidates map[profile.Key]int
	// refused counts the observed profiles that were refused.
	refused uint64
	// wake holds a token when there is something to compute.
	wake chan struct{}
}

func newBook(known map[profile.Key]store.Effective) *book {
	return &book{
		known: known, queued: map[profile.Key]bool{}, troubles: map[profile.Key]string{}, candidates: map[profile.Key]int{},
		wake: make(chan struct{}, 1),
	}
}

// stale has a key computed anew.
func (b *book) stale(key profile.Key) {
	b.again(key)
	b.rouse()
}

// again has a key computed anew the next time that anything is.
func (b *book) again(key profile.Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.queued[key] {
		b.queued[key] = true
		b.queue = append(b.queue, key)
	}
}

// rouse has what is stale computed.
func (b *book) rouse() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		return
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// takeStale is the keys to compute.
func (b *book) takeStale() []profile.Key {
	b.mu.Lock()
	defer b.mu.Unlock()
	keys := b.queue
	b.queue = nil
	clear(b.queued)
	return keys
}

// set takes over what was computed; it is false if nothing has changed.
func (b *book) set(e store.Effective) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.known[e.Key]
	if before.Version == e.Version {
		return false
	}
	if e.Version == 0 {
		delete(b.known, e.Key)
		return true
	}
	e.Text = nil
	b.known[e.Key] = e
	return true
}

// version is the version of a key's effective profile, 0 for none.
func (b *book) version(key profile.Key) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.known[key].Version
}

// digest is that of a key's effective profile, nil for none.
func (b *book) digest(key profile.Key) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e, ok := b.known[key]; ok {
		return e.Digest[:]
	}
	return nil
}

// note takes over what else was found when a key was computed: what could not be taken into account, nil if all was, and
// how many candidates there are.
func (b *book) note(key profile.Key, trouble error, candidates int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.troubles, key)
	delete(b.candidates, key)
	if trouble != nil {
		b.troubles[key] = cut(trouble.Error(), maxReason)
	}
	if candidates > 0 {
		b.candidates[key] = candidates
	}
}

// refuse counts an observed profile that was refused.
func (b *book) refuse() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refused++
}

// ProfileCounts are figures about profiles, for metrics.
type ProfileCounts struct {
	// Profiles counts the keys that have an effective profile, Troubled those that leave something out, Candidates the
	// entries that wait for a person.
	Profiles, Troubled, Candidates int
	// Refused counts the observed profiles that were refused since New.
	Refused uint64
}

// ProfileCounts counts.
func (f *Fleet) ProfileCounts() ProfileCounts {
	b := f.book
	b.mu.Lock()
	defer b.mu.Unlock()
	c := ProfileCounts{Profiles: len(b.known), Troubled: len(b.troubles), Refused: b.refused}
	for _, n := range b.candidates {
		c.Candidates += n
	}
	return c
}
