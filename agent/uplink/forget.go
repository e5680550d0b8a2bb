// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Removal says that a person has removed the profile of a key.
type Removal struct {
	Key profile.Key
	// At is when, nanoseconds since 1970 by the collector's clock. Of a key it only grows.
	At uint64
}

// removalsOf are those that a message names.
func removalsOf(m *apiv1.Forget) []Removal {
	removals := make([]Removal, 0, len(m.GetRemovals()))
	for _, r := range m.GetRemovals() {
		removals = append(removals, Removal{Key: keyOf(r.GetKey()), At: r.GetAt()})
	}
	return removals
}

// forget has removals heeded: what is dropped is not held on disk either, and the collector is told that it is not. Those
// that are to wait are tried again by run.
func (o *observer) forget(removals []Removal) {
	u := o.uplink
	if u.cfg.Profiles == nil || len(removals) == 0 {
		return
	}
	dropped, later := u.cfg.Profiles.Forget(removals)
	for _, key := range dropped {
		u.log.Info("what was known of a workload is forgotten, since its profile was removed", "profile", key)
		u.effective.put(Effective{Key: key}, nil, nil)
	}
	o.mu.Lock()
	o.later = append(o.later, later...)
	for _, key := range dropped {
		// Its answer comes, and says nothing that is of use.
		delete(o.unanswered, key)
	}
	o.mu.Unlock()
	if len(dropped) == 0 {
		return
	}
	for _, c := range []chan struct{}{o.answered, o.dropped} {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// retry has the removals heeded that were to wait.
func (o *observer) retry() {
	o.mu.Lock()
	later := o.later
	o.later = nil
	o.mu.Unlock()
	o.forget(later)
}
