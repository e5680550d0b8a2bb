// SPDX-License-Identifier: Apache-2.0

package dlp

// aged is a table in which the entry that was made first makes room for a new one.
type aged[K comparable, V any] struct {
	of    map[K]*V
	order []K // by creation
}

// get gives the value of a key, nil where there is none.
func (t *aged[K, V]) get(key K) *V { return t.of[key] }

// put adds the value of a key that has none, with at most so many in all, and reports whether one had to make room.
func (t *aged[K, V]) put(key K, v *V, most int) (evicted bool) {
	if t.of == nil {
		t.of = map[K]*V{}
	}
	if evicted = len(t.of) >= most; evicted {
		delete(t.of, t.order[0])
		t.order = t.order[1:]
	}
	t.of[key] = v
	t.order = append(t.order, key)
	return evicted
}

// forget drops the entries that are old.
func (t *aged[K, V]) forget(old func(*V) bool) {
	kept := t.order[:0]
	for _, key := range t.order {
		if old(t.of[key]) {
			delete(t.of, key)
			continue
		}
		kept = append(kept, key)
	}
	clear(t.order[len(kept):])
	t.order = kept
}
